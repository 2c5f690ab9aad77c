"""Usage to measure with: seeded, and sent the way a platform would send it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

import moiety


@dataclass(frozen=True, slots=True)
class Workload:
    """How much usage, and of what shape."""

    batches: int
    events_per_batch: int = 10_000
    shares_per_event: int = 16
    collectives: int = 5_000
    seed: int = 2025
    covering: bool = False
    """Whether the events of a batch share all collectives among them, each once, and are all AI_ONLY."""

    @property
    def events(self) -> int:
        return self.batches * self.events_per_batch

    def collective_ids(self) -> list[str]:
        return [f"collective-{number:05d}" for number in range(self.collectives)]

    def tables(self) -> list[pa.RecordBatch]:
        """A record batch of random ids for each batch, with distinct collectives in each event."""
        rng = np.random.default_rng(self.seed)
        return [self._table(rng) for _ in range(self.batches)]

    def _table(self, rng: np.random.Generator) -> pa.RecordBatch:
        events, shares = self.events_per_batch, self.shares_per_event
        # A random start and an odd stride give each event distinct collectives without a draw for each.
        starts, strides = rng.integers(0, self.collectives, events), 2 * rng.integers(0, 50, events) + 1
        if self.covering:
            starts, strides = shares * np.arange(events), np.ones(events, dtype=np.int64)
        drawn = (starts[:, None] + strides[:, None] * np.arange(shares)) % self.collectives
        offsets = pa.array(np.arange(0, events * shares + 1, shares, dtype=np.int32))
        names = pa.array(self.collective_ids())
        indices = pa.array(np.sort(drawn, axis=1).ravel().astype(np.int32))
        nanos = rng.integers(1, 10**9 // shares, events * shares).astype(np.int32)
        return pa.record_batch(
            [
                pa.Array.from_buffers(pa.binary(16), events, [None, pa.py_buffer(rng.bytes(16 * events))]),
                pa.nulls(events, pa.utf8()),
                pa.array(np.full(events, 1_767_225_600_000_000)).cast(pa.timestamp("us", tz="UTC")),
                pa.array(rng.integers(1, 1000, events)),
                pa.array(rng.integers(1, 2 if self.covering else 3, events).astype(np.uint8)),
                pa.ListArray.from_arrays(offsets, pa.DictionaryArray.from_arrays(indices, names)),
                pa.ListArray.from_arrays(offsets, pa.array(nanos)),
            ],
            schema=moiety.USAGE_SCHEMA,
        )
