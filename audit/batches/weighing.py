"""Batches weighed elsewhere, in processes that keep the sum of what they weighed.

Sums are exact and commute, so what is handed over is each batch's totals, which its leaf is compared with, and at the
end one sum: a vector for each batch would cost more to pass on than to weigh.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, repeat
from typing import NamedTuple, Protocol

import numpy as np

from audit.batches.check import WeighedBatch, accepted_batch
from audit.reader import BodyReader, found_body
from ledger.usage.batch import Int64Array
from ledger.usage.entries import ModeTotals, UsageContent
from ledger.usage.format import MODES
from ledger.usage.shares import parse_any_names
from ledger.usage.weights import BatchWeights, ModeWeights, weigh_by_month
from payout.weights import MonthlySum, UsageKey


class BatchTotals(NamedTuple):
    """What a usage leaf says of its batch, as the body has it."""

    accepted: int
    shares: int
    by_mode: dict[int, ModeTotals]

    @classmethod
    def of(cls, weighed: WeighedBatch) -> BatchTotals:
        """Those of a batch that was weighed."""
        return cls(int(np.count_nonzero(weighed.accepted)), weighed.share_count, totals_of(weighed.weights))


def totals_of(weights: BatchWeights) -> dict[int, ModeTotals]:
    """Returns what a leaf says of each mode."""
    return {mode: weights.totals(mode) for mode in MODES}


class Summed(NamedTuple):
    """The weights of many batches: for each month and key of usage, whose index is into `names`."""

    names: tuple[str, ...]
    parts: Sequence[tuple[int, UsageKey, ModeWeights]]


class Weighing(Protocol):
    """Weighs batches of shares elsewhere, while their leaves are still to be taken in."""

    def begin(self, leaf_index: int, content: UsageContent) -> Callable[[], BatchTotals] | None:
        """Start to weigh a usage leaf's batch; returns what waits for its totals, or None if it cannot now.

        What is found to be wrong with the batch is raised by what waits.
        """

    def sums(self) -> Iterable[Summed]:
        """The sums of all batches that were begun since it was asked last. They have all been waited for."""


class CollectiveNumbers:
    """Numbers for collectives, from 0 on, in the order in which they are first named."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self._known: tuple[Sequence[str], Int64Array] = ((), np.zeros(0, dtype=np.int64))
        """The collectives of the previous batch, and their numbers if they were looked up, else -1."""

    def numbered(self, collectives: Sequence[str], index: Int64Array) -> Int64Array:
        """Returns the numbers of those at `index`. Batches mostly name the same ones, which are looked up once."""
        known, found = self._known
        if known is not collectives and known != collectives:
            known, found = collectives, np.zeros(0, dtype=np.int64)
        if len(found) < len(collectives):
            more = map(self.of.get, islice(collectives, len(found), None), repeat(-1))
            found = np.concatenate([found, np.fromiter(more, dtype=np.int64)])
            self._known = known, found
        for place in index[found[index] < 0].tolist():
            found[place] = self.of.setdefault(collectives[place], len(self.of))
        return found[index]


class BatchSum:
    """Weighs batches of shares one after the other, and sums them."""

    def __init__(self, log: BodyReader) -> None:
        self._log = log
        self._numbers, self._weights = CollectiveNumbers(), MonthlySum()

    def weigh(self, leaf_index: int, content: UsageContent) -> BatchTotals:
        """Add a usage leaf's batch to the sum, and return its totals.

        Raises:
            FoundError: there is no such body, or it is not what the leaf says; then nothing was added.
        """
        body = found_body(self._log, leaf_index, "body_sha256", content.body_sha256)
        batch, accepted = accepted_batch(body, leaf_index, content, parse_any_names)
        weights = weigh_by_month(batch, accepted)
        for month, key, of_mode in keyed(weights, content):
            self._weights.add(month, key, of_mode.at(self._numbers.numbered(batch.names, of_mode.index)))
        return BatchTotals(int(np.count_nonzero(accepted)), len(batch.amounts), totals_of(weights))

    def taken(self) -> Summed:
        """The sum so far; the next one begins at nothing."""
        summed = Summed(tuple(self._numbers.of), list(self._weights.parts()))
        self._numbers, self._weights = CollectiveNumbers(), MonthlySum()
        return summed


def keyed(weights: BatchWeights, content: UsageContent) -> Iterator[tuple[int, UsageKey, ModeWeights]]:
    """Yields month, key and weights of a batch, by month and mode."""
    for month, mode, of_mode in weights.parts():
        yield month, UsageKey(content.method, content.method_version, mode), of_mode
