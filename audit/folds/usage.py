"""What a pool's usage comes to: each batch is weighed again from its body, compared with its leaf, and summed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from audit.batches.check import Weigh, WeighedBatch, accepted_batch, mask_of, positions_of, weigh_by
from audit.batches.weighing import BatchTotals, CollectiveNumbers, Weighing, keyed, totals_of
from audit.findings import Finding, FoundError, at, noting, raise_finding
from audit.folds.declared import Declared
from audit.reader import BodyReader, found_body
from ledger.log.leaves import Leaf
from ledger.usage.entries import ModeTotals, RetractionContent, UsageContent
from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.weights import ModeWeights, weigh_by_month
from ledger.work import at_once
from payout.weights import MonthlySum, UsageKey, UsageSum

Wait = Callable[[], WeighedBatch | BatchTotals]
"""Waits for a batch that was begun."""


def _nobody(leaf: Leaf[Any], weighed: WeighedBatch) -> None:
    """Do nothing."""


@dataclass(slots=True)
class UsageFold:
    """The usage of a pool so far.

    `weigh` starts the work on a batch; `ahead` is how many batches may be in progress before the oldest is waited for.
    Results are taken in in log order, whatever the order of the work.
    """

    log: BodyReader
    weigh: Weigh = field(default_factory=lambda: weigh_by(at_once))
    ahead: int = 0
    weighing: Weighing | None = None
    """What keeps the sums of the batches whose totals are in `begun`, by leaf: nobody observes these."""
    observe: Callable[[Leaf[Any], WeighedBatch], None] = _nobody
    """Called with each batch that was taken in."""
    observe_retraction: Callable[[Leaf[Any], WeighedBatch], None] = _nobody
    """Called with each retraction that was taken in: its batch, the events that it retracts, and their weights."""
    note: Callable[[Finding], None] = raise_finding
    """Called with findings. If it returns, the fold goes on with what the log claims."""
    spoil: Callable[[Leaf[Any], Finding], None] | None = None
    """Called with what is found in a batch, which may be some leaves later. If None, `note` is."""
    begun: dict[int, Wait] = field(default_factory=dict)
    declared: Declared = field(default_factory=Declared)
    events: int = 0
    shares: int = 0
    _retracted: dict[int, set[int]] = field(default_factory=dict)
    """By the batch's leaf, the positions taken back so far."""
    _numbers: CollectiveNumbers = field(default_factory=CollectiveNumbers)
    _weights: MonthlySum = field(default_factory=MonthlySum)
    _since_cut: MonthlySum | None = None
    """Weights since the last `cut`, until the round that ended there is posted."""
    _under_way: deque[tuple[Leaf[UsageContent], Wait]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.declared.note = self.note

    def totals(self, before: int | None) -> dict[UsageKey, UsageSum]:
        """Returns the sums by key of the months before this one, or of all, since the last round that was posted."""
        names = {number: name for name, number in self._numbers.of.items()}
        return self._weights.totals(names, before=before)

    def cut(self) -> None:
        """Note that a round ends here: once it is posted, the sums are those from here on."""
        self.settle()
        self._since_cut = MonthlySum()

    def leave_posted(self, before: int | None) -> None:
        """The round that ended at the cut was posted: it took the months before this one, or all."""
        if self._since_cut is not None:
            self._weights.take_in(self._since_cut, before)
            self._since_cut = None

    def settle(self) -> None:
        """Take in all batches that are in progress, and the sums of those that were weighed elsewhere."""
        self.settle_batches()
        for summed in self.weighing.sums() if self.weighing else ():
            self._add(summed.parts, summed.names, sign=1)

    def settle_batches(self) -> None:
        """Take in all batches that are in progress."""
        while self._under_way:
            self._settle_oldest()

    def weigh_batch(self, leaf: Leaf[UsageContent]) -> None:
        """Weigh a usage leaf again from its body, and check its totals."""
        # How to read it is looked up here, in the one thread; the body is read by whoever does the work.
        reading = self.declared.reading(self.log, leaf.index, leaf.content)
        read: Callable[[], bytes] = partial(found_body, self.log, leaf.index, "body_sha256", leaf.content.body_sha256)
        begun = self.begun.pop(leaf.index, None)
        self._under_way.append((leaf, begun or self.weigh(read, leaf.index, leaf.content, reading)))
        while len(self._under_way) > self.ahead:
            self._settle_oldest()

    def _settle_oldest(self) -> None:
        leaf, wait = self._under_way.popleft()
        try:
            self._take_batch(leaf, wait())
        except FoundError as found:
            if self.spoil is None:
                self.note(found.finding)
            else:
                self.spoil(leaf, found.finding)

    def _take_batch(self, leaf: Leaf[UsageContent], weighed: WeighedBatch | BatchTotals) -> None:
        content = leaf.content
        totals = weighed if isinstance(weighed, BatchTotals) else BatchTotals.of(weighed)
        with noting(self.note):
            at(leaf.index).same("accepted", content.accepted, totals.accepted)
        self._require_totals(leaf.index, content, totals.by_mode)
        if isinstance(weighed, WeighedBatch):
            self._add(keyed(weighed.weights, content), weighed.names, sign=1)
        self.events += content.accepted
        self.shares += totals.shares
        if isinstance(weighed, WeighedBatch):
            self.observe(leaf, weighed)

    def retract(self, leaf: Leaf[RetractionContent], original: UsageContent, *, counts: bool) -> None:
        """Take in a retraction, whose batch the log has; if it counts, take what it retracts from the sums.

        Raises:
            FoundError: something does not hold.
        """
        content = leaf.content
        at(leaf.index).same("platform", content.platform, original.platform)
        positions = set(positions_of(leaf.index, "positions", content.positions))
        again = positions & self._retracted.setdefault(content.batch_leaf, set())
        at(leaf.index).same("positions retracted before", sorted(again), [])
        self._retracted[content.batch_leaf] |= positions
        if counts:
            self._take_back(leaf, original)

    def _take_back(self, leaf: Leaf[RetractionContent], original: UsageContent) -> None:
        content = leaf.content
        reading = self.declared.reading(self.log, content.batch_leaf, original)
        body = found_body(self.log, content.batch_leaf, "body_sha256", original.body_sha256)
        batch, accepted = accepted_batch(body, content.batch_leaf, original, reading.usage)
        taken_back = mask_of(leaf.index, "positions", content.positions, len(batch))
        never = np.flatnonzero(taken_back & ~accepted)
        at(leaf.index).same("positions never accepted", never.tolist(), [])
        weights = weigh_by_month(batch, taken_back)
        self._require_totals(leaf.index, content, totals_of(weights))
        self._add(keyed(weights, original), batch.names, sign=-1)
        self.shares += len(batch.amounts)
        self.observe_retraction(leaf, WeighedBatch.of(batch, taken_back, weights))

    def _require_totals(
        self, leaf_index: int, logged: UsageContent | RetractionContent, replayed: Mapping[int, ModeTotals]
    ) -> None:
        for mode, totals in ((AI_ONLY, logged.ai_only), (HUMAN_AI, logged.human_ai)):
            for figure in ModeTotals.model_fields:
                stated, found = getattr(totals, figure), getattr(replayed[mode], figure)
                if stated != found:
                    with noting(self.note):
                        raise at(leaf_index).error(f"mode {mode} {figure}", stated, found)

    def _add(self, parts: Iterable[tuple[int, UsageKey, ModeWeights]], names: Sequence[str], *, sign: int) -> None:
        """Take in weights whose index is into `names`, by month and key."""
        for month, key, weights in parts:
            numbered = weights.at(self._numbers.numbered(names, weights.index))
            self._weights.add(month, key, numbered, sign=sign)
            if self._since_cut is not None:
                self._since_cut.add(month, key, numbered, sign=sign)
