"""Weights of many batches, summed exactly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ledger.batch_weights import LIMB_BITS
from ledger.usage import Int64Array


class UsageKey(NamedTuple):
    """What decides how much a weight may move: the method's version and the mode."""

    method: str
    method_version: int
    mode: int


@dataclass(frozen=True, slots=True)
class UsageSum:
    """The usage under one key: events, and exact weights in nano-units."""

    events: int
    unattributed: int
    attributed: Mapping[str, int]
    """By collective; those with none are absent."""


@dataclass(slots=True)
class _Running:
    events: int = 0
    unattributed: int = 0
    low: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    high: Int64Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


class WeightSum:
    """A running sum over batches, by collective number.

    Each batch adds low limbs below 2^44 and high limbs below 2^32, so 500,000 batches fit 63 bits; limbs are
    normalised long before.
    """

    NORMALISE_EVERY = 2**18

    def __init__(self) -> None:
        self._running: dict[UsageKey, _Running] = {}
        self._added = 0

    def add(
        self, key: UsageKey, *, events: int, unattributed: int, numbers: Int64Array, low: Int64Array, high: Int64Array
    ) -> None:
        """Add one mode of one batch. numbers: (c,) distinct and not negative; low, high: (c,) its limbs."""
        running = self._running.setdefault(key, _Running())
        running.events += events
        running.unattributed += unattributed
        if len(numbers):
            width = int(numbers.max()) + 1
            if width > len(running.low):
                running.low, running.high = _widened(running.low, width), _widened(running.high, width)
            running.low[numbers] += low
            running.high[numbers] += high
        self._added += 1
        if self._added % self.NORMALISE_EVERY == 0:
            self._normalise()

    def totals(self, names: Mapping[int, str]) -> dict[UsageKey, UsageSum]:
        """The sums by key, in the order of the keys; `names` gives the collective of each number."""
        return {key: _total(self._running[key], names) for key in sorted(self._running)}

    def _normalise(self) -> None:
        for running in self._running.values():
            running.high += running.low >> LIMB_BITS
            running.low &= (1 << LIMB_BITS) - 1


def _widened(values: Int64Array, width: int) -> Int64Array:
    wider = np.zeros(max(width, 2 * len(values)), dtype=np.int64)
    wider[: len(values)] = values
    return wider


def _total(running: _Running, names: Mapping[int, str]) -> UsageSum:
    present = np.flatnonzero((running.low != 0) | (running.high != 0))
    limbs = zip(present.tolist(), running.low[present].tolist(), running.high[present].tolist(), strict=True)
    weights = {names[number]: low + (high << LIMB_BITS) for number, low, high in limbs}
    return UsageSum(running.events, running.unattributed, weights)
