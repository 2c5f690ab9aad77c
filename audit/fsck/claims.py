"""Accepted events beside the rows that say so: each is taken in once, in any order, and they are matched by id.

In bounded memory however many there are: each part (`audit.batches.partitions`) has all records of its ids, and is
matched by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audit.batches.partitions import Partitions, Records, Spill, hashed, taken_from
from ledger.usage.batch import BoolArray, Int64Array
from ledger.usage.pages import EventIds
from ledger.usage.repeats import MIX
from ledger.work import Submit, at_once

LOGGED, ROW, PAGED = range(3)
"""Where a record is from: an accepted event of the log, a row of `event`, an id in a page that no batch has."""

NOWHERE: Final = -(2**63)
"""In place of a batch's number: none is known, or no row was found."""

_RECORD: Final = np.dtype([("high", "<u8"), ("low", "<u8"), ("value", "<i8"), ("platform", "<i4"), ("source", "<u4")])

_AHEAD: Final = 2
"""Parts that are matched before anyone asks for them."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Records of some ids, each with the one that it belongs to.

    Attributes:
        logged: (n,) accepted events; `value` is the leaf.
        numbers: (n,) the number of the batch that a row or a page gives to each; `NOWHERE` without one.
        sources: (n,) what gives it: `ROW`, `PAGED`, or `LOGGED` where nothing does.
        extra: (m,) rows and ids of pages that belong to no accepted event; `value` is their batch's number.
    """

    logged: Records
    numbers: Int64Array
    sources: npt.NDArray[np.uint32]
    extra: Records


class Claims:
    """Takes in accepted events and rows, and matches them at the end.

    `salt` keeps whoever chooses event ids from choosing the part of their records; `submit` starts the work on a part.
    """

    def __init__(self, new_spill: Callable[[], Spill], salt: int, submit: Submit = at_once) -> None:
        self._submit = submit
        self._partitions = Partitions(new_spill, _RECORD, partial(hashed, salt=salt), submit)

    def add(self, source: int, platform_ids: Any, ids: EventIds, values: Any) -> None:
        """Take in ids (n,) of platforms with their values, each (n,) or one for all."""
        records = np.empty(len(ids), dtype=_RECORD)
        halves = np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)
        records["high"], records["low"] = halves[:, 0], halves[:, 1]
        records["value"], records["platform"], records["source"] = values, platform_ids, source
        self._partitions.add(records)

    def matched(self) -> Iterator[Matched]:
        """Yields what was taken in, matched, a part at a time. It can be asked for again."""
        under_way: deque[Callable[[], list[Matched]]] = deque()
        for part in self._partitions.parts():
            under_way.append(self._submit(partial(_matched_part, part)))
            if len(under_way) > _AHEAD:
                yield from under_way.popleft()()
        for wait in under_way:
            yield from wait()


def ids_of(records: Records) -> EventIds:
    """(n,) the ids of records."""
    halves = np.empty((len(records), 2), dtype="<u8")
    halves[:, 0], halves[:, 1] = records["high"], records["low"]
    return halves.view("V16").reshape(-1)


def _by_id(records: Records) -> Records:
    """Returns records by id, platform and source, in any order of ids.

    Sorted by one number made of all four, the source in its last bits: that takes a third of the time. Should two ids
    make the same number, which is found out, the columns themselves decide.
    """
    mixed = (records["high"] * MIX) ^ records["low"]
    mixed = (mixed ^ (mixed >> np.uint64(31)) ^ records["platform"].astype(np.uint64)) * np.uint64(0xBF58476D1CE4E5B9)
    key = (mixed & ~np.uint64(3)) | records["source"]
    order = np.argsort(key)
    ordered, sorted_key = taken_from(records, order), key[order]
    alike = (sorted_key[1:] ^ sorted_key[:-1]) <= np.uint64(3)
    if (alike & _begins(ordered)[1:]).any():
        return taken_from(
            records, np.lexsort((records["source"], records["platform"], records["low"], records["high"]))
        )
    return ordered


def _matched_part(part: Callable[[], Iterator[Iterator[Records]]]) -> list[Matched]:
    return [_matched(np.concatenate(list(pieces))) for pieces in part()]


def _matched(records: Records) -> Matched:
    ordered = _by_id(records)
    group = np.cumsum(_begins(ordered)) - 1
    is_logged: BoolArray = ordered["source"] == LOGGED
    logged, holders = np.flatnonzero(is_logged), np.flatnonzero(~is_logged)
    holder = np.full(int(group[-1]) + 1 if len(group) else 0, -1, dtype=np.int64)
    holder[group[holders][::-1]] = holders[::-1]  # the first of several
    is_named = np.zeros(len(holder), dtype=np.bool_)
    is_named[group[logged]] = True
    found = holder[group[logged]]
    extra = holders[~is_named[group[holders]] | (holder[group[holders]] != holders)]
    there = found >= 0
    return Matched(
        ordered[logged],
        np.where(there, ordered["value"][found], np.int64(NOWHERE)),
        np.where(there, ordered["source"][found], np.uint32(LOGGED)),
        ordered[extra],
    )


def _begins(ordered: Records) -> BoolArray:
    """(n,) whether each of these sorted records is the first with its id and platform."""
    begins = np.ones(len(ordered), dtype=np.bool_)
    same = ordered["high"][1:] == ordered["high"][:-1]
    for name in ("low", "platform"):
        same &= ordered[name][1:] == ordered[name][:-1]
    begins[1:] = ~same
    return begins
