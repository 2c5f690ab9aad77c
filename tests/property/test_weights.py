"""Weights of many batches against the same sums in plain Python integers."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.weights import LIMB_BITS, ModeWeights
from payout.weights import MonthlySum, UsageKey, UsageSum, WeightSum

LARGEST_LOW: Final = 2**LIMB_BITS - 1
LARGEST_HIGH: Final = 2**32 - 1
NAMES: Final = {number: f"c{number}" for number in range(200)}

keys = st.builds(UsageKey, st.sampled_from(["ngram", "other"]), st.integers(1, 2), st.sampled_from([AI_ONLY, HUMAN_AI]))


class Added(NamedTuple):
    """One mode of one batch, or of a retraction with sign -1."""

    key: UsageKey
    events: int
    unattributed: int
    weights: dict[int, tuple[int, int]]
    """Count and weight by collective."""
    sign: int = 1

    def to(self, running: WeightSum) -> None:
        weights = [weight for _, weight in self.weights.values()]
        of_mode = ModeWeights(
            events=self.events,
            index=np.array(list(self.weights), dtype=np.int64),
            count=np.array([count for count, _ in self.weights.values()], dtype=np.int64),
            low=np.array([weight & LARGEST_LOW for weight in weights], dtype=np.int64),
            high=np.array([weight >> LIMB_BITS for weight in weights], dtype=np.int64),
            unattributed=self.unattributed,
        )
        running.add(self.key, of_mode, sign=self.sign)


weights = st.integers(0, 10) | st.integers(0, 2**76 - 1) | st.sampled_from([LARGEST_LOW, 2**LIMB_BITS, 2**76 - 1])
added = st.builds(
    Added,
    keys,
    st.integers(0, 65_536),
    st.integers(0, 2**76 - 1),
    st.dictionaries(st.integers(0, 5) | st.integers(0, 199), st.tuples(st.integers(1, 65_536), weights), max_size=6),
    st.sampled_from([1, 1, -1]),
)


def naive(batches: list[Added]) -> dict[UsageKey, UsageSum]:
    totals: dict[UsageKey, UsageSum] = {}
    for batch in batches:
        found = totals.get(batch.key, UsageSum(0, 0, 0, {}, {}))
        attributed, counts = dict(found.attributed), dict(found.counts)
        for number, (count, weight) in batch.weights.items():
            name = NAMES[number]
            attributed[name] = attributed.get(name, 0) + batch.sign * weight
            counts[name] = counts.get(name, 0) + batch.sign * count
        totals[batch.key] = UsageSum(
            found.events + (batch.events if batch.sign > 0 else 0),
            found.retracted + (batch.events if batch.sign < 0 else 0),
            found.unattributed + batch.sign * batch.unattributed,
            attributed,
            counts,
        )
    return dict(sorted(totals.items()))


@given(st.lists(added, max_size=30), st.integers(1, 7))
def test_sums_are_those_of_plain_integers(batches: list[Added], normalise_every: int) -> None:
    """Rule: "accumulated in two limbs or in Python integers, never in float64"; when they are carried is no matter."""
    for every in (WeightSum.NORMALISE_EVERY, normalise_every):
        running = WeightSum()
        running.NORMALISE_EVERY = every  # of this one sum alone
        for batch in batches:
            batch.to(running)
        totals = running.totals(NAMES)
        assert totals == naive(batches)
        assert list(totals) == sorted(totals)
        for total in totals.values():
            figures = [total.events, total.retracted, total.unattributed]
            assert {type(f) for f in [*figures, *total.attributed.values(), *total.counts.values()]} == {int}


@given(st.lists(added, max_size=20), st.data())
def test_the_order_of_batches_does_not_matter(batches: list[Added], data: st.DataObject) -> None:
    """Rule: order independence; replay may read what the store summed in another order."""
    ours, theirs = WeightSum(), WeightSum()
    for batch in batches:
        batch.to(ours)
    for batch in data.draw(st.permutations(batches)):
        batch.to(theirs)
    assert ours.totals(NAMES) == theirs.totals(NAMES)


dated = st.tuples(st.integers(24_000, 24_005), added)


@given(st.lists(dated, max_size=20), st.lists(dated, max_size=10), st.none() | st.integers(23_999, 24_007))
def test_a_round_takes_the_months_before_its_end_and_leaves_the_others(
    counted: list[tuple[int, Added]], since: list[tuple[int, Added]], before: int | None
) -> None:
    """Rule: "all usage before `end` of periods up to it that no earlier round took"."""
    running, later = MonthlySum(), MonthlySum()
    for month, batch in counted:
        batch.to(_Month(running, month))
    for month, batch in since:
        batch.to(_Month(running, month))
        batch.to(_Month(later, month))

    def of(batches: list[tuple[int, Added]], *, taken: bool) -> list[Added]:
        return [batch for month, batch in batches if (before is None or month < before) is taken]

    assert running.totals(NAMES, before=before) == naive([*of(counted, taken=True), *of(since, taken=True)])
    running.take_in(later, before)
    assert running.totals(NAMES) == naive([*of(counted, taken=False), *(batch for _, batch in since)])


class _Month(WeightSum):
    """Adds to a month of a monthly sum."""

    def __init__(self, sums: MonthlySum, month: int) -> None:
        super().__init__()
        self._sums, self._month = sums, month

    def add(self, key: UsageKey, weights: ModeWeights, *, sign: int = 1) -> None:
        self._sums.add(self._month, key, weights, sign=sign)


@given(st.lists(added, max_size=15), st.integers(1, 7), st.data())
def test_taking_back_all_that_was_added_leaves_every_weight_at_zero(
    batches: list[Added], normalise_every: int, data: st.DataObject
) -> None:
    """Rule: "retracting everything leaves every weight at zero", whichever came first."""
    given_ = [batch._replace(sign=1) for batch in batches]
    running = WeightSum()
    running.NORMALISE_EVERY = normalise_every  # of this one sum alone
    for batch in data.draw(st.permutations([*given_, *(batch._replace(sign=-1) for batch in given_)])):
        batch.to(running)
    for total in running.totals(NAMES).values():
        assert total.events == total.retracted
        assert total.unattributed == 0
        assert {*total.attributed.values(), *total.counts.values()} <= {0}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("count", [1, 2, 100, 5_000])
def test_many_batches_of_the_largest_weights_are_exact(count: int, sign: int) -> None:
    """Rule: as above, with carries on the way and without; a retraction borrows where a batch carries."""
    heaviest = {0: (1, 2**76 - 1), 3: (2, LARGEST_LOW), 7: (65_536, 2**LIMB_BITS)}
    largest = Added(UsageKey("ngram", 1, AI_ONLY), 65_536, 2**76 - 1, heaviest, sign)
    for every in (WeightSum.NORMALISE_EVERY, 64):
        running = WeightSum()
        running.NORMALISE_EVERY = every  # of this one sum alone
        for _ in range(count):
            largest.to(running)
        times = sign * count
        assert running.totals(NAMES)[largest.key] == UsageSum(
            events=count * 65_536 if sign > 0 else 0,
            retracted=count * 65_536 if sign < 0 else 0,
            unattributed=times * (2**76 - 1),
            attributed={"c0": times * (2**76 - 1), "c3": times * LARGEST_LOW, "c7": times * 2**LIMB_BITS},
            counts={"c0": times, "c3": times * 2, "c7": times * 65_536},
        )


def one(number: int, low: int, high: int, *, unattributed: int = 0) -> ModeWeights:
    index, count = np.array([number]), np.array([1])
    return ModeWeights(1, index, count, np.array([low]), np.array([high]), unattributed)


def test_limbs_are_carried_before_they_can_overflow() -> None:
    """Rule: 63 bits hold what is added between two carries. Here limbs of 2^62 stand in for 2^18 batches."""
    assert WeightSum.NORMALISE_EVERY * LARGEST_LOW + LARGEST_LOW < 2**63
    for sign in (1, -1):
        running = WeightSum()
        running.NORMALISE_EVERY = 2  # of this one sum alone
        key = UsageKey("ngram", 1, AI_ONLY)
        for _ in range(20):
            running.add(key, one(1, 2**61 + 1, LARGEST_HIGH), sign=sign)
        expected = sign * (20 * (2**61 + 1) + (20 * LARGEST_HIGH << LIMB_BITS))
        assert running.totals(NAMES)[key].attributed == {"c1": expected}


def test_a_long_run_of_batches_passes_a_carry_of_the_real_size() -> None:
    """Rule: as above, with nothing stood in for."""
    key = UsageKey("ngram", 1, AI_ONLY)
    weights = one(0, LARGEST_LOW, LARGEST_HIGH, unattributed=1)
    count = WeightSum.NORMALISE_EVERY + 5
    for sign in (1, -1):
        running = WeightSum()
        for _ in range(count):
            running.add(key, weights, sign=sign)
        events, retracted = (count, 0) if sign > 0 else (0, count)
        assert running.totals(NAMES)[key] == UsageSum(
            events, retracted, sign * count, {"c0": sign * count * (2**76 - 1)}, {"c0": sign * count}
        )
