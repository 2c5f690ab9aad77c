"""A pool's log in Postgres: appending to it, and reading it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final, cast

import sqlalchemy as sa

from ledger.errors import LedgerCorruptError, NotFoundError, Sentence, StateError
from ledger.log.leaves import (
    MAX_ENTRY_BYTES,
    Content,
    EncodedLeaf,
    EntryTooLargeError,
    Leaf,
    encode,
    time_of,
)
from ledger.log.merkle import Coordinate, Frontier
from ledger.log.origins import REGISTRY_LOG
from ledger.store import tables as t
from ledger.store.postgres.rows import byteas, int2s, int8s, put_rows
from ledger.store.postgres.transactions import ask, clock_of, locking, read_time

Check = Callable[[], None]
"""Returns if something may be appended, and raises if not."""


@dataclass(frozen=True, slots=True)
class PoolRef:
    """A pool as the store knows it: its number, its name, its currency, and what it distributes."""

    pool_id: int
    name: str
    currency: str
    distribute: str = ""


REGISTRY: Final = PoolRef(0, REGISTRY_LOG, "")
"""The deployment's own log. It works like a pool's, under a name that no pool may have."""


def log_name(pool: PoolRef) -> str:
    """The resource name of what the log belongs to: a pool, or the registry."""
    return pool.name if pool == REGISTRY else f"pools/{pool.name}"


def open_log(connection: sa.Connection, pool_id: int) -> None:
    """Start an empty log."""
    connection.execute(sa.insert(t.head).values(pool_id=pool_id, size=0, frontier=b""))


def read_head(connection: sa.Connection, pool: PoolRef) -> Frontier:
    """The log's size and right edge. Every leaf below that size is committed."""
    size, frontier = ask(connection, _READ_HEAD, (pool.pool_id,)).fetchone()
    return _frontier(pool, size, frontier)


def read_heads(connection: sa.Connection, pools: Sequence[PoolRef]) -> list[tuple[PoolRef, int, bytes]]:
    """Returns each pool with the size of its log and the bytes of its right edge, in the order given."""
    query = sa.select(t.head).where(of_pools(t.head, pools))
    found = {row.pool_id: (row.size, bytes(row.frontier)) for row in connection.execute(query)}
    return [(pool, *found[pool.pool_id]) for pool in pools if pool.pool_id in found]


def of_pools(table: sa.Table, pools: Sequence[PoolRef]) -> sa.ColumnElement[bool]:
    """Selects the rows of some pools; for a single pool in the form that lets a distributed database ask one node."""
    if len(pools) == 1:
        return table.c.pool_id == pools[0].pool_id
    return table.c.pool_id == sa.any_(sa.literal([pool.pool_id for pool in pools], sa.ARRAY(sa.Integer)))


def lock_head(connection: sa.Connection, pool: PoolRef) -> datetime:
    """Lock the log's head until the commit: nobody else appends, and what is read next is the latest.

    Returns the time of the leaves that the transaction appends: the database's, and never before the last leaf's.
    """
    return _locked(connection, pool)[1]


def append(connection: sa.Connection, pool: PoolRef, contents: Sequence[Content], time: datetime) -> list[EncodedLeaf]:
    """Append a leaf for each content, in order, at a time that `lock_head` returned in this transaction.

    From here to the commit the transaction locks the log's head: callers do their heavy work before, and only insert
    projections of these leaves after. A time before the last leaf's becomes that one.
    """
    frontier, now = _locked(connection, pool, at=time)
    return _append(connection, pool, frontier, contents, now)


def append_now(
    connection: sa.Connection,
    pool: PoolRef,
    contents: Sequence[Content],
    *,
    also: Callable[[], Check] = lambda: lambda: None,
) -> tuple[list[EncodedLeaf], datetime]:
    """Append as `append` does, without having locked the head before; returns the leaves' time too.

    `also` is called behind the statement that locks the head, and in a pipeline adds its own to that one's round trip.
    What it returns is called once the head is locked, and raises if nothing may be appended.
    """
    frontier, now, check = _locked_with(connection, pool, also)
    check()
    return _append(connection, pool, frontier, contents, now), now


def _append(
    connection: sa.Connection, pool: PoolRef, frontier: Frontier, contents: Sequence[Content], time: datetime
) -> list[EncodedLeaf]:
    leaves: list[EncodedLeaf] = []
    nodes: dict[Coordinate, bytes] = {}
    for content in contents:
        try:
            leaf = encode(Leaf(pool.name, frontier.size, time, content))
        except EntryTooLargeError:
            raise StateError(
                log_name(pool),
                "ENTRY_TOO_LARGE",
                "is to have an entry of more than %(most)s bytes; name fewer at once",
                most=MAX_ENTRY_BYTES,
            ) from None
        nodes |= frontier.append(leaf.hash)
        leaves.append(leaf)
    put_rows(
        connection,
        t.leaf,
        pool.pool_id,
        {
            "leaf_index": int8s([leaf.index for leaf in leaves]),
            "entry": byteas([leaf.entry for leaf in leaves]),
            "hash": byteas([leaf.hash for leaf in leaves]),
        },
    )
    put_rows(
        connection,
        t.node,
        pool.pool_id,
        {
            "level": int2s([place.level for place in nodes]),
            "node_index": int8s([place.index for place in nodes]),
            "hash": byteas(list(nodes.values())),
        },
    )
    moved = (frontier.size, frontier.to_bytes(), time, pool.pool_id)
    ask(connection, _MOVE_HEAD, moved)
    return leaves


_MOVE_HEAD: Final = "UPDATE head SET size = %s::bigint, frontier = %b, last_time = %s WHERE pool_id = %s"
_READ_HEAD: Final = "SELECT size, frontier FROM head WHERE pool_id = %s"
# Postgres may tell the time before it waits for the lock; whoever had it has then left a later one.
_LOCK_HEAD: Final = "SELECT size, frontier, last_time, clock_timestamp() FROM head WHERE pool_id = %s FOR UPDATE"


def _locked(connection: sa.Connection, pool: PoolRef, at: datetime | None = None) -> tuple[Frontier, datetime]:
    """Returns the log's right edge, and the time of what is appended to it: `at` or now, or the last leaf's."""
    frontier, now, _ = _locked_with(connection, pool, lambda: lambda: None, at)
    return frontier, now


def _locked_with(
    connection: sa.Connection, pool: PoolRef, also: Callable[[], Check], at: datetime | None = None
) -> tuple[Frontier, datetime, Check]:
    """Returns the same, and what `also` returns, which is called in between."""
    # With a time the head is locked already.
    with nullcontext() if at else locking(connection):
        head = ask(connection, _LOCK_HEAD, (pool.pool_id,))
        check = also()
        size, frontier, last_time, database_time = head.fetchone()
    clock = clock_of(connection)
    if clock is None:
        _require_not_ahead(database_time - datetime.now(UTC))
    now = at or (clock() if clock else database_time)
    return _frontier(pool, size, frontier), max(now, last_time or now), check


CLOCK_AHEAD_MAX: Final = timedelta(hours=1)
"""How far the database's clock may be ahead of this machine's. Times never fall, so one leaf of next year would stop
every review until then; a second clock is what tells such a leaf from a late one."""


def clock_ahead(connection: sa.Connection) -> timedelta:
    """Returns by how much the database's clock is ahead of this machine's; below zero where it is behind.

    Raises:
        StateError: it is so far ahead that nothing is logged.
    """
    if clock_of(connection):
        return timedelta()
    ahead = read_time(connection) - datetime.now(UTC)
    _require_not_ahead(ahead)
    return ahead


def _require_not_ahead(ahead: timedelta) -> None:
    if ahead > CLOCK_AHEAD_MAX:
        here = datetime.now(UTC)
        detail = Sentence(
            "has a clock that says %(there)s, where this machine's says %(here)s; nothing is logged until the wrong "
            "one is set right",
            there=here + ahead,
            here=here,
        )
        raise StateError("the database", "CLOCK_AHEAD", detail)


def _frontier(pool: PoolRef, size: int, frontier: bytes) -> Frontier:
    try:
        return Frontier.from_bytes(size, frontier)
    except ValueError as error:
        raise LedgerCorruptError(f"the head of pools/{pool.name}", str(error)) from None


def first_since(connection: sa.Connection, pool: PoolRef, since: datetime) -> int:
    """Returns the first leaf of a log that was appended at a time or later, or the log's size; times never fall."""
    low, high = 0, read_head(connection, pool).size
    while low < high:
        middle = (low + high) // 2
        time = time_of(read_leaf(connection, pool, middle).entry)
        if time is not None and time >= since:
            high = middle
        else:
            low = middle + 1
    return low


def read_leaf(connection: sa.Connection, pool: PoolRef, index: int) -> EncodedLeaf:
    """Returns the leaf at an index.

    Raises:
        NotFoundError: the index is at or beyond the log's size.
    """
    for leaf in read_leaves(connection, pool, index, index + 1):
        return leaf
    raise NotFoundError(f"pools/{pool.name}/leaves/{index}")


_LEAVES: Final = """
SELECT leaf_index, entry, hash FROM leaf
WHERE pool_id = %s AND leaf_index >= %s AND leaf_index < %s ORDER BY leaf_index LIMIT %s
"""


def read_leaves(
    connection: sa.Connection, pool: PoolRef, start: int, end: int, *, chunk: int = 1000
) -> Iterator[EncodedLeaf]:
    """The leaves in [start, end) in order, read in chunks.

    Raises:
        LedgerCorruptError: the log has a gap.
    """
    while start < end:
        rows = ask(connection, _LEAVES, (pool.pool_id, start, end, chunk)).fetchall()
        if not rows:
            return
        for index, entry, hash_ in rows:
            if index != start:
                raise LedgerCorruptError(f"pools/{pool.name}/leaves/{start}", "is missing from the log")
            yield EncodedLeaf(index, bytes(entry), bytes(hash_))
            start += 1


_INSERT_BODY: Final = "INSERT INTO body (pool_id, sha256, bytes) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


def put_body(connection: sa.Connection, pool: PoolRef, body: bytes) -> None:
    """Keep a body, unless it exists already."""
    ask(connection, _INSERT_BODY, (pool.pool_id, sha256(body).digest(), body))


_BODY: Final = "SELECT bytes FROM body WHERE pool_id = %s AND sha256 = %s"


def read_body(connection: sa.Connection, pool: PoolRef, digest: bytes) -> bytes:
    """Returns the body with a hash; the caller checks that it has that hash.

    Raises:
        NotFoundError: there is no such body.
    """
    found = ask(connection, _BODY, (pool.pool_id, digest)).fetchone()
    if found is None or found[0] is None:
        raise NotFoundError(f"pools/{pool.name}/bodies/{digest.hex()}")
    return cast("bytes", found[0])


_BODIES: Final = """
SELECT sha256, bytes FROM body WHERE pool_id = %s AND sha256 = ANY(%s) AND octet_length(bytes) <= %s
"""


def read_bodies(
    connection: sa.Connection, pool: PoolRef, digests: Sequence[bytes], bytes_max: int
) -> dict[bytes, bytes]:
    """Returns the bodies with some hashes, by the hash; those that are not there, or longer, are left out."""
    return dict(ask(connection, _BODIES, (pool.pool_id, list(digests), bytes_max)).fetchall())


def checked_body(connection: sa.Connection, pool: PoolRef, digest: bytes) -> bytes:
    """The body under a hash, which it has; one of those that always lie in Postgres.

    Raises:
        LedgerCorruptError: the body has another hash, or is missing.
    """
    return checked(pool, digest, lambda: read_body(connection, pool, digest))


def checked(pool: PoolRef, digest: bytes, read: Callable[[], bytes]) -> bytes:
    """Returns what `read` returns for the body with a hash, after checking the hash.

    Raises:
        LedgerCorruptError: it has another hash, or `read` raises NotFoundError.
    """
    subject = f"pools/{pool.name}/bodies/{digest.hex()}"
    try:
        body = read()
    except NotFoundError:
        raise LedgerCorruptError(subject, "is missing") from None
    if sha256(body).digest() != digest:
        raise LedgerCorruptError(subject, "does not have this hash")
    return body
