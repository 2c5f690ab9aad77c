"""Checks that each event id counts once per pool and platform: the first occurrence counts, later ones are marked.

Exact, and in bounded memory however many events there are: fixed-size records are partitioned by a hash of what
identifies an event. Each part has all records of its events, in log order, and is checked by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ledger.usage.batch import BoolArray
from ledger.usage.repeats import UInt64Array, repeated_places
from ledger.work import Submit, at_once

PARTS: Final = 64

MAX_RECORDS: Final = 2**20
"""Records that are checked together, 32 bytes each; a larger part is partitioned again."""

SPILLED_RECORDS: Final = 2**18
"""Records that are buffered before they are spilled: as many as fit in a processor's cache."""

_PART_BITS: Final = 6
_MAX_DEPTH: Final = 4
_ACCEPTED: Final = 1 << 31

_RECORD: Final = np.dtype([("high", "<u8"), ("low", "<u8"), ("leaf", "<u8"), ("platform", "<u4"), ("place", "<u4")])
_WORDS: Final = _RECORD.itemsize // 8

Records = npt.NDArray[Any]


class Spill(Protocol):
    """Where records go that do not fit in memory: byte strings, by part; each part is read back in order."""

    def append(self, part: int, data: bytes) -> None:
        """Add to a part."""

    def read(self, part: int, chunk_bytes: int) -> Iterator[bytes]:
        """Yields a part again, in pieces of this many bytes and a shorter last one."""


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
    _buffer: list[Records] = field(default_factory=list)
    _buffered: int = 0
    _spill: Spill | None = None

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
        self._buffer.append(words.view(_RECORD).reshape(-1))
        self._buffered += count
        self.records += count
        if self._buffered >= SPILLED_RECORDS:
            self._spill = self._spill or self.new_spill()
            self._spill_to(self._spill, self._taken(), depth=0)

    def first_conflict(self) -> Conflict | None:
        """Returns the first event in log order that is counted wrongly."""
        return next(iter(self.conflicts(1)), None)

    def conflicts(self, limit: int) -> list[Conflict]:
        """Returns the first events in log order that are counted wrongly, at most `limit` of them."""
        rest = self._taken()
        if self._spill is None:
            return self._check([rest], limit)
        self._spill_to(self._spill, rest, depth=0)
        waits = [self.submit(partial(self._part, self._spill, part, limit, depth=0)) for part in range(PARTS)]
        return _earliest([wait() for wait in waits], limit)

    def _taken(self) -> Records:
        taken = np.concatenate(self._buffer) if self._buffer else np.empty(0, dtype=_RECORD)
        self._buffer, self._buffered = [], 0
        return taken

    def _spill_to(self, spill: Spill, records: Records, *, depth: int) -> None:
        part = ((self._hash(records) >> np.uint64(64 - _PART_BITS * (depth + 1))) % np.uint64(PARTS)).astype(np.uint8)
        # A stable sort, so that each part stays in log order. Whole rows move faster as plain numbers.
        words = records.view(np.uint64).reshape(-1, _WORDS)
        ordered = words[np.argsort(part, kind="stable")]
        ends = np.cumsum(np.bincount(part, minlength=PARTS)).tolist()
        for number, (begin, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
            if end > begin:
                spill.append(number, ordered[begin:end].tobytes())

    def _part(self, spill: Spill, part: int, limit: int, *, depth: int) -> list[Conflict]:
        """Returns the first conflicts in a part. Threads may check several parts."""
        pieces = (np.frombuffer(data, dtype=_RECORD) for data in spill.read(part, MAX_RECORDS * _RECORD.itemsize))
        first = next(pieces, None)
        if first is None:
            return []
        second = next(pieces, None)
        if second is None:
            return self._check([first], limit)
        if depth + 1 == _MAX_DEPTH:
            # After so many partitions, these are few events that occur again and again.
            return self._check(_chained(first, second, pieces), limit)
        deeper = self.new_spill()
        for piece in _chained(first, second, pieces):
            self._spill_to(deeper, piece, depth=depth + 1)
        return _earliest([self._part(deeper, number, limit, depth=depth + 1) for number in range(PARTS)], limit)

    def _check(self, pieces: Iterator[Records] | list[Records], limit: int) -> list[Conflict]:
        """Returns the first conflicts in a part, keeping only one piece and the first record of each event."""
        firsts = np.empty(0, dtype=_RECORD)
        found: list[list[Conflict]] = []
        single = isinstance(pieces, list)
        for piece in pieces:
            records = np.concatenate([firsts, piece]) if len(firsts) else piece
            doubtful = records if not single else records[self._doubtful(records)]
            conflicts, firsts = _check_exactly(doubtful, limit)
            found.append(conflicts)
        return _earliest(found, limit)

    def _doubtful(self, records: Records) -> BoolArray:
        """Returns which records may conflict: those left out, and those whose event may occur twice."""
        doubtful: BoolArray = records["place"] < _ACCEPTED
        doubtful[repeated_places(self._hash(records))] = True
        return doubtful

    def _hash(self, records: Records) -> UInt64Array:
        salt = np.uint64(self.salt & 0xFFFFFFFFFFFFFFFF)
        mixed: UInt64Array = (records["high"] ^ salt) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29)) ^ records["low"]) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(32)) ^ records["platform"]) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


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


def _chained(first: Records, second: Records, rest: Iterator[Records]) -> Iterator[Records]:
    yield first
    yield second
    yield from rest
