"""Weights of many batches, summed exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ledger.errors import LedgerCorruptError
from ledger.usage.batch import Int64Array
from ledger.usage.weights import LIMB_BITS, ModeWeights


class UsageKey(NamedTuple):
    """What determines how much a weight may move: the method's version and the mode."""

    method: str
    method_version: int
    mode: int


@dataclass(frozen=True, slots=True)
class UsageSum:
    """The usage under one key, less what was retracted: exact weights in nano-units, which may be negative."""

    events: int
    retracted: int
    unattributed: int
    attributed: Mapping[str, int]
    """Weight by collective; collectives that no event names are absent."""
    counts: Mapping[str, int]
    """Events that name each collective, less those retracted."""


@dataclass(slots=True)
class _Running:
    events: int = 0
    retracted: int = 0
    unattributed: int = 0
    present: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    count: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    low: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    high: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


class WeightSum:
    """A running sum over batches and retractions, by collective number.

    Each adds or subtracts low limbs below 2^44 and high limbs below 2^32, so 500,000 of them fit 63 bits; limbs are
    normalised long before.
    """

    NORMALISE_EVERY = 2**18

    def __init__(self) -> None:
        self._running: dict[UsageKey, _Running] = {}
        self._added = 0

    def add(self, key: UsageKey, weights: ModeWeights, *, sign: int = 1) -> None:
        """Add one mode of a batch, or of a retraction with sign -1. `weights.index`: distinct, not negative."""
        running = self._running.setdefault(key, _Running())
        if sign > 0:
            running.events += weights.events
        else:
            running.retracted += weights.events
        running.unattributed += sign * weights.unattributed
        if len(weights.index):
            _widen(running, int(weights.index.max()) + 1)
            place = _place(weights.index)
            running.present[place] = 1
            running.count[place] += sign * weights.count
            running.low[place] += sign * weights.low
            running.high[place] += sign * weights.high
        self._added += 1
        if self._added % self.NORMALISE_EVERY == 0:
            self._normalise()

    def totals(self, names: Mapping[int, str]) -> dict[UsageKey, UsageSum]:
        """Returns the sums by key, in the order of the keys; `names` has the collective of each number.

        Raises:
            LedgerCorruptError: a number has no name, as after a restore that lost collectives.
        """
        return {key: _total(self._running[key], names) for key in sorted(self._running)}

    def parts(self) -> Iterator[tuple[UsageKey, ModeWeights]]:
        """Yields the sum of each key as one mode's weights, to be added to another sum; nothing was subtracted."""
        self._normalise()
        for key, running in self._running.items():
            index = np.flatnonzero(running.present)
            columns = (running.count[index], running.low[index], running.high[index])
            yield key, ModeWeights(running.events, index, *columns, running.unattributed)

    def _normalise(self) -> None:
        for running in self._running.values():
            # The shift rounds down, so a negative low limb borrows from the high one.
            running.high += running.low >> LIMB_BITS
            running.low &= (1 << LIMB_BITS) - 1


class MonthlySum:
    """Running sums by the month of UTC, counted from year 0, in which usage occurred."""

    def __init__(self) -> None:
        self._months: dict[int, WeightSum] = {}

    def add(self, month: int, key: UsageKey, weights: ModeWeights, *, sign: int = 1) -> None:
        """Add a month and mode of a batch, or of a retraction with sign -1."""
        self._months.setdefault(month, WeightSum()).add(key, weights, sign=sign)

    def totals(
        self, names: Mapping[int, str], *, since: int | None = None, before: int | None = None
    ) -> dict[UsageKey, UsageSum]:
        """Returns the sums by key of all months, or of those from `since` on and before `before`."""
        chosen = [
            found
            for month, found in self._months.items()
            if (since is None or month >= since) and (before is None or month < before)
        ]
        return added_up([found.totals(names) for found in chosen])

    def parts(self) -> Iterator[tuple[int, UsageKey, ModeWeights]]:
        """Yields the sum of each month and key, as `WeightSum.parts` does."""
        for month, found in self._months.items():
            for key, weights in found.parts():
                yield month, key, weights

    def drop(self, before: int | None) -> None:
        """Forget the months before this one; all of them if it is None."""
        self._months = {month: found for month, found in self._months.items() if before is not None and month >= before}

    def take_in(self, other: MonthlySum, before: int | None) -> None:
        """Replace the months before this one, or all, with those of another sum."""
        self.drop(before)
        self._months |= {month: found for month, found in other._months.items() if before is None or month < before}


def added_up(parts: Sequence[Mapping[UsageKey, UsageSum]]) -> dict[UsageKey, UsageSum]:
    """Returns the sums of several sums, in the order of the keys."""
    if len(parts) == 1:
        return dict(parts[0])
    sums: dict[UsageKey, UsageSum] = {}
    for part in parts:
        for key, found in part.items():
            known = sums.get(key)
            sums[key] = found if known is None else _both(known, found)
    return {key: sums[key] for key in sorted(sums)}


def _both(one: UsageSum, other: UsageSum) -> UsageSum:
    attributed, counts = dict(one.attributed), dict(one.counts)
    for name, weight in other.attributed.items():
        attributed[name] = attributed.get(name, 0) + weight
        counts[name] = counts.get(name, 0) + other.counts[name]
    return UsageSum(
        one.events + other.events,
        one.retracted + other.retracted,
        one.unattributed + other.unattributed,
        attributed,
        counts,
    )


def _place(index: Int64Array) -> Int64Array | slice:
    """Returns the distinct places as a slice if they are consecutive: adding to it takes a tenth of the time."""
    first, last = int(index[0]), int(index[-1])
    is_run = last - first + 1 == len(index) and bool((index[1:] > index[:-1]).all())
    return slice(first, last + 1) if is_run else index


def _widen(running: _Running, width: int) -> None:
    if width > len(running.low):
        for name in ("present", "count", "low", "high"):
            values: Int64Array = getattr(running, name)
            wider = np.zeros(max(width, 2 * len(values)), dtype=np.int64)
            wider[: len(values)] = values
            setattr(running, name, wider)


def _total(running: _Running, names: Mapping[int, str]) -> UsageSum:
    present = np.flatnonzero(running.present)
    if missing := [number for number in present.tolist() if number not in names]:
        raise LedgerCorruptError("stored weights", f"name collective number {missing[0]}, which is not registered")
    named = [names[number] for number in present.tolist()]
    limbs = zip(running.low[present].tolist(), running.high[present].tolist(), strict=True)
    weights = [low + (high << LIMB_BITS) for low, high in limbs]
    return UsageSum(
        running.events,
        running.retracted,
        running.unattributed,
        dict(zip(named, weights, strict=True)),
        dict(zip(named, running.count[present].tolist(), strict=True)),
    )
