"""Usage batches: what a platform may send, and the one function that decides whether it may.

A batch is one Arrow record batch in the IPC stream format (docs/concepts.md gives its columns). It is refused whole or
taken whole. Everything from outside is hostile until `parse_batch` has returned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.usage.format import (
    AI_ONLY,
    EVENT_TYPES,
    HUMAN_AI,
    MAX_BODY_BYTES,
    MAX_DECODED_BYTES,
    MAX_EVENTS,
    MAX_OCCURRED_AT,
    MAX_SHARES,
    MAX_UNITS,
    MAX_VIOLATIONS,
    MAX_WORK_ID_BYTES,
    MODES,
    NAMES_TYPE,
    BatchColumns,
    BoolArray,
    EventViolation,
    Int64Array,
    event_of_amount,
    event_violations,
    raise_violations,
    read_columns,
    repeated_names,
    require_known_names,
    require_sizes,
    where,
    where_amount,
)
from ledger.usage.repeats import repeated_places

__all__ = [
    "AI_ONLY",
    "HUMAN_AI",
    "MAX_BODY_BYTES",
    "MAX_COLLECTIVES",
    "MAX_DECODED_BYTES",
    "MAX_EVENTS",
    "MAX_OCCURRED_AT",
    "MAX_SHARES",
    "MAX_UNITS",
    "MAX_VIOLATIONS",
    "MAX_WORK_ID_BYTES",
    "MODES",
    "NANO",
    "USAGE_TYPES",
    "BoolArray",
    "Int64Array",
    "UsageBatch",
    "are_distinct",
    "first_occurrences",
    "parse_batch",
    "require_known",
]

NANO: Final = 10**9
"""One whole share."""

MAX_COLLECTIVES: Final = 65_536
"""Ids in a batch's dictionary, used or not: each becomes a Python string and a question to the registry."""

USAGE_TYPES: Final[dict[str, pa.DataType]] = {
    **EVENT_TYPES,
    "collectives": NAMES_TYPE,
    "shares": pa.list_(pa.int32()),
}


@dataclass(frozen=True, slots=True)
class UsageBatch:
    """A validated batch of n events with k shares in all. The arrays are views of the body.

    event_ids: (n,) of 16 bytes each (`V16`); work_ids: the nullable Arrow column; occurred_at: (n,) microseconds since
    1970; units: (n,) 1 to 10^9; modes: (n,) 1 or 2; offsets: (n + 1,) into the next two; collective_index: (k,) into
    `collectives`; shares: (k,) nano.
    """

    event_ids: npt.NDArray[np.void]
    work_ids: Any
    occurred_at: Int64Array
    units: Int64Array
    modes: npt.NDArray[np.uint8]
    offsets: Int64Array
    collective_index: npt.NDArray[np.int32]
    shares: npt.NDArray[np.int32]
    collectives: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.units)

    def event_of_share(self) -> Int64Array:
        """(k,) the position of the event that each share belongs to."""
        return event_of_amount(self.offsets)

    def share_sums(self) -> Int64Array:
        """(n,) the sum of each event's shares."""
        until = np.zeros(len(self.shares) + 1, dtype=np.int64)
        np.cumsum(self.shares, dtype=np.int64, out=until[1:])
        sums: Int64Array = np.diff(until[self.offsets])
        return sums


def parse_batch(body: bytes, written: BatchColumns | None = None) -> UsageBatch:
    """The batch in an Arrow stream.

    written: the columns that the body was written from, where that was done here: they are not read from it again.

    Raises:
        InvalidInputError: the batch is refused; the error holds the first 100 positions and reasons.
    """
    if written is None:
        columns = read_columns(body, USAGE_TYPES, max_names=MAX_COLLECTIVES)
    else:
        columns = written
        require_sizes(body, columns, USAGE_TYPES, max_names=MAX_COLLECTIVES)
    batch = UsageBatch(
        event_ids=columns.event_ids,
        work_ids=columns.work_ids,
        occurred_at=columns.occurred_at,
        units=columns.units,
        modes=columns.modes,
        offsets=columns.offsets,
        collective_index=columns.name_index,
        shares=columns.amounts,
        collectives=columns.names,
    )
    raise_violations(_violations(columns, batch))
    return batch


def require_known(batch: UsageBatch, known: BoolArray) -> None:
    """Refuse the batch, with the positions, where an event names a collective that is not registered.

    known: (c,) whether each of `batch.collectives` is registered. One that no event names may be unknown.
    """
    require_known_names(batch.collectives, batch.collective_index, batch.offsets, known, column="collectives")


def are_distinct(batch: UsageBatch) -> bool:
    """Whether all ids in the batch are different; False may also mean that this cannot be told at once.

    Numbers that are made of the ids take a fifth of the time of `first_occurrences`.
    """
    halves = batch.event_ids.view("<u8").reshape(-1, 2)
    return not len(repeated_places((halves[:, 0] * np.uint64(0x9E3779B97F4A7C15)) ^ halves[:, 1]))


def first_occurrences(batch: UsageBatch) -> tuple[BoolArray, Int64Array]:
    """Which events are the first with their id in the batch, and the positions of these in ascending order of id."""
    halves = batch.event_ids.view(">u8").reshape(-1, 2).astype(np.uint64)
    order = np.argsort(halves[:, 0])
    ascending = halves[order, 0]
    if (ascending[1:] == ascending[:-1]).any():  # rare but for duplicates; the other half decides
        order = np.lexsort((halves[:, 1], halves[:, 0]))
    ordered = batch.event_ids[order]
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = ordered[1:] != ordered[:-1]
    first = np.zeros(len(order), dtype=np.bool_)
    first[order[fresh]] = True
    return first, order[fresh]


def _violations(columns: BatchColumns, batch: UsageBatch) -> Iterator[EventViolation]:
    """Every rule on single events: (position, column, reason) of each breach."""
    yield from event_violations(columns)
    yield from where_amount(batch.shares < 1, batch.offsets, "shares", "must each be at least 1")
    yield from where(batch.share_sums() > NANO, "shares", f"must sum to at most {NANO}")
    yield from where_amount(repeated_names(columns), batch.offsets, "collectives", "must not repeat in one event")
