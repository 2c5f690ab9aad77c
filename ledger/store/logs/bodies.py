"""Where bodies lie: rows of Postgres, or objects elsewhere for those that are large.

An object is addressed by its SHA-256, and written before the transaction that appends its leaf. That transaction makes
a row of `body_object` and then looks whether the object is there: from its row on nobody takes it away. Whatever
crashes in between leaves an object without a row, which `sweep` takes away a day later. What Postgres does not have
under a hash is asked of the objects, so a deployment may begin to keep bodies elsewhere at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from ledger.errors import NotFoundError, StoreUnavailableError
from ledger.log.merkle import HASH_BYTES
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import ask

ELSEWHERE_BYTES: Final = 64 * 1024
"""A body of so many bytes or more goes elsewhere. For a smaller one the round trip costs more than its row."""

ABANDONED_AFTER: Final = timedelta(days=1)
"""An object that no leaf names by then belongs to nobody: writers take seconds."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that is there, with the time of its last writing."""

    key: str
    written_at: datetime


class Objects(Protocol):
    """Bytes under keys, somewhere else than in Postgres. Every call raises StoreUnavailableError where that is away."""

    @property
    def are_near(self) -> bool:
        """Whether to ask them takes less time than to ask Postgres."""

    def put(self, key: str, body: bytes) -> None:
        """Keep bytes under a key. When this returns they are durable; the same again changes nothing."""

    def get(self, key: str) -> bytes | None:
        """The bytes under a key, if there are any."""

    def has(self, key: str) -> bool:
        """Whether there is anything under a key."""

    def delete(self, key: str) -> None:
        """Forget a key, whether it is there or not."""

    def stored(self, prefix: str) -> Iterator[StoredObject]:
        """Every object whose key begins so."""

    def tidy(self, prefix: str, before: datetime) -> None:
        """Take away what was left half written before a time, under keys that begin so."""


class BodySweptError(Exception):
    """An object was swept between its being written and its leaf: it had been left behind a day before."""


# Whoever sweeps one of them holds its row: this waits for that.
_NAME: Final = """
INSERT INTO body_object (pool_id, sha256, is_named, intended_at)
SELECT %s, sha256, true, %s FROM unnest(%s::bytea[]) AS named (sha256)
ON CONFLICT (pool_id, sha256) DO UPDATE SET is_named = true
"""


class Bodies:
    """Bodies of a deployment, wherever they lie.

    Args:
        objects: where large ones go; None to keep all in Postgres.
    """

    def __init__(self, objects: Objects | None = None) -> None:
        self._objects = objects

    def are_elsewhere(self, body: bytes) -> bool:
        """Whether a new body of this size goes elsewhere."""
        return self._objects is not None and len(body) >= ELSEWHERE_BYTES

    def read(self, connection: sa.Connection, pool: PoolRef, digest: bytes) -> bytes:
        """The body under a hash; whether it has that hash is for the reader to check.

        Raises:
            NotFoundError: there is no such body.
            StoreUnavailableError: it may be elsewhere, which is away.
        """
        try:
            return log.read_body(connection, pool, digest)
        except NotFoundError:
            self._require_reached(connection, pool, [digest])
            return self._elsewhere(pool, digest)

    def read_all(
        self, database: Database, pool: PoolRef, digests: Sequence[bytes], bytes_max: int
    ) -> dict[bytes, bytes]:
        """The bodies under some hashes, by the hash; those that are nowhere, or longer, are left out.

        Raises:
            StoreUnavailableError: some may be elsewhere, which is away.
        """
        if len(digests) == 1:  # by itself is read what is large
            with suppress(NotFoundError):
                body = self.fetch(database, pool, digests[0])
                return {digests[0]: body} if len(body) <= bytes_max else {}
            return {}
        with database.reading() as connection:
            found = log.read_bodies(connection, pool, digests, bytes_max)
            left = [digest for digest in digests if digest not in found]
            self._require_reached(connection, pool, left)
        for digest in left:
            with suppress(NotFoundError):
                body = self._elsewhere(pool, digest)
                if len(body) <= bytes_max:
                    found[digest] = body
        return found

    def fetch(self, database: Database, pool: PoolRef, digest: bytes) -> bytes:
        """The body under a hash, without holding a connection while it comes from elsewhere. Raises as `read` does."""
        if (near := self._near(pool, digest)) is not None:
            return near
        with database.reading() as connection:
            with suppress(NotFoundError):
                return log.read_body(connection, pool, digest)
            self._require_reached(connection, pool, [digest])
        return self._elsewhere(pool, digest)

    def _near(self, pool: PoolRef, digest: bytes) -> bytes | None:
        if self._objects is None or not self._objects.are_near:
            return None
        with suppress(StoreUnavailableError):  # a small one is in Postgres
            return self._objects.get(key_of(pool, digest))
        return None

    def rows_behind(self, connection: sa.Connection, pool: PoolRef) -> Iterator[tuple[bytes, bytes]]:
        """The rows of bodies that nobody reads, by their hash: nearer objects have bodies under the same hashes.

        Raises:
            StoreUnavailableError: the objects are away.
        """
        objects = self._objects
        if objects is None or not objects.are_near:
            return
        large = sa.func.octet_length(t.body.c.bytes) >= ELSEWHERE_BYTES
        query = sa.select(t.body.c.sha256).where(t.body.c.pool_id == pool.pool_id, large)
        for digest in map(bytes, connection.execute(query).scalars().all()):
            if objects.has(key_of(pool, digest)):
                yield digest, log.read_body(connection, pool, digest)

    def checked(self, connection: sa.Connection, pool: PoolRef, digest: bytes) -> bytes:
        """The body under a hash, which it has.

        Raises:
            LedgerCorruptError: the body has another hash, or there is none.
            StoreUnavailableError: it may be elsewhere, which is away.
        """
        return log.checked(pool, digest, lambda: self.read(connection, pool, digest))

    def _require_reached(self, connection: sa.Connection, pool: PoolRef, digests: Sequence[bytes]) -> None:
        """Check that none of these lies elsewhere where this process was not told where that is.

        Raises:
            StoreUnavailableError: one does.
        """
        if self._objects is None and digests:
            among = t.body_object.c.sha256 == sa.any_(sa.literal(list(digests), sa.ARRAY(sa.LargeBinary)))
            here = among & (t.body_object.c.pool_id == pool.pool_id) & t.body_object.c.is_named
            if connection.execute(sa.select(sa.exists().where(here))).scalar_one():
                raise StoreUnavailableError("the store of bodies", "some lie elsewhere, and MOIETY_BODIES_URL is empty")

    def _elsewhere(self, pool: PoolRef, digest: bytes) -> bytes:
        body = self._objects.get(key_of(pool, digest)) if self._objects else None
        if body is None:
            raise NotFoundError(f"pools/{pool.name}/bodies/{digest.hex()}")
        return body

    def write(self, pool: PoolRef, body: bytes, digest: bytes) -> None:
        """Write a body elsewhere, before the transaction that appends its leaf.

        Raises:
            StoreUnavailableError: the objects are away. What was written will be swept.
        """
        cast("Objects", self._objects).put(key_of(pool, digest), body)

    def name(
        self, connection: sa.Connection, pool: PoolRef, digests: Sequence[bytes], now: datetime
    ) -> Callable[[], None]:
        """Say that leaves of this transaction name bodies that were written elsewhere. Nobody sweeps them from here on.

        Returns:
            what checks that they are there. In a pipeline this is called once the statement was answered.

        Raises:
            BodySweptError: in the check, if one was swept before.
            StoreUnavailableError: in the check, if the objects are away.
        """
        wanted = sorted(set(digests))
        if wanted:
            ask(connection, _NAME, (pool.pool_id, now, wanted))

        def require_there() -> None:
            objects = cast("Objects", self._objects)
            if not all(objects.has(key_of(pool, digest)) for digest in wanted):
                raise BodySweptError

        return require_there

    def sweep(self, database: Database, pool: PoolRef, now: datetime) -> Iterator[bytes]:
        """Take away objects that no leaf names and nobody is writing; returns the hash of each that was.

        As the schema's owner: the service may not delete.
        """
        objects = self._objects
        if objects is None:
            return
        before = now - ABANDONED_AFTER
        objects.tidy(folder_of(pool), before)
        named = self._named(database, pool)
        for each in objects.stored(folder_of(pool)):
            digest = _digest_in(each.key)
            if each.written_at >= before or digest is None or digest in named:
                continue
            if self._take_away(database, objects, pool, digest):
                yield digest

    def _named(self, database: Database, pool: PoolRef) -> set[bytes]:
        """The hashes of the pool's bodies that leaves name, of those elsewhere."""
        named = sa.select(t.body_object.c.sha256).where(
            t.body_object.c.pool_id == pool.pool_id, t.body_object.c.is_named
        )
        with database.reading() as connection:
            return {bytes(digest) for digest in connection.execute(named).scalars()}

    def _take_away(self, database: Database, objects: Objects, pool: PoolRef, digest: bytes) -> bool:
        """Delete one, unless somebody has named it. Its row is held meanwhile, whether it was there."""
        here = (t.body_object.c.pool_id == pool.pool_id) & (t.body_object.c.sha256 == digest)
        row = {"pool_id": pool.pool_id, "sha256": digest, "is_named": False, "intended_at": sa.func.now()}
        with database.transaction() as connection:
            connection.execute(pg.insert(t.body_object).values(row).on_conflict_do_nothing())
            unnamed = sa.select(t.body_object).where(here, sa.not_(t.body_object.c.is_named))
            if connection.execute(unnamed.with_for_update(skip_locked=True)).first() is None:
                return False
            objects.delete(key_of(pool, digest))
            connection.execute(sa.delete(t.body_object).where(here))
            return True


def folder_of(pool: PoolRef) -> str:
    """What the keys of a pool's bodies begin with."""
    return f"{pool.name}/bodies/"


def key_of(pool: PoolRef, digest: bytes) -> str:
    """The key of a body elsewhere: the pool's name and the hash in hexadecimal, its first byte as a folder."""
    text = digest.hex()
    return f"{folder_of(pool)}{text[:2]}/{text[2:]}"


def _digest_in(key: str) -> bytes | None:
    """The hash in a key; None if it is no body's, which a sweep leaves alone."""
    *_, first, rest = key.split("/")
    try:
        digest = bytes.fromhex(first + rest)
    except ValueError:
        return None
    return digest if len(digest) == HASH_BYTES else None
