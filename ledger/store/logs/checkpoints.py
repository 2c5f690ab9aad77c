"""The checkpoints of pools' logs and their cosignatures, in Postgres. Rows are only added."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.errors import NotFoundError
from ledger.log.note_keys import Signature, VerifierKey
from ledger.log.notes import parse_note
from ledger.log.witness_policy import WitnessPolicy
from ledger.store import tables as t
from ledger.store.logs.log import PoolRef

MAX_TIME_SECONDS: Final = 253_402_300_799
"""The end of the year 9999, beyond which calendars here do not go."""


@dataclass(frozen=True, slots=True)
class StoredCosignature:
    """A witness's cosignature of a checkpoint; making one of another time than calendars have raises ValueError."""

    key: VerifierKey
    signature: Signature
    time_seconds: int

    def __post_init__(self) -> None:
        if not 0 <= self.time_seconds <= MAX_TIME_SECONDS:
            raise ValueError(f"time_seconds must be 0 to {MAX_TIME_SECONDS}, got {self.time_seconds}")


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A checkpoint as the log's key signed it, and the cosignatures since."""

    size: int
    key: VerifierKey
    note: bytes
    created_at: datetime
    cosignatures: tuple[StoredCosignature, ...] = ()

    def cosigned_note(self) -> bytes:
        """The note with the cosignatures after the log's own signature."""
        return parse_note(self.note).with_signatures(found.signature for found in self.cosignatures).to_bytes()


def insert_checkpoint(connection: sa.Connection, pool: PoolRef, checkpoint: StoredCheckpoint) -> None:
    """Keep a signed checkpoint."""
    connection.execute(
        sa.insert(t.checkpoint).values(
            pool_id=pool.pool_id,
            vkey=str(checkpoint.key),
            size=checkpoint.size,
            note=checkpoint.note,
            created_at=checkpoint.created_at,
        )
    )


def insert_cosignature(
    connection: sa.Connection, pool: PoolRef, checkpoint: StoredCheckpoint, found: StoredCosignature
) -> None:
    """Keep a cosignature, which must have been verified."""
    row = {
        "pool_id": pool.pool_id,
        "log_vkey": str(checkpoint.key),
        "size": checkpoint.size,
        "vkey": str(found.key),
        "signature": found.signature.data,
        "time_seconds": found.time_seconds,
    }
    connection.execute(insert(t.cosignature).values(row).on_conflict_do_nothing())


def latest_checkpoint(
    connection: sa.Connection, pool: PoolRef, *, key: VerifierKey | None = None
) -> StoredCheckpoint | None:
    """Returns the last checkpoint signed, by one key if one is given; of a key's, it is the largest."""
    vkey = _last_key(sa.literal(pool.pool_id)) if key is None else str(key)
    query = _select(pool).where(t.checkpoint.c.vkey == vkey).order_by(t.checkpoint.c.size.desc())
    return next(iter(_with_cosignatures(connection, pool, query.limit(1))), None)


def signed_size(pool_id: sa.ColumnElement[int]) -> sa.ScalarSelect[int]:
    """The size of a pool's last checkpoint, as part of a query over pools."""
    of_last_key = (t.checkpoint.c.pool_id == pool_id) & (t.checkpoint.c.vkey == _last_key(pool_id))
    query = sa.select(sa.func.max(t.checkpoint.c.size)).where(of_last_key)
    return query.correlate_except(t.checkpoint).scalar_subquery()


def _last_key(pool_id: sa.ColumnElement[int]) -> sa.ScalarSelect[str]:
    """The key that signed last: only that is asked of the times."""
    signed = t.checkpoint.alias("signed")
    query = sa.select(signed.c.vkey).where(signed.c.pool_id == pool_id)
    query = query.order_by(signed.c.created_at.desc(), signed.c.size.desc()).limit(1)
    return query.correlate_except(signed).scalar_subquery()


def another_key(connection: sa.Connection, pool: PoolRef, key: VerifierKey) -> VerifierKey | None:
    """Returns a key other than this one that signed a checkpoint of the log; None if there is none."""
    vkey = t.checkpoint.c.vkey
    # Before it and after it in the index: "not equal" would read every checkpoint that this key signed.
    beside = (
        sa.select(vkey).where(t.checkpoint.c.pool_id == pool.pool_id, side).limit(1)
        for side in (vkey < str(key), vkey > str(key))
    )
    found = connection.execute(sa.union_all(*beside).limit(1)).scalar()
    return None if found is None else VerifierKey.parse(found)


def get_checkpoint(connection: sa.Connection, pool: PoolRef, *, size: int = 0, min_size: int = 0) -> StoredCheckpoint:
    """Returns the checkpoint of a size, or the smallest of at least `min_size`, or else the last one signed.

    Only checkpoints of the key that signed last are considered.

    Raises:
        NotFoundError: there is no such checkpoint.
    """
    latest = latest_checkpoint(connection, pool)
    if latest and (size or min_size):
        query = _select(pool).where(t.checkpoint.c.vkey == str(latest.key))
        wanted = t.checkpoint.c.size == size if size else t.checkpoint.c.size >= min_size
        query = query.where(wanted).order_by(t.checkpoint.c.size).limit(1)
        latest = next(iter(_with_cosignatures(connection, pool, query)), None)
    if latest is None:
        raise NotFoundError(f"pools/{pool.name}/checkpoints/{size or min_size or 'latest'}")
    return latest


def list_checkpoints(
    connection: sa.Connection,
    pool: PoolRef,
    *,
    after: int = -1,
    limit: int | None = None,
    newest_first: bool = False,
) -> list[StoredCheckpoint]:
    """Returns the checkpoints of the key that signed last: by size after `after`, or those before it, newest first."""
    latest = latest_checkpoint(connection, pool)
    if latest is None:
        return []
    size = t.checkpoint.c.size
    query = _select(pool).where(t.checkpoint.c.vkey == str(latest.key), size < after if newest_first else size > after)
    return _with_cosignatures(connection, pool, query.order_by(size.desc() if newest_first else size).limit(limit))


def cosigned_since(
    connection: sa.Connection, pool: PoolRef, policy: WitnessPolicy, min_size: int, time_seconds: int
) -> Generator[StoredCheckpoint, None, None]:
    """Yields the checkpoints of at least a size that a quorum of witnesses cosigned at a time or later, by size. Close
    it: Postgres has its cursor.

    They are of the key that signed last, and have all of their cosignatures, several of a witness too.
    """
    latest = latest_checkpoint(connection, pool)
    if latest is None:
        return
    of_log = (t.cosignature.c.pool_id == pool.pool_id) & (t.cosignature.c.log_vkey == str(latest.key))
    late = of_log & (t.cosignature.c.size >= min_size) & (t.cosignature.c.time_seconds >= time_seconds)
    with closing(_sizes_with_quorum(connection, late, policy, t.cosignature.c.size.asc())) as sizes:
        for size in sizes:
            query = _select(pool).where(t.checkpoint.c.vkey == str(latest.key), t.checkpoint.c.size == size)
            yield from _with_cosignatures(connection, pool, query, every=True)


def latest_cosigned(
    connection: sa.Connection, pool: PoolRef, key: VerifierKey, policy: WitnessPolicy
) -> StoredCheckpoint | None:
    """Returns the newest checkpoint by a key that a quorum of witnesses cosigned; None if there is none."""
    of_log = (t.cosignature.c.pool_id == pool.pool_id) & (t.cosignature.c.log_vkey == str(key))
    with closing(_sizes_with_quorum(connection, of_log, policy, t.cosignature.c.size.desc())) as sizes:
        for size in sizes:
            query = _select(pool).where(t.checkpoint.c.vkey == str(key), t.checkpoint.c.size == size)
            return next(iter(_with_cosignatures(connection, pool, query)), None)
    return None


def _sizes_with_quorum(
    connection: sa.Connection, among: sa.ColumnElement[bool], policy: WitnessPolicy, order: sa.ColumnElement[int]
) -> Generator[int, None, None]:
    """Yields the sizes at which a quorum of witnesses is among some cosignatures. Close it: Postgres has its cursor.

    While a witness is down, none of very many sizes has a quorum: the database passes over those.
    """
    named = {str(key): key for key in policy.witnesses.values()}
    size, vkey = t.cosignature.c.size, t.cosignature.c.vkey
    by_them = vkey == sa.any_(sa.literal(list(named), sa.ARRAY(sa.Text)))
    query = sa.select(size, sa.func.array_agg(vkey.distinct())).where(among, by_them).group_by(size)
    query = query.having(sa.func.count(vkey.distinct()) >= policy.fewest).order_by(order)
    with connection.execute(query, execution_options={"yield_per": _SIZES_AT_ONCE}) as found:
        for at, cosigners in found:
            if policy.is_met({named[each] for each in cosigners}):
                yield at


_SIZES_AT_ONCE: Final = 10
"""The first is nearly always the one."""


def last_cosigned_size(connection: sa.Connection, pool: PoolRef, key: VerifierKey, witness: VerifierKey) -> int:
    """Returns the largest size that a witness is known to have cosigned of the log with this key, or 0."""
    query = sa.select(sa.func.max(t.cosignature.c.size)).where(
        t.cosignature.c.pool_id == pool.pool_id,
        t.cosignature.c.log_vkey == str(key),
        t.cosignature.c.vkey == str(witness),
    )
    return int(connection.execute(query).scalar() or 0)


def _select(pool: PoolRef) -> sa.Select[Any]:
    return sa.select(t.checkpoint).where(t.checkpoint.c.pool_id == pool.pool_id)


def _with_cosignatures(
    connection: sa.Connection, pool: PoolRef, query: sa.Select[Any], *, every: bool = False
) -> list[StoredCheckpoint]:
    """Returns the checkpoints with the first cosignature of each witness, or with every one."""
    rows = connection.execute(query).all()
    cosigned = _cosignatures(connection, pool, [(row.vkey, row.size) for row in rows], every=every)
    return [
        StoredCheckpoint(
            row.size,
            VerifierKey.parse(row.vkey),
            bytes(row.note),
            row.created_at,
            tuple(cosigned.get((row.vkey, row.size), ())),
        )
        for row in rows
    ]


def _cosignatures(
    connection: sa.Connection, pool: PoolRef, checkpoints: Sequence[tuple[str, int]], *, every: bool
) -> dict[tuple[str, int], list[StoredCosignature]]:
    of_checkpoint = sa.tuple_(t.cosignature.c.log_vkey, t.cosignature.c.size).in_(checkpoints)
    query = sa.select(t.cosignature).where(t.cosignature.c.pool_id == pool.pool_id, of_checkpoint)
    found: dict[tuple[str, int], list[StoredCosignature]] = {}
    for row in connection.execute(query.order_by(t.cosignature.c.vkey, t.cosignature.c.time_seconds)):
        key, known = VerifierKey.parse(row.vkey), found.get((row.log_vkey, row.size), [])
        if known and known[-1].key == key and not every:
            continue
        signature = Signature(key.name, key.key_id, bytes(row.signature))
        found.setdefault((row.log_vkey, row.size), []).append(StoredCosignature(key, signature, row.time_seconds))
    return found
