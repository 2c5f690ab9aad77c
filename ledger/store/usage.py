"""Usage batches in Postgres: each batch and each event exactly once.

By batch, not by score: the body as bytes, a packed weight vector per mode, and one narrow row per event.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from ledger.batch_weights import BatchWeights, pack, weigh
from ledger.errors import IdentityReusedError, InvalidInputError, LostRaceError, NotFoundError
from ledger.leaves import UsageContent, decode, decode_positions, encode_positions
from ledger.methods import Method
from ledger.readings import Reading
from ledger.store import log, registry
from ledger.store import tables as t
from ledger.store.claims import BatchNumbers, EventClaim, EventsKnownError
from ledger.store.database import Database
from ledger.store.log import PoolRef
from ledger.store.readings import Readings
from ledger.usage import (
    AI_ONLY,
    HUMAN_AI,
    BoolArray,
    Int64Array,
    UsageBatch,
    first_occurrences,
    require_known,
)


@dataclass(frozen=True, slots=True)
class BatchIdentity:
    """What makes a batch the same batch when it comes again."""

    pool: PoolRef
    platform: str
    batch_id: str


@dataclass(frozen=True, slots=True)
class RecordedBatch:
    """A batch that is in the log."""

    leaf_index: int
    leaf_hash: bytes
    time: datetime
    content: UsageContent

    def duplicate_positions(self) -> list[int]:
        """Positions of the events that were left out, ascending."""
        return decode_positions(self.content.duplicates)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A batch that is fit to be recorded."""

    identity: BatchIdentity
    platform_id: int
    digest: bytes
    body: bytes
    method: Method
    membership_version: int | None
    batch: UsageBatch
    collective_numbers: Int64Array


class UsageStore:
    """Takes batches in and finds them again."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock
        self.collectives = registry.CollectiveNumbers(database)
        self.readings = Readings()
        self._batch_numbers = BatchNumbers()

    def accept(self, identity: BatchIdentity, method_id: str, body: bytes) -> RecordedBatch:
        """Record a batch; when this returns it is durable. The same batch again gives its first record.

        Raises IdentityReusedError where the id is known with other bytes or under another method, InvalidInputError
        where an event is refused, NotFoundError for an unknown method or platform; nothing is kept then.
        """
        digest = sha256(body).digest()
        try:
            prepared = self._prepared(identity, method_id, digest, body)
        except (InvalidInputError, NotFoundError):
            if recorded := self._recorded_before(identity, method_id, digest):
                return recorded
            raise
        for optimistic in (True, False):
            try:
                return self._record(prepared, optimistic=optimistic)
            except (EventsKnownError, LostRaceError):
                if recorded := self._recorded_before(identity, method_id, digest):
                    return recorded
        raise LostRaceError(f"batch {identity.batch_id}")

    def _prepared(self, identity: BatchIdentity, method_id: str, digest: bytes, body: bytes) -> _Prepared:
        with self._database.reading() as connection:
            method = _method(connection, identity.pool, method_id)
            reading = self.readings.now(connection, identity.pool, method)
            platform_id = registry.platform_number(connection, identity.platform)
        batch, numbers = self._parsed(reading, body)
        return _Prepared(identity, platform_id, digest, body, method, reading.membership_version, batch, numbers)

    def _recorded_before(self, identity: BatchIdentity, method_id: str, digest: bytes) -> RecordedBatch | None:
        """The first record of the batch, if there is one. Asked only when something stands in its way: it rarely is.

        Raises IdentityReusedError where it was recorded with other bytes, or under another method.
        """
        try:
            with self._database.reading() as connection:
                recorded = find_batch(connection, identity)
        except NotFoundError:
            return None
        if recorded.content.body_sha256 != digest.hex():
            raise IdentityReusedError.of("batch_id", f"{identity.batch_id} was recorded with other events")
        if recorded.content.method != method_id:
            reason = f"{identity.batch_id} was recorded under the method {recorded.content.method}"
            raise IdentityReusedError.of("batch_id", reason)
        return recorded

    def validate(self, pool: PoolRef, method_id: str, body: bytes) -> tuple[Method, BoolArray]:
        """The checks of `accept` alone: the method, and which events are first with their id in the batch."""
        with self._database.reading() as connection:
            method = _method(connection, pool, method_id)
            reading = self.readings.now(connection, pool, method)
        batch, _ = self._parsed(reading, body)
        return method, first_occurrences(batch)[0]

    def _parsed(self, reading: Reading, body: bytes) -> tuple[UsageBatch, Int64Array]:
        batch = reading.usage(body, registered=lambda names: self.collectives.of(names) > 0)
        numbers = self.collectives.of(batch.collectives)
        require_known(batch, numbers > 0)
        return batch, numbers

    def _record(self, prepared: _Prepared, *, optimistic: bool) -> RecordedBatch:
        pool, batch = prepared.identity.pool, prepared.batch
        first, ascending = first_occurrences(batch)
        accepted, weights = first, weigh(batch, first)
        with self._database.transaction() as connection:
            batch_number = self._batch_numbers.take(connection)
            claim = EventClaim(pool.pool_id, prepared.platform_id, batch_number)
            if optimistic:
                claim.copy(connection, batch.event_ids[ascending])
            else:
                free = claim.insert_free(connection, batch.event_ids[ascending])
                accepted = np.zeros(len(batch), dtype=np.bool_)
                accepted[ascending[free]] = True
                weights = weigh(batch, accepted)
            log.put_body(connection, pool, prepared.digest, prepared.body)
            put_weights(connection, pool, batch_number, prepared.method, weights, prepared.collective_numbers)
            content = _content(prepared, accepted, weights)
            now = self._clock()
            (leaf,) = log.append(connection, pool, [content], now)
            _put_batch(connection, batch_number, prepared, leaf.index)
        return RecordedBatch(leaf.index, leaf.hash, now, content)


def _method(connection: sa.Connection, pool: PoolRef, method_id: str) -> Method:
    method = registry.latest_method(connection, pool, method_id)
    if method is None:
        raise NotFoundError(f"pools/{pool.name}/methods/{method_id}")
    return method


def find_batch(connection: sa.Connection, identity: BatchIdentity) -> RecordedBatch:
    """The batch with this identity, or NotFoundError."""
    query = _batches(identity.pool).where(
        t.platform.c.name == identity.platform, t.batch.c.batch_id == identity.batch_id
    )
    row = connection.execute(query).first()
    if row is None:
        raise NotFoundError(f"pools/{identity.pool.name}/batches/{identity.platform}~{identity.batch_id}")
    return _recorded(row)


def list_batches(
    connection: sa.Connection, pool: PoolRef, *, platform: str | None, after: int, limit: int
) -> list[RecordedBatch]:
    """Batches in the order of the log, from beyond the leaf `after`; of one platform or of all."""
    query = _batches(pool).where(t.batch.c.leaf_index > after).order_by(t.batch.c.leaf_index).limit(limit)
    if platform is not None:
        query = query.where(t.platform.c.name == platform)
    return [_recorded(row) for row in connection.execute(query)]


def find_event(connection: sa.Connection, pool: PoolRef, platform: str, event_id: UUID) -> RecordedBatch:
    """The batch that recorded an event, or NotFoundError."""
    on = (t.event.c.pool_id == t.batch.c.pool_id) & (t.event.c.batch_number == t.batch.c.batch_number)
    query = _batches(pool).join(t.event, on).where(t.platform.c.name == platform, t.event.c.event_id == event_id)
    row = connection.execute(query.where(t.event.c.platform_id == t.platform.c.platform_id)).first()
    if row is None:
        raise NotFoundError(f"pools/{pool.name}/events/{platform}~{event_id}")
    return _recorded(row)


def _batches(pool: PoolRef) -> sa.Select[Any]:
    leaf_of_batch = (t.leaf.c.pool_id == t.batch.c.pool_id) & (t.leaf.c.leaf_index == t.batch.c.leaf_index)
    return (
        sa.select(t.leaf.c.entry, t.leaf.c.hash)
        .select_from(t.batch)
        .join(t.platform, t.platform.c.platform_id == t.batch.c.platform_id)
        .join(t.leaf, leaf_of_batch)
        .where(t.batch.c.pool_id == pool.pool_id)
    )


def _recorded(row: Any) -> RecordedBatch:
    leaf = decode(bytes(row.entry), {UsageContent.type: UsageContent})
    return RecordedBatch(leaf.index, bytes(row.hash), leaf.time, leaf.content)


def _content(prepared: _Prepared, accepted: BoolArray, weights: BatchWeights) -> UsageContent:
    return UsageContent(
        platform=prepared.identity.platform,
        batch_id=prepared.identity.batch_id,
        body_sha256=prepared.digest.hex(),
        body_bytes=len(prepared.body),
        method=prepared.method.name,
        method_version=prepared.method.version,
        membership=prepared.method.membership,
        membership_version=prepared.membership_version,
        accepted=int(np.count_nonzero(accepted)),
        duplicates=encode_positions(np.flatnonzero(~accepted).tolist()),
        ai_only=weights[AI_ONLY].totals(),
        human_ai=weights[HUMAN_AI].totals(),
    )


_INSERT_WEIGHTS: Final = sa.insert(t.batch_weights)
_INSERT_BATCH: Final = sa.insert(t.batch)


def put_weights(
    connection: sa.Connection,
    pool: PoolRef,
    batch_number: int,
    method: Method,
    weights: BatchWeights,
    collective_numbers: Int64Array,
) -> None:
    """Keep weights under a batch number, a row per mode that has events."""
    rows = [
        {
            "pool_id": pool.pool_id,
            "batch_number": batch_number,
            "mode": mode,
            "method": method.name,
            "method_version": method.version,
            "events": of_mode.events,
            "unattributed": of_mode.unattributed,
            "packed": pack(of_mode, collective_numbers),
        }
        for mode, of_mode in weights.items()
        if of_mode.events
    ]
    if rows:
        connection.execute(_INSERT_WEIGHTS, rows)


def _put_batch(connection: sa.Connection, batch_number: int, prepared: _Prepared, leaf_index: int) -> None:
    row = {
        "pool_id": prepared.identity.pool.pool_id,
        "platform_id": prepared.platform_id,
        "batch_id": prepared.identity.batch_id,
        "batch_number": batch_number,
        "body_sha256": prepared.digest,
        "leaf_index": leaf_index,
    }
    try:
        connection.execute(_INSERT_BATCH, row)
    except sa.exc.IntegrityError:
        # The same batch came twice at once, and the other one was first; nothing of this one is kept.
        raise LostRaceError(f"batch {prepared.identity.batch_id}") from None
