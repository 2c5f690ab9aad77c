"""Checks that each event id counts once per pool and platform: the first occurrence counts, later ones are marked.

Exact, and in bounded memory however many events there are: a part of the log has all records of its events, in log
order (`audit.partitions`), and is checked by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from audit.partitions import Partitions, Records, Spill, hashed
from ledger.usage.batch import BoolArray
from ledger.usage.repeats import UInt64Array, repeated_places
from ledger.work import Submit, at_once

_ACCEPTED: Final = 1 << 31

_RECORD: Final = np.dtype([("high", "<u8"), ("low", "<u8"), ("leaf", "<u8"), ("platform", "<u4"), ("place", "<u4")])
_WORDS: Final = _RECORD.itemsize // 8


class Conflict(NamedTuple):
    """An event that is counted although its id occurred before, or left out although it did not."""

    leaf_index: int
    position: int
    event_id: bytes
    accepted: bool
    earlier: tuple[int, int] | None
    """(leaf index, position) of the first event with its id, if there is an earlier one."""


@dataclass(slots=True)
class UniqueEvents:
    """Takes in every event of a pool in log order, and tells at the end whether each counted once.

    `salt` keeps whoever chooses event ids from choosing the part of their records; `submit` starts the work on a part.
    """

    new_spill: Callable[[], Spill]
    salt: int = 0
    submit: Submit = at_once
    records: int = 0
    _platforms: dict[str, int] = field(default_factory=dict)
    _partitions: Partitions = field(init=False)

    def __post_init__(self) -> None:
        self._partitions = Partitions(self.new_spill, _RECORD, self.salt, self.submit)

    def add(
        self, platform: str, leaf_index: int | UInt64Array, event_ids: npt.NDArray[np.void], accepted: BoolArray
    ) -> None:
        """Take in a batch; event_ids: (n,) of 16 bytes each, accepted: (n,). `leaf_index` may be (n,) too."""
        count = len(event_ids)
        place = np.arange(count, dtype=np.uint64) | np.where(accepted, np.uint64(_ACCEPTED), np.uint64(0))
        # Building the records column by column takes twice as long.
        words = np.empty((count, _WORDS), dtype="<u8")
        words[:, :2] = event_ids.view("<u8").reshape(-1, 2)
        words[:, 2] = leaf_index
        words[:, 3] = place << np.uint64(32) | np.uint64(self._platforms.setdefault(platform, len(self._platforms)))
        self._partitions.add(words.view(_RECORD).reshape(-1))
        self.records += count

    def first_conflict(self) -> Conflict | None:
        """Returns the first event in log order that is counted wrongly."""
        return next(iter(self.conflicts(1)), None)

    def conflicts(self, limit: int) -> list[Conflict]:
        """Returns the first events in log order that are counted wrongly, at most `limit` of them."""
        waits = [self.submit(partial(self._part, part, limit)) for part in self._partitions.parts()]
        return _earliest([wait() for wait in waits], limit)

    def _part(self, part: Callable[[], Iterator[Iterator[Records]]], limit: int) -> list[Conflict]:
        """Returns the first conflicts in a part. Threads may check several parts."""
        return _earliest([self._check(pieces, limit) for pieces in part()], limit)

    def _check(self, pieces: Iterator[Records], limit: int) -> list[Conflict]:
        """Returns the first conflicts in a part, keeping only one piece and the first record of each event."""
        first, second = next(pieces), next(pieces, None)
        if second is None:
            return _check_exactly(first[self._doubtful(first)], limit)[0]
        firsts = np.empty(0, dtype=_RECORD)
        found: list[list[Conflict]] = []
        for piece in chain([first, second], pieces):
            conflicts, firsts = _check_exactly(np.concatenate([firsts, piece]), limit)
            found.append(conflicts)
        return _earliest(found, limit)

    def _doubtful(self, records: Records) -> BoolArray:
        """Returns which records may conflict: those left out, and those whose event may occur twice."""
        doubtful: BoolArray = records["place"] < _ACCEPTED
        doubtful[repeated_places(hashed(records, self.salt))] = True
        return doubtful


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
