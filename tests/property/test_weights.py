"""Weights of many batches against the same sums in plain Python integers."""

from collections import Counter, defaultdict
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.batch_weights import LIMB_BITS
from ledger.usage import AI_ONLY, HUMAN_AI
from payout.weights import UsageKey, UsageSum, WeightSum

LARGEST_LOW = 2**LIMB_BITS - 1
LARGEST_HIGH = 2**32 - 1
NAMES = {number: f"c{number}" for number in range(200)}

keys = st.builds(UsageKey, st.sampled_from(["ngram", "other"]), st.integers(1, 2), st.sampled_from([AI_ONLY, HUMAN_AI]))


class Added(NamedTuple):
    """One mode of one batch."""

    key: UsageKey
    events: int
    unattributed: int
    weights: dict[int, int]

    def to(self, running: WeightSum) -> None:
        weights = [self.weights[number] for number in self.weights]
        running.add(
            self.key,
            events=self.events,
            unattributed=self.unattributed,
            numbers=np.array(list(self.weights), dtype=np.int64),
            low=np.array([weight & LARGEST_LOW for weight in weights], dtype=np.int64),
            high=np.array([weight >> LIMB_BITS for weight in weights], dtype=np.int64),
        )


weights = st.integers(0, 10) | st.integers(0, 2**76 - 1) | st.sampled_from([LARGEST_LOW, 2**LIMB_BITS, 2**76 - 1])
added = st.builds(
    Added,
    keys,
    st.integers(0, 65_536),
    st.integers(0, 2**76 - 1),
    st.dictionaries(st.integers(0, 5) | st.integers(0, 199), weights, max_size=6),
)


def naive(batches: list[Added]) -> dict[UsageKey, UsageSum]:
    events, unattributed = Counter[UsageKey](), Counter[UsageKey]()
    attributed = defaultdict[UsageKey, Counter[str]](Counter)
    for batch in batches:
        events[batch.key] += batch.events
        unattributed[batch.key] += batch.unattributed
        attributed[batch.key].update({NAMES[number]: weight for number, weight in batch.weights.items()})
    return {
        key: UsageSum(
            events[key], unattributed[key], {name: weight for name, weight in attributed[key].items() if weight}
        )
        for key in sorted(events)
    }


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
            assert {type(weight) for weight in [total.unattributed, *total.attributed.values()]} == {int}


@given(st.lists(added, max_size=20), st.data())
def test_the_order_of_batches_does_not_matter(batches: list[Added], data: st.DataObject) -> None:
    """Rule: order independence; replay may read what the store summed in another order."""
    ours, theirs = WeightSum(), WeightSum()
    for batch in batches:
        batch.to(ours)
    for batch in data.draw(st.permutations(batches)):
        batch.to(theirs)
    assert ours.totals(NAMES) == theirs.totals(NAMES)


@pytest.mark.parametrize("count", [1, 2, 100, 5_000])
def test_many_batches_of_the_largest_weights_are_exact(count: int) -> None:
    """Rule: as above, with carries on the way and without."""
    largest = Added(UsageKey("ngram", 1, AI_ONLY), 65_536, 2**76 - 1, {0: 2**76 - 1, 3: LARGEST_LOW, 7: 2**LIMB_BITS})
    for every in (WeightSum.NORMALISE_EVERY, 64):
        running = WeightSum()
        running.NORMALISE_EVERY = every  # of this one sum alone
        for _ in range(count):
            largest.to(running)
        expected = {"c0": count * (2**76 - 1), "c3": count * LARGEST_LOW, "c7": count * 2**LIMB_BITS}
        assert running.totals(NAMES)[largest.key] == UsageSum(count * 65_536, count * (2**76 - 1), expected)


def test_limbs_are_carried_before_they_can_overflow() -> None:
    """Rule: 63 bits hold what is added between two carries. Here limbs of 2^62 stand in for 2^18 batches."""
    assert WeightSum.NORMALISE_EVERY * LARGEST_LOW + LARGEST_LOW < 2**63
    running = WeightSum()
    running.NORMALISE_EVERY = 2  # of this one sum alone
    key = UsageKey("ngram", 1, AI_ONLY)
    for _ in range(20):
        running.add(
            key,
            events=1,
            unattributed=0,
            numbers=np.array([1]),
            low=np.array([2**61 + 1]),
            high=np.array([LARGEST_HIGH]),
        )
    assert running.totals(NAMES)[key].attributed == {"c1": 20 * (2**61 + 1) + (20 * LARGEST_HIGH << LIMB_BITS)}


def test_a_long_run_of_batches_passes_a_carry_of_the_real_size() -> None:
    """Rule: as above, with nothing stood in for."""
    running = WeightSum()
    key = UsageKey("ngram", 1, AI_ONLY)
    one = (np.array([0]), np.array([LARGEST_LOW]), np.array([LARGEST_HIGH]))
    count = WeightSum.NORMALISE_EVERY + 5
    for _ in range(count):
        running.add(key, events=1, unattributed=1, numbers=one[0], low=one[1], high=one[2])
    assert running.totals(NAMES)[key] == UsageSum(count, count, {"c0": count * (2**76 - 1)})
