"""Accepted events that have rows, batch by batch as the log has them, compared with the rows of the same number.

The rows of a batch's number are just the batch's ids, which is told by comparing bytes. Whatever is not so, and small
batches, are left to be matched one by one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

from audit.batches.partitions import Spill, Spooled
from audit.fsck.copied import BatchRows
from ledger.usage.batch import Int64Array
from ledger.usage.pages import EventIds, ascending

_LEAST: Final = 64
"""Events of a batch that is worth being compared as a whole."""


class LoggedBatch(NamedTuple):
    """What a batch's rows must be."""

    leaf_index: int
    platform_id: int
    ids: EventIds


class LoggedEvents:
    """Takes in batches, then rows, and says what is left of both."""

    def __init__(self, new_spill: Callable[[], Spill]) -> None:
        self._ids = Spooled(new_spill, np.dtype("V16"))
        self._count = 0
        self._starts, self._leaves, self._platforms, self._numbers = (array("q") for _ in range(4))
        self._sorted: tuple[Int64Array, Int64Array] | None = None
        """The numbers of the batches, ascending, and which batch has each; once the first rows come."""
        self._found: set[int] = set()

    def takes(self, leaf_index: int, platform_id: int, ids: EventIds, number: int | None) -> bool:
        """Take in the batch of a leaf, if it is worth it; `number` is what its row says."""
        if number is None or len(ids) < _LEAST:
            return False
        self._starts.append(self._count)
        self._leaves.append(leaf_index)
        self._platforms.append(platform_id)
        self._numbers.append(number)
        self._ids.add(ids.copy())
        self._count += len(ids)
        return True

    def finds(self, rows: BatchRows) -> bool:
        """Whether rows are just those of the batch that alone has their number. Each batch is found once."""
        batch = self._batch_of(rows.number)
        if batch is None or len(rows.ids) != self._length(batch) or rows.platform_id != self._platforms[batch]:
            return False
        if ascending(rows.ids).tobytes() != ascending(self._ids_of(batch)).tobytes():
            return False
        self._found.add(batch)
        return True

    def unfound(self) -> Iterator[LoggedBatch]:
        """Yields the batches whose rows were not found."""
        for place in range(len(self._starts)):
            if place not in self._found:
                yield LoggedBatch(self._leaves[place], self._platforms[place], self._ids_of(place))

    def _batch_of(self, number: int) -> int | None:
        """Returns the batch that alone has a number, if its rows were not found yet."""
        if self._sorted is None:
            numbers = np.array(self._numbers, dtype=np.int64)
            order = np.argsort(numbers, kind="stable")
            self._sorted = numbers[order], order
        numbers, order = self._sorted
        first, end = (int(np.searchsorted(numbers, number, side=side)) for side in ("left", "right"))
        if end - first != 1 or int(order[first]) in self._found:
            return None
        return int(order[first])

    def _length(self, batch: int) -> int:
        end = self._starts[batch + 1] if batch + 1 < len(self._starts) else self._count
        return end - self._starts[batch]

    def _ids_of(self, batch: int) -> EventIds:
        return self._ids.at(self._starts[batch], self._length(batch))
