"""Claim pages: event ids that lie close together, sorted, many to a row.

An event counts once because its platform's claims in the pool do not have its id twice. A row for each id says so at
133 bytes an event; where a batch's ids ascend with time (UUIDv7, ULID), a page says it at a dozen. Ids that lie too far
apart for a page keep their rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ledger.usage.batch import BoolArray, Int64Array
from ledger.usage.repeats import MIX, repeated

EventIds = npt.NDArray[np.void]
"""(n,) of 16 bytes each (`V16`)."""

IDS_MIN: Final = 16
"""Fewer ids are not worth a page."""

IDS_MAX: Final = 512

BYTES_MAX: Final = 3_984
"""What the ids of a page may take: two pages, with what else is in their rows, then fill a block of Postgres."""

SPAN_BITS_MAX: Final = 108
"""The last id of a page is less than 2^108 after the first: three days of UUIDv7. Random ids never are."""

LEVEL_BITS: Final = 4

_GAP_SHARE: Final = 4
"""A page ends before a gap of more than one part in so many of its span, so that it overlaps few others."""

_GAP_MIN: Final = 2.0**84
"""Unless the gap is smaller, which is 16 ms of UUIDv7: little comes in between. Whoever makes 200 ids a millisecond
would otherwise have two pages for each."""

_ID_BYTES: Final = 16
_HALF_BITS: Final = 64
_HIGH_SPAN: Final = np.uint64(1 << (SPAN_BITS_MAX - 64))


@dataclass(frozen=True, slots=True)
class Page:
    """Ids of one platform in one pool.

    Attributes:
        ids: (n,) ascending, each once.
        low: the first id.
        high: the last id.
        level: the smallest multiple of `LEVEL_BITS` of which the page spans less than that power of two. So a page of
            level L that has an id begins less than 2^L before it; and of pages that do not overlap, few do.
        width: how many bytes of each id differ: the last ones.
    """

    ids: EventIds
    low: bytes
    high: bytes
    level: int
    width: int

    @classmethod
    def of(cls, ids: EventIds) -> Page:
        """Returns the page of some ids."""
        return cls.between(ids, ids[0].tobytes(), ids[-1].tobytes())

    @classmethod
    def between(cls, ids: EventIds, low: bytes, high: bytes) -> Page:
        """Returns the same, given the first and the last id."""
        first, last = int.from_bytes(low, "big"), int.from_bytes(high, "big")
        level = -(-(last - first).bit_length() // LEVEL_BITS) * LEVEL_BITS
        return cls(ids, low, high, level, _differing_bytes(first, last))

    def packed(self) -> bytes:
        """Returns the bytes of its ids that differ, one id after the other."""
        return self.ids.view(np.uint8).reshape(-1, _ID_BYTES)[:, _ID_BYTES - self.width :].tobytes()


def unpacked(low: bytes, width: int, packed: bytes) -> EventIds:
    """Returns the ids of a page.

    Raises:
        ValueError: the bytes are not those of whole ids.
    """
    shared = _ID_BYTES - width
    if not 0 < width <= _ID_BYTES or len(packed) % width:
        raise ValueError(f"{len(packed)} bytes are not a whole number of ids")
    ids = np.empty((len(packed) // width, _ID_BYTES), dtype=np.uint8)
    ids[:, :shared] = np.frombuffer(low[:shared], dtype=np.uint8)
    ids[:, shared:] = np.frombuffer(packed, dtype=np.uint8).reshape(-1, width)
    return ids.view(f"V{_ID_BYTES}").reshape(-1)


def earliest_lows(ids: EventIds, level: int) -> EventIds:
    """Returns (n,) an id for each of `ids`, before which no page of a level begins that has that id."""
    halves = ids.view(">u8").reshape(-1, 2).astype(np.uint64)
    high, low = halves[:, 0], halves[:, 1]
    if level < _HALF_BITS:
        step = np.uint64(1 << level)
        borrowed = (low < step).astype(np.uint64)
        is_first = high < borrowed
        high, low = high - borrowed, low - step
    else:
        step = np.uint64(1 << (level - _HALF_BITS))
        is_first = high < step
        high = high - step
    earliest = np.empty((len(ids), 2), dtype=">u8")
    earliest[:, 0], earliest[:, 1] = np.where(is_first, 0, high), np.where(is_first, 0, low)
    return earliest.view(f"V{_ID_BYTES}").reshape(-1)


Cut = tuple[list[Page], EventIds]
"""Ids as pages, and those that lie too far apart."""


def cut(ids: EventIds) -> Cut:
    """Returns pages of these ids, and the ids that lie too far apart.

    Args:
        ids: (n,) ascending, each once.
    """
    halves = ids.view(">u8").reshape(-1, 2).astype(np.uint64)
    reach, gaps = _reach(halves[:, 0]), _gaps(halves)
    # A batch has a hundred pages: plain numbers and bytes take half the time of what numpy would give one by one.
    starts, data = np.flatnonzero(reach >= IDS_MIN), ids.tobytes()
    is_loose = np.ones(len(ids), dtype=np.bool_)
    pages, at = [], 0
    while (place := int(starts.searchsorted(at))) < len(starts):
        start, reached = starts.item(place), reach.item(starts.item(place))
        count = min(reached, IDS_MAX)
        count = min(count, BYTES_MAX // _differing_bytes(*_ends(data, start, start + count)))
        if 0 < reached - count < IDS_MIN:
            count -= IDS_MIN - (reached - count)  # so that the rest is enough for a page
        first, last = _ends(data, start, start + count)
        at = start + _before_gap(gaps[start : start + count - 1], last - first)
        is_loose[start:at] = False
        low, high = data[_ID_BYTES * start : _ID_BYTES * (start + 1)], data[_ID_BYTES * (at - 1) : _ID_BYTES * at]
        pages.append(Page.between(ids[start:at], low, high))
    return pages, ids[is_loose]


def _ends(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Returns the first and the last of so many ids, as numbers."""
    low, high = data[_ID_BYTES * start : _ID_BYTES * (start + 1)], data[_ID_BYTES * (end - 1) : _ID_BYTES * end]
    return int.from_bytes(low, "big"), int.from_bytes(high, "big")


def _reach(high_halves: npt.NDArray[np.uint64]) -> Int64Array:
    """Returns (n,) how many ids, from each on, may be in its page for their span."""
    count = len(high_halves)
    ends = high_halves + _HIGH_SPAN
    within = np.where(ends < high_halves, count, np.searchsorted(high_halves, ends))
    return within - np.arange(count)


def _gaps(halves: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """Returns (n - 1,) how far each id is from the one before."""
    steps = np.diff(halves, axis=0).astype(np.float64)
    # The lower half's difference is taken modulo 2^64; the higher's is then one more than it should be.
    steps[:, 0] -= halves[1:, 1] < halves[:-1, 1]
    gaps: npt.NDArray[np.float64] = steps[:, 0] * 2.0**64 + steps[:, 1]
    return gaps


def _before_gap(gaps: npt.NDArray[np.float64], span: int) -> int:
    """Returns how many ids the page has that may have one more than there are gaps, which sum to `span`; enough for a
    page are left.
    """
    inner = gaps[IDS_MIN - 1 : len(gaps) - IDS_MIN + 1]
    if len(inner):
        widest = int(inner.argmax())
        gap = inner.item(widest)
        if gap > _GAP_MIN and gap * _GAP_SHARE > span:  # as Python's numbers: numpy compares a large one as an object
            return IDS_MIN + widest
    return len(gaps) + 1


def _differing_bytes(first: int, last: int) -> int:
    """Returns how many bytes, the last ones, ids between two ids may differ in."""
    return -(-(first ^ last).bit_length() // 8)


def are_distinct(ids: EventIds) -> bool:
    """Returns whether each id, in any order, is there once."""
    folded = _folded(ids)
    if not len(alike := repeated(folded)):
        return True
    # Ids that fold alike may differ, so whole ids decide; there are few of them.
    doubtful = ids[np.isin(folded, alike)]
    return len(np.unique(doubtful)) == len(doubtful)


def ascending(ids: EventIds) -> EventIds:
    """Returns ids in ascending order."""
    return ids[order_of(ids)]


def order_of(ids: EventIds, then_by: Int64Array | None = None) -> Int64Array:
    """Returns (n,) the places of ids in ascending order; of equal ids, in that of `then_by`, (n,), or as they are.

    Ids of one moment ascend already, and of others the first halves differ: sorting by both takes three times as long.
    """
    high, low = _halves(ids)
    if _ascend(high, low).all():
        return np.arange(len(ids))
    order = np.argsort(high)
    sorted_high = high[order]
    if (sorted_high[1:] == sorted_high[:-1]).any():
        order = np.lexsort((low, high) if then_by is None else (then_by, low, high))
    return order


def are_ascending(ids: EventIds, starts: Int64Array) -> bool:
    """Returns whether the ids from each of these places to the next, (b,) from 0 on, ascend, each being there once."""
    ascend = _ascend(*_halves(ids))
    ascend[starts[1:] - 1] = True
    return bool(ascend.all())


def _halves(ids: EventIds) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    halves = ids.view(">u8").reshape(-1, 2).astype(np.uint64)
    return halves[:, 0], halves[:, 1]


def _ascend(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> BoolArray:
    """Returns (n - 1,) whether each id but the first is above the one before it, given the halves of all."""
    ascend: BoolArray = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    return ascend


def known_among(ids: EventIds, others: EventIds) -> BoolArray:
    """Returns (n,) which of these ids, each once in any order, are among the others."""
    known = np.zeros(len(ids), dtype=np.bool_)
    if not len(ids) or not len(others):
        return known
    folded = _folded(ids)
    order = np.argsort(folded)
    mine, theirs = folded[order], _folded(others)
    place = np.minimum(np.searchsorted(mine, theirs), len(mine) - 1)
    alike = np.flatnonzero(mine[place] == theirs)
    if len(alike):
        # Ids that fold alike may differ, so whole ids decide; there are few of them.
        known = np.isin(ids, others[alike])
    return known


def _folded(ids: EventIds) -> npt.NDArray[np.uint64]:
    """Numbers that are alike for like ids, and seldom for others."""
    halves = ids.view("<u8").reshape(-1, 2)
    folded: npt.NDArray[np.uint64] = (halves[:, 0] * MIX) ^ halves[:, 1]
    return folded
