"""A batch's weights: for event e and collective c, `weight(e, c) = units * share`, summed per month of UTC and mode.

A weight is below 2^60 and a batch's sum below 2^76, so sums are kept in two limbs of LIMB_BITS; a floating-point number
never holds one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from ledger.errors import LedgerCorruptError
from ledger.registry import NANO
from ledger.usage.batch import Batch, BoolArray, Int64Array
from ledger.usage.entries import ModeTotals
from ledger.usage.format import MODES, months_of

LIMB_BITS: Final = 44
"""65,536 low limbs then sum below 2^60, and a batch's high limb below 2^32."""

_LOW_MASK: Final = (1 << LIMB_BITS) - 1

_SUMMED_AT_ONCE: Final = 1 << (62 - LIMB_BITS)
"""So many integers of LIMB_BITS sum below 2^62."""

_NOTHING: Final = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class ModeWeights:
    """One mode's weights in a batch: `low + high * 2^LIMB_BITS` for each collective with any, by ascending index.

    Attributes:
        index: (c,) into the batch's collectives, or the registry's numbers once stored.
        count: (c,) events that name each.
        low: (c,) the lower LIMB_BITS bits of each weight.
        high: (c,) what is above them.
        unattributed: what of the events' units nobody has.
    """

    events: int
    index: Int64Array
    count: Int64Array
    low: Int64Array
    high: Int64Array
    unattributed: int
    known_attributed: int | None = None
    """What `attributed` returns, where it was summed before."""

    def at(self, index: Int64Array) -> ModeWeights:
        """The same weights of the collectives at another index, (c,)."""
        return replace(self, index=index)

    def attributed(self) -> int:
        """The sum over all collectives, exact."""
        if self.known_attributed is not None:
            return self.known_attributed
        return _attributed(self.low, self.high)

    def totals(self) -> ModeTotals:
        """What the batch's leaf says of this mode."""
        return ModeTotals(events=self.events, attributed=self.attributed(), unattributed=self.unattributed)


NO_WEIGHTS: Final = ModeWeights(0, _NOTHING, _NOTHING, _NOTHING, _NOTHING, 0)
"""Those of a mode that no event has."""

ByMode = dict[int, ModeWeights]
"""By mode, both modes always present."""


@dataclass(frozen=True, slots=True)
class BatchWeights:
    """The weights of a batch's events by the month of UTC in which they occurred, counted from year 0."""

    by_month: Mapping[int, ByMode]

    def totals(self, mode: int) -> ModeTotals:
        """What the batch's leaf says of a mode."""
        found = [of_month[mode].totals() for of_month in self.by_month.values()]
        if len(found) == 1:
            return found[0]
        return ModeTotals(
            events=sum(each.events for each in found),
            attributed=sum(each.attributed for each in found),
            unattributed=sum(each.unattributed for each in found),
        )

    def parts(self) -> Iterator[tuple[int, int, ModeWeights]]:
        """Yields month, mode and weights wherever there are events, by month and mode."""
        for month, by_mode in self.by_month.items():
            yield from ((month, mode, of_mode) for mode, of_mode in by_mode.items() if of_mode.events)


def weigh_by_month(batch: Batch, accepted: BoolArray) -> BatchWeights:
    """Returns the weights of the accepted events, (n,), by month; a batch within one month is weighed as a whole."""
    if not len(batch):
        return BatchWeights({})
    first, last = months_of(np.array([batch.occurred_at.min(), batch.occurred_at.max()])).tolist()
    if first == last:
        return BatchWeights({first: weigh(batch, accepted)})
    months = months_of(batch.occurred_at)
    found = np.unique(months[accepted]).tolist()
    return BatchWeights({month: _weigh_only(batch, accepted & (months == month)) for month in found})


def _weigh_only(batch: Batch, chosen: BoolArray) -> ByMode:
    """Returns the weights of some events, at the cost of as many: a batch may have many months."""
    part = replace(batch, work_ids=None).only(chosen)
    return weigh(part, np.ones(len(part), dtype=np.bool_))


def weigh(batch: Batch, accepted: BoolArray) -> ByMode:
    """The weights of the accepted events by mode; `accepted` is (n,)."""
    width = len(batch.names)
    count, low, high = _by_mode_and_name(batch, accepted)
    return {mode: _mode_weights(batch, accepted, mode, width, count, low, high) for mode in MODES}


def weigh_each(joined: Batch, bounds: Int64Array, widths: Sequence[int]) -> list[ByMode]:
    """The weights of all events of each of several batches that are one after the other as one.

    Args:
        joined: all of them, whose names are those of the first, then of the second, and so on.
        bounds: (b + 1,) where the events of each begin, and where the last one's end; each has some.
        widths: (b,) how many of the names are each one's.
    """
    count, low, high = _by_mode_and_name(joined, np.ones(len(joined), dtype=np.bool_))
    width, names = len(joined.names), np.cumsum([0, *widths])
    found: list[ByMode] = [{} for _ in widths]
    for mode in MODES:
        own = slice((mode - 1) * width, mode * width)
        counted = joined.modes == mode
        events, units = (
            np.add.reduceat(each, bounds[:-1]).tolist()
            for each in (counted.astype(np.int64), np.where(counted, joined.units, 0))
        )
        attributed = _sums_between(names, low[own], high[own])
        for place, (begin, end) in enumerate(pairwise((own.start + names).tolist())):
            present = np.flatnonzero(count[begin:end])
            chosen: slice | Int64Array = slice(begin, end) if len(present) == end - begin else begin + present
            sums = count[chosen], low[chosen], high[chosen]
            unattributed = units[place] * NANO - attributed[place]
            found[place][mode] = (
                ModeWeights(events[place], present, *sums, unattributed, attributed[place])
                if events[place]
                else NO_WEIGHTS
            )
    return found


def _sums_between(bounds: Int64Array, low: Int64Array, high: Int64Array) -> list[int]:
    """The exact sums of the limbs between each of (b + 1,) bounds and the next, all non-negative, taken in halves."""
    halves = np.zeros((4, len(low) + 1), dtype=np.int64)
    for place, limb in enumerate((low, high)):
        halves[2 * place, 1:], halves[2 * place + 1, 1:] = limb & 0xFFFFFFFF, limb >> 32
    parts = np.diff(np.cumsum(halves, axis=1)[:, bounds]).T.tolist()
    return [a + (b << 32) + ((c + (d << 32)) << LIMB_BITS) for a, b, c, d in parts]


def _by_mode_and_name(batch: Batch, accepted: BoolArray) -> tuple[Int64Array, Int64Array, Int64Array]:
    """How many shares of accepted events each name has in each mode, and their sums as limbs: `mode - 1` times as many
    places as there are names, and then the name's.
    """
    width = len(batch.names)
    # Groups of shares: those of each mode by collective, and at the end those of events that do not count.
    first_group, groups = (batch.modes.astype(np.int64) - 1) * width, 2 * width
    if not accepted.all():
        first_group, groups = np.where(accepted, first_group, 2 * width), 3 * width
    lengths = np.diff(batch.offsets)
    group = np.repeat(first_group, lengths)
    group += batch.name_index
    claimed = np.repeat(batch.units, lengths)
    claimed *= batch.amounts
    # A collective is in an event once, and has at most its largest share of the units of each.
    most = int(batch.units.sum()) * int(batch.amounts.max(initial=0))
    return _grouped_sums(group, claimed, groups, most=most, most_each=len(batch))


def _mode_weights(
    batch: Batch, accepted: BoolArray, mode: int, width: int, count: Int64Array, low: Int64Array, high: Int64Array
) -> ModeWeights:
    own = slice((mode - 1) * width, mode * width)
    counted = accepted & (batch.modes == mode)
    if not counted.any():
        return NO_WEIGHTS
    # Shares and units are at least 1, so everyone who is named has weight.
    present = np.flatnonzero(count[own])
    own_count, own_low, own_high = count[own], low[own], high[own]
    if len(present) < width:
        own_count, own_low, own_high = own_count[present], own_low[present], own_high[present]
    # Each unit is attributed to someone or to nobody; 65,536 times 10^9 units fit.
    events, units, attributed = int(counted.sum()), int(batch.units @ counted), _attributed(own_low, own_high)
    return ModeWeights(events, present, own_count, own_low, own_high, units * NANO - attributed, attributed)


def _grouped_sums(
    key: Int64Array, values: Int64Array, groups: int, *, most: int, most_each: int
) -> tuple[Int64Array, Int64Array, Int64Array]:
    """How many values each group has, and their sums as normalised limbs, of (groups,) each.

    No value is negative. No group has more than `most_each`, or sums to more than `most`. `values` are overwritten.
    """
    bits = 63 - most_each.bit_length()
    low, high = np.zeros(groups, dtype=np.int64), np.zeros(groups, dtype=np.int64)
    if most < 1 << bits:
        # Both in one pass: the sums in the lower bits, the counts in those above.
        values += 1 << bits
        np.add.at(low, key, values)
        count = low >> bits
        low &= (1 << bits) - 1
    else:
        count = np.bincount(key, minlength=groups).astype(np.int64, copy=False)
        if most < 1 << 63:
            np.add.at(low, key, values)
        else:
            np.add.at(low, key, values & _LOW_MASK)
            np.add.at(high, key, values >> LIMB_BITS)
    high += low >> LIMB_BITS
    low &= _LOW_MASK
    return count, low, high


def _attributed(low: Int64Array, high: Int64Array) -> int:
    """The exact sum of weights whose limbs these are, (c,) each."""
    if not len(low):
        return 0
    if len(low) <= _SUMMED_AT_ONCE and not int(high.max()) >> LIMB_BITS:
        return int(low.sum()) + (int(high.sum()) << LIMB_BITS)
    return _sum_limbs(low) + (_sum_limbs(high) << LIMB_BITS)


def _sum_limbs(values: Int64Array) -> int:
    """The exact sum of up to 2^31 non-negative 63-bit integers, taken in halves of 32 bits."""
    return int((values & 0xFFFFFFFF).sum()) + (int((values >> 32).sum()) << 32)


_STORED: Final = np.dtype([("collective", "<u4"), ("count", "<u4"), ("high", "<u4"), ("low", "<u8")])


def pack(weights: ModeWeights, registry_numbers: npt.NDArray[np.int64]) -> bytes:
    """Returns the stored form: 20 bytes a collective, ascending by registry number, which `registry_numbers` has."""
    numbers = registry_numbers[weights.index]
    ascending = np.argsort(numbers)
    rows = np.empty(len(numbers), dtype=_STORED)
    rows["collective"], rows["count"] = numbers[ascending], weights.count[ascending]
    rows["high"], rows["low"] = weights.high[ascending], weights.low[ascending]
    return rows.tobytes()


def unpack(stored: bytes) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Registry numbers, counts, low and high limbs, (c,) each, of the stored form.

    Raises:
        LedgerCorruptError: the bytes are not in that form.
    """
    if len(stored) % _STORED.itemsize:
        raise LedgerCorruptError("stored weights", f"{len(stored)} bytes are not a whole number of rows")
    rows = np.frombuffer(stored, dtype=_STORED)
    collective, count, low, high = (rows[name].astype(np.int64) for name in ("collective", "count", "low", "high"))
    # A stored limb of 2^63 or more has become negative.
    if (collective[1:] <= collective[:-1]).any() or (low.view(np.uint64) > _LOW_MASK).any():
        raise LedgerCorruptError("stored weights", "rows are not ascending or not normalised")
    return collective, count, low, high
