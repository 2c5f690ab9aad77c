"""Retracting usage: events of a batch, or all of it, each at most once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from ledger.errors import IdentityReusedError, InvalidInputError, LostRaceError, Violation
from ledger.log.leaves import decode
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.pools import turns
from ledger.store.pools.admissions import require_admitted
from ledger.store.pools.numbers import collective_numbers
from ledger.store.pools.turns import Turn
from ledger.store.postgres.transactions import computing
from ledger.store.registry.platforms import platform_number
from ledger.store.usage import batches, limits
from ledger.store.usage.batches import NewWeights, RecordedBatch
from ledger.store.usage.intake import UsageStore
from ledger.store.usage.pages import find_numbers
from ledger.usage.batch import Int64Array
from ledger.usage.entries import RetractionContent, encode_positions, positions_in
from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.methods import Method
from ledger.usage.weights import BatchWeights, weigh_by_month

MAX_BATCHES: Final = 100
"""Batches that one request may reach into: each is read whole."""


@dataclass(frozen=True, slots=True)
class RetractionRequest:
    """What a platform retracts: a whole batch by its id, or events by theirs."""

    platform: str
    request_id: str
    batch_id: str | None
    event_ids: tuple[UUID, ...]
    reason: str

    def digest(self) -> bytes:
        """What identifies the request when it is sent again."""
        parts = [self.batch_id or "", *map(str, self.event_ids), self.reason]
        return sha256("\n".join(parts).encode()).digest()


@dataclass(frozen=True, slots=True)
class RecordedRetraction:
    """A retraction that is in the log, of events of one batch."""

    leaf_index: int
    leaf_hash: bytes
    time: datetime
    batch_id: str
    content: RetractionContent


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What a request takes back of one batch, of which others took back `times` before; its weights are stored under
    `weights_number` already.
    """

    batch_number: int
    times: int
    weights_number: int
    content: RetractionContent


def retract(
    connection: sa.Connection, pool: PoolRef, request: RetractionRequest, store: UsageStore
) -> list[RecordedRetraction]:
    """Retract events, with a leaf for each batch that they are in. Events retracted before are left out.

    Batches are read before the pool's turn is taken, so that no platform keeps the others waiting for its own.

    Raises:
        IdentityReusedError: the request id was used with other content.
        NotFoundError: a batch is unknown.
        InvalidInputError: event ids were never recorded; the error names each. Or they are of too many batches.
        LostRaceError: some of the events were retracted meanwhile.
        QuotaError: too many calls of the platform that read whole batches wait.
        StateError: the pool was closed, or the platform is not admitted any more.
    """
    platform_id = platform_number(connection, request.platform)
    if recorded := _recorded(connection, pool, platform_id, request):
        return recorded
    wanted = _whole_batch(connection, pool, request) if request.batch_id else _by_events(connection, pool, request)
    # One batch after the other, and nothing of it is kept but its leaf: together they may be more than fits memory.
    chosen = [found for each in wanted if (found := _choose(connection, pool, request, store, each))]
    if not chosen:  # or this very request was recorded meanwhile
        return _recorded(connection, pool, platform_id, request)
    turns.take(connection, pool, Turn.RETRACTIONS)
    _require_unchanged(connection, pool, platform_id, request, chosen)
    leaves, _ = log.append_now(connection, pool, [each.content for each in chosen])
    # Nobody else can close the pool, or end the platform's admission, from here on.
    limits.pool_limits(connection, pool).require_open(pool.name)
    require_admitted(connection, pool, request.platform, platform_id)
    for each, leaf in zip(chosen, leaves, strict=True):
        row = {
            "pool_id": pool.pool_id,
            "platform_id": platform_id,
            "request_id": request.request_id,
            "batch_number": each.batch_number,
            "request_sha256": request.digest(),
            "weights_number": each.weights_number,
            "leaf_index": leaf.index,
        }
        connection.execute(sa.insert(t.retraction).values(row))
    return _recorded(connection, pool, platform_id, request)


def _recorded(
    connection: sa.Connection, pool: PoolRef, platform_id: int, request: RetractionRequest
) -> list[RecordedRetraction]:
    of_batch = (t.batch.c.pool_id == t.retraction.c.pool_id) & (t.batch.c.batch_number == t.retraction.c.batch_number)
    of_leaf = (t.leaf.c.pool_id == t.retraction.c.pool_id) & (t.leaf.c.leaf_index == t.retraction.c.leaf_index)
    rows = connection.execute(
        sa.select(t.leaf.c.entry, t.leaf.c.hash, t.batch.c.batch_id, t.retraction.c.request_sha256)
        .select_from(t.retraction)
        .join(t.batch, of_batch)
        .join(t.leaf, of_leaf)
        .where(
            t.retraction.c.pool_id == pool.pool_id,
            t.retraction.c.platform_id == platform_id,
            t.retraction.c.request_id == request.request_id,
        )
        .order_by(t.retraction.c.leaf_index)
    ).all()
    if any(bytes(row.request_sha256) != request.digest() for row in rows):
        raise IdentityReusedError.of("request_id", "was recorded with other content")
    return [_retraction(row) for row in rows]


def _retraction(row: Any) -> RecordedRetraction:
    leaf = decode(bytes(row.entry), {RetractionContent.type: RetractionContent})
    return RecordedRetraction(leaf.index, bytes(row.hash), leaf.time, row.batch_id, leaf.content)


Wanted = tuple[RecordedBatch, int, Sequence[UUID] | None]
"""A batch, its number, and which of its events to retract; None means all."""


def _whole_batch(connection: sa.Connection, pool: PoolRef, request: RetractionRequest) -> list[Wanted]:
    batch = batches.find_batch(connection, pool, request.platform, request.batch_id or "")
    query = sa.select(t.batch.c.batch_number).where(
        t.batch.c.pool_id == pool.pool_id, t.batch.c.leaf_index == batch.leaf_index
    )
    return [(batch, connection.execute(query).scalar_one(), None)]


def _by_events(connection: sa.Connection, pool: PoolRef, request: RetractionRequest) -> list[Wanted]:
    platform_id = platform_number(connection, request.platform)
    numbers = find_numbers(connection, pool, platform_id, request.event_ids)
    unknown = [place for place, event_id in enumerate(request.event_ids) if event_id not in numbers]
    if unknown:
        violations = [Violation(f"event_ids[{place}]", "was never recorded") for place in unknown[:100]]
        raise InvalidInputError(violations, total=len(unknown))
    query = (
        sa.select(t.batch.c.batch_number, t.batch.c.batch_id)
        .where(
            t.batch.c.pool_id == pool.pool_id,
            t.batch.c.batch_number == sa.any_(sa.literal(sorted(set(numbers.values())), sa.ARRAY(sa.BigInteger))),
        )
        .order_by(t.batch.c.leaf_index)
    )
    events: dict[tuple[int, str], list[UUID]] = {
        (row.batch_number, row.batch_id): [] for row in connection.execute(query)
    }
    named = {number: of_batch for (number, _), of_batch in events.items()}
    for event_id, number in numbers.items():
        named[number].append(event_id)
    if len(events) > MAX_BATCHES:
        reason = f"are in {len(events)} batches, more than {MAX_BATCHES}; take them back by several requests"
        raise InvalidInputError.of("event_ids", reason)
    return [
        (batches.find_batch(connection, pool, request.platform, batch_id), number, of_batch)
        for (number, batch_id), of_batch in events.items()
    ]


def _choose(
    connection: sa.Connection, pool: PoolRef, request: RetractionRequest, store: UsageStore, wanted: Wanted
) -> _Chosen | None:
    """Take back what is wanted of a batch and was not before; None if that is nothing."""
    batch, batch_number, event_ids = wanted
    taken = np.ones(batch.content.accepted + batch.duplicate_count, dtype=np.bool_)
    taken[batch.duplicate_positions()] = False
    times = 0
    for positions in _taken_before(connection, pool, batch_number):
        taken[positions] = False
        times += 1
    if not taken.any():
        return None
    with computing(connection), store.heavy.passed(f"platforms/{request.platform}"):
        reading = store.readings.then(connection, pool, batch.content)
        columns = reading.columns(store.bodies.checked(connection, pool, bytes.fromhex(batch.content.body_sha256)))
        if event_ids is not None:
            ids = np.frombuffer(b"".join(event_id.bytes for event_id in event_ids), dtype="V16")
            taken &= np.isin(columns.event_ids, ids)
        if not taken.any():
            return None
        usage = reading.usage_in(columns, taken)
        weights = weigh_by_month(usage, np.ones(len(usage), dtype=np.bool_))
    numbers = collective_numbers(connection, usage.names)
    weights_number = connection.execute(sa.select(t.batch_number.next_value())).scalar_one()
    method = Method(batch.content.method, "-", 0, version=batch.content.method_version)
    batches.put_contents(connection, pool, [NewWeights(weights_number, method, weights, numbers)])
    content = _content(request, batch, np.flatnonzero(taken), weights)
    return _Chosen(batch_number, times, weights_number, content)


_ROWS_AT_ONCE: Final = 500
"""Entries of retractions that are in memory: each has up to 11 kB, and a batch may be taken back event by event."""


def _taken_before(connection: sa.Connection, pool: PoolRef, batch_number: int) -> Iterator[Int64Array]:
    """Yields the positions of each retraction of a batch."""
    of_leaf = (t.leaf.c.pool_id == t.retraction.c.pool_id) & (t.leaf.c.leaf_index == t.retraction.c.leaf_index)
    entries = connection.execute(
        sa.select(t.leaf.c.entry)
        .join_from(t.retraction, t.leaf, of_leaf)
        .where(t.retraction.c.pool_id == pool.pool_id, t.retraction.c.batch_number == batch_number),
        execution_options={"yield_per": _ROWS_AT_ONCE},
    ).scalars()
    kinds: Mapping[str, type[RetractionContent]] = {RetractionContent.type: RetractionContent}
    return (positions_in(decode(bytes(entry), kinds).content.positions) for entry in entries)


def _require_unchanged(
    connection: sa.Connection, pool: PoolRef, platform_id: int, request: RetractionRequest, chosen: Sequence[_Chosen]
) -> None:
    """Check under the turn that nothing of these batches was taken back since they were read.

    Raises:
        LostRaceError: something was.
    """
    retraction = t.retraction.c
    numbers = [each.batch_number for each in chosen]
    query = (
        sa.select(retraction.batch_number, sa.func.count().label("times"))
        .where(
            retraction.pool_id == pool.pool_id,
            retraction.batch_number == sa.any_(sa.literal(numbers, sa.ARRAY(sa.BigInteger))),
        )
        .group_by(retraction.batch_number)
    )
    times = {row.batch_number: row.times for row in connection.execute(query)}
    is_as_before = all(times.get(each.batch_number, 0) == each.times for each in chosen)
    if not is_as_before or _recorded(connection, pool, platform_id, request):
        raise LostRaceError(f"usage of platforms/{request.platform} in pools/{pool.name}")


def _content(
    request: RetractionRequest, batch: RecordedBatch, positions: Int64Array, weights: BatchWeights
) -> RetractionContent:
    return RetractionContent(
        platform=request.platform,
        request_id=request.request_id,
        batch_leaf=batch.leaf_index,
        positions=encode_positions(positions),
        reason=request.reason,
        ai_only=weights.totals(AI_ONLY),
        human_ai=weights.totals(HUMAN_AI),
    )
