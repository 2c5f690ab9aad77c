"""A batch in memory: the columns of its events, and of each event a list of names with an amount for each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
EventIds = npt.NDArray[np.void]
"""(n,) of 16 bytes each (`V16`)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The columns of n events with k amounts in total: read as views of a body, or to be written as one.

    Names are collectives and amounts their shares in nano, or names are sources and amounts their scores; the batch's
    method says which. There are no nulls, and lists and dictionary are valid. `parse_batch` and
    `parse_score_batch` check the values: what they return has passed every rule on single events.

    Attributes:
        event_ids: (n,) of 16 bytes each (`V16`).
        work_ids: the nullable Arrow column.
        occurred_at: (n,) microseconds since 1970.
        units: (n,) 1 to 10^9.
        modes: (n,) 1 or 2.
        offsets: (n + 1,) into the next two.
        name_index: (k,) int32 into `names`.
        amounts: (k,) int32 for shares, float64 for scores.
    """

    event_ids: EventIds
    work_ids: Any
    occurred_at: Int64Array
    units: Int64Array
    modes: npt.NDArray[np.uint8]
    offsets: Int64Array
    name_index: npt.NDArray[np.int32]
    amounts: npt.NDArray[Any]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.units)

    def named(self) -> tuple[str, ...]:
        """The names that an event has, in the order of `names`: a dictionary may hold others too."""
        is_named = np.bincount(self.name_index, minlength=len(self.names)) > 0
        return self.names if is_named.all() else _chosen(self.names, is_named)

    def only_named(self) -> Batch:
        """The batch with those of its `names` that an event has, so that nothing asks for the others."""
        names, name_index = only_named(self.names, self.name_index)
        return self if names is self.names else replace(self, names=names, name_index=name_index)

    def event_of_amount(self) -> Int64Array:
        """(k,) the position of the event that each amount belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def share_sums(self) -> Int64Array:
        """(n,) the sum of each event's amounts, which are shares."""
        until = np.zeros(len(self.amounts) + 1, dtype=np.int64)
        np.cumsum(self.amounts, dtype=np.int64, out=until[1:])
        sums: Int64Array = np.diff(until[self.offsets])
        return sums

    def position_of(self, event_id: bytes, duplicates: Int64Array) -> int | None:
        """The place of an event in the batch that recorded it; None if it is not there or only as a duplicate."""
        found = np.setdiff1d(np.flatnonzero(self.event_ids == np.void(event_id)), duplicates)
        return int(found[0]) if len(found) else None

    def only(self, chosen: BoolArray) -> Batch:
        """The batch with some of its events, (n,), and their amounts; `names` stay."""
        if chosen.all():
            return self
        lengths = np.diff(self.offsets)
        of_chosen = np.repeat(chosen, lengths)
        return replace(
            self,
            event_ids=self.event_ids[chosen],
            work_ids=None if self.work_ids is None else self.work_ids.filter(chosen),
            occurred_at=self.occurred_at[chosen],
            units=self.units[chosen],
            modes=self.modes[chosen],
            offsets=np.concatenate([[0], np.cumsum(lengths[chosen])]),
            name_index=self.name_index[of_chosen],
            amounts=self.amounts[of_chosen],
        )


def events_at(places: Int64Array, offsets: Int64Array) -> Int64Array:
    """The positions, each once and ascending, of the events that the amounts at `places` belong to."""
    return np.unique(np.searchsorted(offsets, places, side="right") - 1)


_COUNTED_EACH: Final = 4
"""Amounts for each name that are looked at together: large batches mostly name the whole dictionary long before their
end."""

_COUNTED_LEAST: Final = 2**12


def only_named(names: tuple[str, ...], index: npt.NDArray[np.int32]) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
    """Returns the ids of a dictionary that an event names, in the same order, and (k,) the index into them.

    The others mean nothing, so nothing that comes after this asks for them or pays for them.
    """
    used = np.zeros(len(names), dtype=np.bool_)
    step = max(_COUNTED_LEAST, _COUNTED_EACH * len(names))
    for start in range(0, len(index), step):
        used |= np.bincount(index[start : start + step], minlength=len(names)) > 0
        if used.all():
            break
    if used.all():
        return names, index
    place = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return _chosen(names, used), place[index]


def _chosen(names: tuple[str, ...], mask: BoolArray) -> tuple[str, ...]:
    """The names under a mask, which are mostly a few of many."""
    return tuple(map(names.__getitem__, np.flatnonzero(mask).tolist()))
