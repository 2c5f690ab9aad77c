"""Checks that each event id counts once per pool and platform: the first occurrence counts, later ones are marked.

Exact, and in bounded memory however many events there are. Of each event a hash of 8 bytes is looked at, and only what
a hash makes doubtful is looked at itself: events whose hash occurs again, and those that were left out.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from audit.batches.partitions import Partitions, Records, Spill, Spooled, hash_of, hashed
from ledger.usage.batch import BoolArray, EventIds, Int64Array
from ledger.usage.repeats import UInt64Array, repeated
from ledger.work import Submit, at_once

_ACCEPTED: Final = 1 << 31

_RECORD: Final = np.dtype([("high", "<u8"), ("low", "<u8"), ("leaf", "<u8"), ("platform", "<u4"), ("place", "<u4")])

_ID: Final = np.dtype("V16")
_HASH: Final = np.dtype("<u8")

_SUSPECT_BITS: Final = 24
"""Of a hash: 16 MB say which may occur more than once. Whatever is looked at in vain is found to be sound."""


class Conflict(NamedTuple):
    """An event that is counted although its id occurred before, or left out although it did not."""

    leaf_index: int
    position: int
    event_id: bytes
    accepted: bool
    earlier: tuple[int, int] | None
    """(leaf index, position) of the first event with its id, if there is an earlier one."""


class _Runs:
    """Where the events of each batch begin, and its leaf and platform: 24 bytes a batch."""

    def __init__(self) -> None:
        self._starts, self._leaves, self._platforms = array("q"), array("q"), array("q")

    def add(self, start: int, leaf_index: int, platform: int) -> None:
        self._starts.append(start)
        self._leaves.append(leaf_index)
        self._platforms.append(platform)

    def of(self, numbers: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Returns the leaf, the platform and the place in the batch of some events, each (n,)."""
        starts = np.array(self._starts, dtype=np.int64)
        run = np.searchsorted(starts, numbers, side="right") - 1
        leaves, platforms = np.array(self._leaves, dtype=np.int64), np.array(self._platforms, dtype=np.int64)
        return leaves[run], platforms[run], numbers - starts[run]


@dataclass(slots=True)
class UniqueEvents:
    """Takes in every event of a pool in log order, and tells at the end whether each counted once.

    `salt` keeps whoever chooses event ids from choosing their hashes; `submit` starts the work on a part.
    """

    new_spill: Callable[[], Spill]
    salt: int = 0
    submit: Submit = at_once
    records: int = 0
    _platforms: dict[str, int] = field(default_factory=dict)
    _runs: _Runs = field(default_factory=_Runs)
    _ids: Spooled = field(init=False)
    _accepted: Spooled = field(init=False)
    _hashes: Partitions = field(init=False)
    """Of every event once, and of one that was left out twice, as its first occurrence must be looked at."""

    def __post_init__(self) -> None:
        self._ids, self._accepted = Spooled(self.new_spill, _ID), Spooled(self.new_spill, np.dtype("?"))
        self._hashes = Partitions(self.new_spill, _HASH, _itself, self.submit)

    def add(self, platform: str, leaf_index: int, event_ids: EventIds, accepted: BoolArray) -> None:
        """Take in a batch; event_ids: (n,) of 16 bytes each, accepted: (n,)."""
        number = self._platforms.setdefault(platform, len(self._platforms))
        self._runs.add(self.records, leaf_index, number)
        self.records += len(event_ids)
        self._ids.add(event_ids.copy())  # what they are views of may be much larger
        self._accepted.add(accepted.copy())
        high, low = _halves(event_ids)
        hashes = hash_of(high, low, np.uint64(number), self.salt)
        self._hashes.add(hashes)
        if not accepted.all():
            self._hashes.add(hashes[~accepted])

    def first_conflict(self) -> Conflict | None:
        """Returns the first event in log order that is counted wrongly."""
        return next(iter(self.conflicts(1)), None)

    def conflicts(self, limit: int) -> list[Conflict]:
        """Returns the first events in log order that are counted wrongly, at most `limit` of them."""
        suspects = np.zeros(1 << _SUSPECT_BITS, dtype=np.bool_)
        waits = [self.submit(partial(_mark_repeated, part, suspects)) for part in self._hashes.parts()]
        for wait in waits:
            wait()
        doubtful = Partitions(self.new_spill, _RECORD, self._hash_of, self.submit)
        for some in self._read() if suspects.any() else ():
            doubtful.add(some[suspects[_slots(self._hash_of(some))]])
        found = [self.submit(partial(self._part, part, limit)) for part in doubtful.parts()]
        return _earliest([wait() for wait in found], limit)

    def _read(self) -> Iterator[Records]:
        """Yields the records of all events in the order of the log, a piece at a time."""
        begin = 0
        for ids, accepted in zip(self._ids.read(), self._accepted.read(), strict=True):
            numbers = np.arange(begin, begin + len(ids), dtype=np.int64)
            leaves, platforms, places = self._runs.of(numbers)
            records = np.empty(len(ids), dtype=_RECORD)
            records["high"], records["low"] = _halves(ids)
            records["leaf"], records["platform"] = leaves, platforms
            records["place"] = places | np.where(accepted, _ACCEPTED, 0)
            yield records
            begin += len(ids)

    def _hash_of(self, records: Records) -> UInt64Array:
        return hashed(records, self.salt)

    def _part(self, part: Callable[[], Iterator[Iterator[Records]]], limit: int) -> list[Conflict]:
        """Returns the first conflicts in a part. Threads may check several parts."""
        return _earliest([self._check(pieces, limit) for pieces in part()], limit)

    def _check(self, pieces: Iterator[Records], limit: int) -> list[Conflict]:
        """Returns the first conflicts in a part, keeping only one piece and the first record of each event."""
        firsts = np.empty(0, dtype=_RECORD)
        found: list[list[Conflict]] = []
        for piece in pieces:
            conflicts, firsts = _check_exactly(np.concatenate([firsts, piece]), limit)
            found.append(conflicts)
        return _earliest(found, limit)


def _halves(ids: EventIds) -> tuple[UInt64Array, UInt64Array]:
    words = np.ascontiguousarray(ids).view("<u8").reshape(-1, 2)
    return words[:, 0], words[:, 1]


def _itself(hashes: Records) -> UInt64Array:
    return hashes


def _mark_repeated(part: Callable[[], Iterator[Iterator[Records]]], suspects: BoolArray) -> None:
    """Mark the hashes of a part that occur more than once. Threads may mark those of several parts."""
    for pieces in part():
        first, second = next(pieces), next(pieces, None)
        if second is None:
            suspects[_slots(repeated(first))] = True
        else:  # so many pieces have but a few hashes
            for piece in chain([first, second], pieces):
                suspects[_slots(piece)] = True


def _slots(hashes: UInt64Array) -> npt.NDArray[np.intp]:
    return (hashes >> np.uint64(64 - _SUSPECT_BITS)).astype(np.intp)


def _check_exactly(records: Records, limit: int) -> tuple[list[Conflict], Records]:
    """Returns the first conflicts among records in log order, and the first record of each event."""
    order = np.lexsort((records["platform"], records["low"], records["high"]))
    ordered = records[order]
    first = np.ones(len(ordered), dtype=np.bool_)
    same = (ordered[1:]["high"] == ordered[:-1]["high"]) & (ordered[1:]["low"] == ordered[:-1]["low"])
    first[1:] = ~(same & (ordered[1:]["platform"] == ordered[:-1]["platform"]))
    accepted = ordered["place"] >= _ACCEPTED
    wrong = np.flatnonzero(accepted != first)
    begins = np.flatnonzero(first)
    conflicts = []
    for at in wrong[np.argsort(order[wrong])][:limit].tolist():
        begin = int(begins[np.searchsorted(begins, at, side="right") - 1])
        record = ordered[at]
        earlier = None if begin == at else (int(ordered[begin]["leaf"]), int(ordered[begin]["place"]) % _ACCEPTED)
        event_id = record["high"].tobytes() + record["low"].tobytes()
        place = int(record["place"])
        conflicts.append(Conflict(int(record["leaf"]), place % _ACCEPTED, event_id, place >= _ACCEPTED, earlier))
    return conflicts, ordered[first]


def _earliest(found: list[list[Conflict]], limit: int) -> list[Conflict]:
    distinct = {conflict for conflicts in found for conflict in conflicts}  # the first records come again in each piece
    return sorted(distinct, key=lambda each: each[:2])[:limit]
