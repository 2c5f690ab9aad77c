"""Accepted events that have rows, batch by batch as the log has them, compared with the rows as they lie.

A batch's rows were written together, by id: taken by number they are just the batch's ids in order, which is told by
comparing bytes. Whatever is not so, and small batches, are left to be matched one by one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np

from audit.fsck.copied import EventRows
from audit.partitions import Spill, Spooled
from ledger.usage.batch import Int64Array
from ledger.usage.pages import EventIds, ascending

_LEAST: Final = 64
"""Events of a batch that is worth being compared as a whole."""

_CARRIED_MAX: Final = 2**18
"""Rows that wait for others of their batch, of which those after them are the rest."""


_NONE: Final = EventRows(np.zeros(0, dtype=np.int64), np.zeros(0, dtype="V16"), np.zeros(0, dtype=np.int64))


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
        self._carried = _NONE
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

    def without_found(self, rows: EventRows) -> EventRows:
        """Take in more rows, in the order in which they lie, and return those that belong to no batch that was found.

        Some are kept for the next time.
        """
        rows, self._carried = self._carried.and_then(rows), _NONE
        if not len(rows.ids):
            return rows
        order = np.argsort(rows.numbers, kind="stable")
        rows = rows.at(order)
        begins = np.flatnonzero(np.diff(rows.numbers, prepend=rows.numbers[:1] - 1))
        ends = np.append(begins[1:], len(order))
        left, kept = np.ones(len(order), dtype=np.bool_), np.zeros(len(order), dtype=np.bool_)
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            batch = self._batch_of(int(rows.numbers[begin]))
            if batch is None:
                continue
            of_batch = slice(begin, end)
            if end - begin < self._length(batch):
                kept[of_batch] = True
            elif self._is_found(batch, rows.at(np.arange(begin, end))):
                left[of_batch] = False
        if np.count_nonzero(kept) <= _CARRIED_MAX:
            self._carried, left = rows.at(kept), left & ~kept
        return rows.at(left)

    def rest(self) -> tuple[EventRows, Iterator[LoggedBatch]]:
        """Returns the rows that were kept, and the batches whose rows were not found."""
        unfound = (place for place in range(len(self._starts)) if place not in self._found)
        return self._carried, (
            LoggedBatch(self._leaves[place], self._platforms[place], self._ids_of(place)) for place in unfound
        )

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

    def _is_found(self, batch: int, rows: EventRows) -> bool:
        if len(rows.ids) != self._length(batch) or (rows.platforms != self._platforms[batch]).any():
            return False
        if ascending(rows.ids).tobytes() != ascending(self._ids_of(batch)).tobytes():
            return False
        self._found.add(batch)
        return True
