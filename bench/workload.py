"""Usage to measure with: seeded, and sent the way a platform would send it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Final

import numpy as np
import pyarrow as pa

import moiety

OCCURRED_AT_US: Final = 1_767_225_600_000_000
"""All at the beginning of 2026."""

Ids = Callable[[np.random.Generator, int, int], bytes]
"""Ids of so many events, of which so many came before: 16 bytes each."""


def random_ids(rng: np.random.Generator, events: int, before: int) -> bytes:
    """128 random bits."""
    del before
    return rng.bytes(16 * events)


def uuid7_ids(rng: np.random.Generator, events: int, before: int) -> bytes:
    """UUIDv7 (RFC 9562 section 5.7), as one machine makes them at 200 events a millisecond."""
    halves = np.empty((events, 2), dtype=">u8")
    milliseconds = OCCURRED_AT_US // 1000 + np.arange(before, before + events, dtype=np.uint64) // np.uint64(200)
    within = np.arange(before, before + events, dtype=np.uint64) % np.uint64(200)
    halves[:, 0] = milliseconds << np.uint64(16) | np.uint64(7 << 12) | within
    halves[:, 1] = rng.integers(0, 1 << 62, events, dtype=np.uint64) | np.uint64(2 << 62)
    return halves.tobytes()


@dataclass(frozen=True, slots=True)
class Workload:
    """How much usage, and of what shape."""

    batches: int
    events_per_batch: int = 10_000
    shares_per_event: int = 16
    collectives: int = 5_000
    seed: int = 2025
    ids: Ids = random_ids
    covering: bool = False
    """Whether the events share all collectives among them, one after the other, and are all AI_ONLY."""

    @property
    def events(self) -> int:
        return self.batches * self.events_per_batch

    def collective_ids(self) -> list[str]:
        return [f"collective-{number:05d}" for number in range(self.collectives)]

    def tables(self) -> list[pa.RecordBatch]:
        """A record batch for each batch, with distinct collectives in each event."""
        rng = np.random.default_rng(self.seed)
        names = pa.array(self.collective_ids())
        return [self._table(rng, number, names) for number in range(self.batches)]

    def repeated(self, batches: int, ids: Ids = random_ids) -> Iterator[pa.RecordBatch]:
        """So many batches: the workload's own, made at once, over and over, each time with ids of their own."""
        tables, rng = self.tables(), np.random.default_rng([self.seed, 1])
        return (
            table.set_column(0, table.schema.field(0), _id_array(ids(rng, len(table), number * len(table)), len(table)))
            for number, table in enumerate(islice(cycle(tables), batches))
        )

    def _table(self, rng: np.random.Generator, number: int, names: pa.Array) -> pa.RecordBatch:
        events, shares = self.events_per_batch, self.shares_per_event
        # A random start and an odd stride give each event distinct collectives without a draw for each.
        starts, strides = rng.integers(0, self.collectives, events), 2 * rng.integers(0, 50, events) + 1
        if self.covering:
            starts, strides = (
                shares * np.arange(number * events, (number + 1) * events),
                np.ones(events, dtype=np.int64),
            )
        drawn = (starts[:, None] + strides[:, None] * np.arange(shares)) % self.collectives
        if self.covering:
            # Names that a batch does not use count towards what it may name.
            used, drawn = np.unique(drawn, return_inverse=True)
            names, drawn = names.take(pa.array(used)), drawn.reshape(events, shares)
        offsets = pa.array(np.arange(0, events * shares + 1, shares, dtype=np.int32))
        indices = pa.array(np.sort(drawn, axis=1).ravel().astype(np.int32))
        nanos = rng.integers(1, 10**9 // shares, events * shares).astype(np.int32)
        return pa.record_batch(
            [
                _id_array(self.ids(rng, events, number * events), events),
                pa.nulls(events, pa.utf8()),
                pa.array(np.full(events, OCCURRED_AT_US)).cast(pa.timestamp("us", tz="UTC")),
                pa.array(rng.integers(1, 1000, events)),
                pa.array(rng.integers(1, 2 if self.covering else 3, events).astype(np.uint8)),
                pa.ListArray.from_arrays(offsets, pa.DictionaryArray.from_arrays(indices, names)),
                pa.ListArray.from_arrays(offsets, pa.array(nanos)),
            ],
            schema=moiety.USAGE_SCHEMA,
        )


def _id_array(data: bytes, events: int) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(16), events, [None, pa.py_buffer(data)])


def claimed(batch: pa.RecordBatch) -> int:
    """The sum of units times share over all events: what the ledger's weights must come to."""
    shares = batch.column("shares")
    units = np.repeat(batch.column("units").to_numpy(), np.diff(shares.offsets.to_numpy()))
    return int(units @ shares.values.to_numpy().astype(np.int64))  # below 1,000 units * 10^9 * 65,536 events
