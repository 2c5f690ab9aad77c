"""Weights of many batches, summed exactly."""

from __future__ import annotations

from collections.abc import Mapping
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

    def _normalise(self) -> None:
        for running in self._running.values():
            # The shift rounds down, so a negative low limb borrows from the high one.
            running.high += running.low >> LIMB_BITS
            running.low &= (1 << LIMB_BITS) - 1


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
