"""Batches in Postgres: writing the rows of a recorded batch, and finding it again.

By batch, not by score: the body as bytes, and a packed weight vector per mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from ledger.errors import LedgerCorruptError, NotFoundError
from ledger.log.leaves import decode
from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.rows import byteas, int2s, int4s, int8s, numerics, put_rows, texts, uuids
from ledger.store.postgres.transactions import driver_connection
from ledger.store.registry.platforms import find_platform, platform_number
from ledger.store.usage.claims import EventClaim, ascending
from ledger.store.usage.closing import require_events_kept
from ledger.store.usage.pages import find_numbers
from ledger.usage.batch import Int64Array
from ledger.usage.entries import UsageContent, count_positions, positions_in
from ledger.usage.methods import Method
from ledger.usage.weights import BatchWeights, pack

BODY_BYTES_AT_ONCE: Final = 2**20
"""Written to a connection before it is waited for until they are sent: its buffer stays as large as it ever was."""


@dataclass(frozen=True, slots=True)
class BatchIdentity:
    """What identifies a batch when it is sent again: the names of its pool and platform, and its own."""

    pool: str
    platform: str
    batch_id: str


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """A batch that is in the log.

    Attributes:
        nearly_known: sources that its membership has in another spelling, with that one; told once, as it is recorded.
    """

    leaf_index: int
    leaf_hash: bytes
    time: datetime
    content: UsageContent
    nearly_known: tuple[tuple[str, str], ...] = ()

    @property
    def duplicate_count(self) -> int:
        """How many events were left out."""
        return count_positions(self.content.duplicates)

    def duplicate_positions(self) -> Int64Array:
        """Their positions, ascending."""
        return positions_in(self.content.duplicates)


def find_batch(connection: sa.Connection, pool: PoolRef, platform: str, batch_id: str) -> RecordedBatch:
    """Returns a platform's batch.

    Raises:
        NotFoundError: the platform has no such batch in the pool.
    """
    platform_id = find_platform(connection, platform)
    query = _batches(pool).where(t.batch.c.platform_id == platform_id, t.batch.c.batch_id == batch_id)
    row = connection.execute(query).first() if platform_id is not None else None
    if row is None:
        raise NotFoundError(f"pools/{pool.name}/batches/{platform}~{batch_id}")
    return _recorded(row)


def list_batches(
    connection: sa.Connection, pool: PoolRef, *, platform: str | None, after: int, limit: int
) -> list[RecordedBatch]:
    """Returns batches in log order, after the leaf `after`; of one platform or of all."""
    query = _batches(pool).where(t.batch.c.leaf_index > after).order_by(t.batch.c.leaf_index).limit(limit)
    if platform is not None:
        query = query.where(t.batch.c.platform_id == platform_number(connection, platform))
    return [_recorded(row) for row in connection.execute(query)]


def find_event(connection: sa.Connection, pool: PoolRef, platform: str, event_id: UUID) -> RecordedBatch:
    """Returns the batch that recorded an event.

    Raises:
        NotFoundError: the platform has no such event in the pool.
        StateError: the rows of the pool's events were dropped.
        LedgerCorruptError: the batch that recorded it does not exist.
    """
    platform_id = platform_number(connection, platform)
    number = find_numbers(connection, pool, platform_id, [event_id]).get(event_id)
    if number is None:
        require_events_kept(connection, pool)
        raise NotFoundError(f"pools/{pool.name}/events/{platform}~{event_id}")
    row = connection.execute(_batches(pool).where(t.batch.c.batch_number == number)).first()
    if row is None:
        raise LedgerCorruptError(f"pools/{pool.name}/events/{platform}~{event_id}", "has a batch that does not exist")
    return _recorded(row)


def _batches(pool: PoolRef) -> sa.Select[Any]:
    leaf_of_batch = (t.leaf.c.pool_id == t.batch.c.pool_id) & (t.leaf.c.leaf_index == t.batch.c.leaf_index)
    return (
        sa.select(t.leaf.c.entry, t.leaf.c.hash)
        .select_from(t.batch)
        .join(t.leaf, leaf_of_batch)
        .where(t.batch.c.pool_id == pool.pool_id)
    )


def _recorded(row: Any) -> RecordedBatch:
    leaf = decode(bytes(row.entry), {UsageContent.type: UsageContent})
    return RecordedBatch(leaf.index, bytes(row.hash), leaf.time, leaf.content)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a batch adds to the database besides its leaf, body and events."""

    platform_id: int
    batch_id: str
    batch_number: int
    body_sha256: bytes


@dataclass(frozen=True, slots=True)
class NewWeights:
    """Returns weights to be kept under a batch number; `collective_numbers` maps `index` to the registry's numbers."""

    batch_number: int
    method: Method
    weights: BatchWeights
    collective_numbers: Int64Array


def put_contents(
    connection: sa.Connection,
    pool: PoolRef,
    all_weights: Sequence[NewWeights],
    bodies: Mapping[bytes, bytes] | None = None,
    claims: Sequence[EventClaim] = (),
) -> None:
    """Write what batches contain: weights, a row per month and mode that has events; bodies by their hashes, unless
    they exist already; and claims on their events.

    Everything is written by ascending key, so that two callers with the same keys cannot deadlock. If an event is
    taken, this raises the error that `taken_keys` translates; in a pipeline a later statement may raise it.
    """
    rows = [(new, *part) for new in all_weights for part in new.weights.parts()]
    kept = sorted((bodies or {}).items())
    platform_ids, event_ids, claiming = ascending(claims)
    put_rows(
        connection,
        t.event,
        pool.pool_id,
        {"platform_id": int4s(platform_ids), "event_id": uuids(event_ids), "batch_number": int8s(claiming)},
    )
    put_rows(
        connection,
        t.batch_weights,
        pool.pool_id,
        {
            "batch_number": int8s([new.batch_number for new, *_ in rows]),
            "month": int4s([month for _, month, _, _ in rows]),
            "mode": int2s([mode for _, _, mode, _ in rows]),
            "method": texts(new.method.name for new, *_ in rows),
            "method_version": int4s([new.method.version for new, *_ in rows]),
            "events": int4s([of_mode.events for *_, of_mode in rows]),
            "unattributed": numerics(of_mode.unattributed for *_, of_mode in rows),
            "packed": byteas([pack(of_mode, new.collective_numbers) for new, _, _, of_mode in rows]),
        },
    )
    _put_bodies(connection, pool, kept)


def _put_bodies(connection: sa.Connection, pool: PoolRef, kept: Sequence[tuple[bytes, bytes]]) -> None:
    """Write bodies, each with its hash, unless they exist already: small ones together."""
    parts: list[list[tuple[bytes, bytes]]] = []
    left = 0
    for each in kept:
        left -= len(each[1])
        if left < 0:
            parts.append([])
            left = BODY_BYTES_AT_ONCE - len(each[1])
        parts[-1].append(each)
    for place, part in enumerate(parts):
        if place:
            driver_connection(connection).statements.drain()
        put_rows(
            connection,
            t.body,
            pool.pool_id,
            {"sha256": byteas([digest for digest, _ in part]), "bytes": byteas([body for _, body in part])},
            unless_there=True,
        )


def put_batches(
    connection: sa.Connection, pool: PoolRef, batches: Sequence[NewBatch], leaf_indices: Sequence[int]
) -> None:
    """Write batches with the leaves that record them."""
    columns = {
        "platform_id": int4s([new.platform_id for new in batches]),
        "batch_id": texts(new.batch_id for new in batches),
        "batch_number": int8s([new.batch_number for new in batches]),
        "body_sha256": byteas([new.body_sha256 for new in batches]),
        "leaf_index": int8s(leaf_indices),
    }
    put_rows(connection, t.batch, pool.pool_id, columns)
