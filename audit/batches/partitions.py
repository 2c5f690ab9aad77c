"""Records of fixed size, partitioned by a hash of what identifies them, in bounded memory however many there are.

Each part has all records with its hashes, in the order in which they came, and is looked at by itself. What memory has
no room for is spilled; a part that is still too large is partitioned again. `Spooled` keeps records as they came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from ledger.usage.repeats import MIX, UInt64Array
from ledger.work import Submit, at_once

PARTS: Final = 64

MAX_RECORDS: Final = 2**20
"""Records of a part that are looked at together; a larger part is partitioned again."""

SPILLED_RECORDS: Final = 2**18
"""Records that are buffered before they are spilled: as many as fit in a processor's cache."""

_PART_BITS: Final = 6
_MAX_DEPTH: Final = 4
_ALL_BITS: Final = 2**64 - 1

Records = npt.NDArray[Any]


class Spill(Protocol):
    """Where records go that do not fit in memory: bytes, by part; each part is read back in order."""

    def append(self, data: memoryview, ends: Sequence[int]) -> None:
        """Add to each part: `data` has what each gets, one after the other, up to its place in `ends`."""

    def read(self, part: int, chunk_bytes: int) -> Iterator[bytes | bytearray]:
        """Yields a part again, in pieces of this many bytes and a shorter last one. Threads may read."""

    def at(self, begin: int, size: int) -> bytes:
        """Returns bytes of the only part."""


class Partitions:
    """Takes in records, and gives them back by part.

    Records are of `dtype`, whose size is a whole number of 64-bit words. `hash_of` gives their hashes, of which the
    first bits choose the part. `submit` starts the work on what is spilled, of which one piece at a time is under way.
    """

    def __init__(
        self,
        new_spill: Callable[[], Spill],
        dtype: np.dtype[Any],
        hash_of: Callable[[Records], UInt64Array],
        submit: Submit = at_once,
        *,
        depth: int = 0,
    ) -> None:
        self._new_spill, self._dtype, self._hash_of, self._depth = new_spill, dtype, hash_of, depth
        self._submit = submit
        self._buffer: Records = np.empty(0, dtype=dtype)
        self._buffered = 0
        self._spill: Spill | None = None
        self._wait: Callable[[], None] = _nothing

    def add(self, records: Records) -> None:
        """Take in (n,) records."""
        while len(records):
            if not len(self._buffer):
                self._buffer = np.empty(SPILLED_RECORDS, dtype=self._dtype)
            taken, records = np.split(records, [len(self._buffer) - self._buffered])
            self._buffer[self._buffered : self._buffered + len(taken)] = taken
            self._buffered += len(taken)
            if self._buffered == len(self._buffer):
                self._flush()

    def parts(self) -> Sequence[Callable[[], Iterator[Iterator[Records]]]]:
        """Returns what reads each part, which threads may do at the same time, and again.

        A part comes as one or more smaller ones, each in one piece. Only one of a few keys that occur again and again
        has several pieces.
        """
        if self._spill is None:
            return [lambda: iter([iter([self._buffer[: self._buffered]])])]
        self._flush()
        self._wait()
        return [partial(self._part, self._spill, number) for number in range(PARTS)]

    def _part(self, spill: Spill, number: int) -> Iterator[Iterator[Records]]:
        pieces = (np.frombuffer(data, self._dtype) for data in spill.read(number, MAX_RECORDS * self._dtype.itemsize))
        first, second = next(pieces, None), next(pieces, None)
        if first is None:
            return
        if second is None:
            yield iter([first])
            return
        if self._depth + 1 == _MAX_DEPTH:
            yield _chained(first, second, pieces)
            return
        deeper = Partitions(self._new_spill, self._dtype, self._hash_of, depth=self._depth + 1)
        for piece in _chained(first, second, pieces):
            deeper.add(piece)
        for part in deeper.parts():
            yield from part()

    def _flush(self) -> None:
        records, self._buffer, self._buffered = self._buffer[: self._buffered], self._buffer[:0], 0
        self._spill = self._spill or self._new_spill()
        self._wait()
        self._wait = self._submit(partial(self._spill_to, self._spill, records))

    def _spill_to(self, spill: Spill, records: Records) -> None:
        shift = np.uint64(64 - _PART_BITS * (self._depth + 1))
        part = ((self._hash_of(records) >> shift) % np.uint64(PARTS)).astype(np.uint8)
        # A stable sort, so that each part stays in order.
        ordered = taken_from(records, np.argsort(part, kind="stable"))
        ends = np.cumsum(np.bincount(part, minlength=PARTS)) * self._dtype.itemsize
        spill.append(ordered.view(np.uint8).data, ends.tolist())


class Spooled:
    """Takes in records of `dtype`, and gives them back in the order in which they came, however many there are."""

    def __init__(self, new_spill: Callable[[], Spill], dtype: np.dtype[Any]) -> None:
        self._new_spill, self._dtype = new_spill, dtype
        self._waiting: list[Records] = []
        self._waiting_count = 0
        self._spill: Spill | None = None

    def add(self, records: Records) -> None:
        """Take in (n,) records, which nobody may change any more."""
        self._waiting.append(records)
        self._waiting_count += len(records)
        if self._waiting_count >= SPILLED_RECORDS:
            self._flush()

    def read(self) -> Iterator[Records]:
        """Yields what was taken in, a piece at a time."""
        if self._spill is not None:
            for data in self._spill.read(0, SPILLED_RECORDS * self._dtype.itemsize):
                yield np.frombuffer(data, self._dtype)
        yield from self._waiting

    def at(self, begin: int, count: int) -> Records:
        """Returns so many records from the one with this number on; after the first time no more may be added."""
        if self._waiting:
            self._flush()
        size = self._dtype.itemsize
        assert self._spill is not None  # noqa: S101  # there are records
        return np.frombuffer(self._spill.at(begin * size, count * size), self._dtype)

    def _flush(self) -> None:
        self._spill = self._spill or self._new_spill()
        data = np.concatenate(self._waiting).view(np.uint8).data
        self._spill.append(data, [len(data)])
        self._waiting, self._waiting_count = [], 0


def hashed(records: Records, salt: int) -> UInt64Array:
    """Returns (n,) hashes of what identifies records: the halves `high` and `low` of an id, and its `platform`."""
    return hash_of(records["high"], records["low"], records["platform"].astype(np.uint64), salt)


def hash_of(high: UInt64Array, low: UInt64Array, platform: UInt64Array | np.uint64, salt: int) -> UInt64Array:
    """Returns (n,) hashes of the ids with these halves, (n,), of a platform, one for all or (n,).

    `salt` keeps whoever chooses ids from choosing the part of their records.
    """
    mixed: UInt64Array = (high ^ np.uint64(salt & _ALL_BITS)) * MIX
    mixed = (mixed ^ (mixed >> np.uint64(29)) ^ low) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(32)) ^ platform) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _nothing() -> None:
    """Wait for nothing."""


def taken_from(records: Records, places: npt.NDArray[np.intp]) -> Records:
    """Returns records in another order. They move faster as plain numbers."""
    words = records.view(np.uint64).reshape(-1, records.dtype.itemsize // 8)
    moved: Records = words[places].view(records.dtype).reshape(-1)
    return moved


def _chained(first: Records, second: Records, rest: Iterator[Records]) -> Iterator[Records]:
    yield first
    yield second
    yield from rest
