"""Apportionment by its rules, against a brute-force oracle and the `apportionment` package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil

import pytest
from apportionment.methods import TiesException, compute
from hypothesis import assume, given
from hypothesis import strategies as st

from payout.apportionment import apportion, proportion, quotas

small_weights = st.lists(st.integers(0, 20), max_size=8)
any_weights = st.lists(st.integers(0, 20) | st.integers(0, 2**130), max_size=12)


@dataclass(frozen=True)
class Case:
    total: int
    weights: list[int]
    floor: int
    cap: int | None

    @property
    def payees(self) -> int:
        return sum(weight > 0 for weight in self.weights)

    def amounts(self) -> list[int]:
        return apportion(self.total, self.weights, floor=self.floor, cap=self.cap)


@st.composite
def cases(draw: st.DrawFn, weights: st.SearchStrategy[list[int]] = small_weights | any_weights) -> Case:
    """Totals from just the floors to above all caps; numbers are often small, to meet bounds and ties."""
    chosen = draw(weights)
    floor = draw(st.just(0) | st.integers(0, 12))
    cap = draw(st.none() | st.integers(floor, floor + 30))
    payees = sum(weight > 0 for weight in chosen)
    above_the_floors = draw(st.integers(0, 200) | st.integers(0, 2**70))
    return Case(floor * payees + above_the_floors, chosen, floor, cap)


def exact_shares(case: Case) -> list[Fraction]:
    """`clamp(k * weight, floor, cap)` at the `k` whose sum is the total; every break of it is tried."""

    def shares(k: Fraction) -> list[Fraction]:
        lifted = [max(k * weight, Fraction(case.floor)) if weight else Fraction(0) for weight in case.weights]
        return lifted if case.cap is None else [min(share, Fraction(case.cap)) for share in lifted]

    positive = [weight for weight in case.weights if weight]
    bounds = [case.floor] if case.cap is None else [case.floor, case.cap]
    breaks = sorted({Fraction(bound, weight) for bound in bounds for weight in positive} | {Fraction(0)})
    below = max((k for k in breaks if sum(shares(k)) <= case.total), default=Fraction(0))
    further = below + 1 if below == breaks[-1] else min(k for k in breaks if k > below)
    grown, start = sum(shares(further)) - sum(shares(below)), sum(shares(below))
    if grown == 0:  # flat to the right: everyone is at a bound
        return shares(below)
    return shares(below + (further - below) * (case.total - start) / grown)


def cutoff_is_tied(case: Case) -> bool:
    """Whether ties decide who gets the last unit."""
    fractions = sorted((share % 1 for share in exact_shares(case)), reverse=True)
    left = int(sum(fractions))
    return 0 < left < len(fractions) and fractions[left - 1] == fractions[left]


@given(cases())
def test_the_sum_is_the_total_or_what_the_caps_and_weights_allow(case: Case) -> None:
    """Rule: "What cannot be placed is not forced on anyone. Otherwise the sum is exactly `total`"."""
    placeable = case.total if case.cap is None else min(case.total, case.cap * case.payees)
    assert sum(case.amounts()) == (placeable if case.payees else 0)


@given(cases())
def test_every_amount_is_within_its_bounds(case: Case) -> None:
    """Rule: `clamp(k * weight, floor, cap)`; "a zero weight gets zero, whatever the floor"."""
    for weight, amount in zip(case.weights, case.amounts(), strict=True):
        if weight == 0:
            assert amount == 0
        else:
            assert case.floor <= amount <= (case.total if case.cap is None else case.cap)


@given(cases())
def test_amounts_are_the_exact_shares_rounded_by_largest_remainder(case: Case) -> None:
    """Rule: "the real-valued answer is `clamp(k * weight, floor, cap)` for the one `k` at which the sum is
    `total`; those at a bound get the bound, and the others share what is left by largest remainder"; and
    "ties go to the lower position".
    """
    exact = exact_shares(case)
    expected = [int(share) for share in exact]
    by_fraction = sorted((-(share % 1), position) for position, share in enumerate(exact))
    for _, position in by_fraction[: int(sum(exact)) - sum(expected)]:
        expected[position] += 1
    assert case.amounts() == expected


@given(cases())
def test_everyone_is_less_than_a_unit_from_the_exact_share(case: Case) -> None:
    """Rule: quota (Balinski and Young 1982): the exact share, rounded down or up."""
    for amount, share in zip(case.amounts(), exact_shares(case), strict=True):
        assert int(share) <= amount <= ceil(share)


@given(cases(), st.data())
def test_the_order_of_payees_matters_only_for_ties(case: Case, data: st.DataObject) -> None:
    """Rule: only "ties go to the lower position" looks at positions, and a tie is about one unit."""
    order = data.draw(st.permutations(range(len(case.weights))))
    amounts = case.amounts()
    permuted = replace(case, weights=[case.weights[position] for position in order]).amounts()
    differences = [permuted[new] - amounts[old] for new, old in enumerate(order)]
    assert set(differences) <= {-1, 0, 1}
    if not cutoff_is_tied(case):
        assert not any(differences)


@given(cases())
def test_a_larger_weight_never_gets_less(case: Case) -> None:
    """Rule: largest remainder keeps the order of the weights, and so does `clamp`."""
    ranked = sorted(zip(case.weights, case.amounts(), strict=True))
    for (weight, amount), (next_weight, next_amount) in pairwise(ranked):
        assert amount <= next_amount or weight == next_weight


@given(cases())
def test_equal_weights_differ_by_one_unit_at_most_in_favour_of_the_lower_position(case: Case) -> None:
    """Rule: "ties go to the lower position"."""
    alike: dict[int, list[int]] = {}
    for weight, amount in zip(case.weights, case.amounts(), strict=True):
        alike.setdefault(weight, []).append(amount)
    for amounts in alike.values():
        assert amounts == sorted(amounts, reverse=True)
        assert amounts[0] - amounts[-1] <= 1


@given(cases(), st.integers(0, 40))
def test_a_larger_total_never_costs_a_payee_more_than_one_unit(case: Case, more: int) -> None:
    """Rule: exact shares grow with the total, and everyone is less than a unit away from theirs.

    No stronger rule is true of largest remainder: the Alabama paradox costs a payee that one unit.
    """
    richer = replace(case, total=case.total + more).amounts()
    assert all(after >= before - 1 for before, after in zip(case.amounts(), richer, strict=True))
    assert sum(richer) >= sum(case.amounts())


@given(any_weights, st.integers(0, 2**70), st.integers(0, 40))
def test_without_bounds_nobody_gains_two_units_beyond_what_was_added(weights: list[int], total: int, more: int) -> None:
    """Rule: everyone is less than a unit away from their exact share, before and after."""
    before, after = apportion(total, weights), apportion(total + more, weights)
    whole = sum(weights)
    for weight, old, new in zip(weights, before, after, strict=True):
        assert abs((new - old) * whole - more * weight) < 2 * max(whole, 1)


@given(any_weights, st.integers(0, 2**70), st.integers(0, 40))
def test_a_payee_whose_exact_share_grows_by_a_unit_never_loses(weights: list[int], total: int, more: int) -> None:
    """Rule: monotone in the total as far as largest remainder is, which is by whole units of exact share."""
    before, after = apportion(total, weights), apportion(total + more, weights)
    whole = sum(weights)
    for weight, old, new in zip(weights, before, after, strict=True):
        assert new >= old or more * weight < whole


@given(cases(), st.integers(1, 2**70))
def test_the_unit_of_the_weights_does_not_matter(case: Case, factor: int) -> None:
    """Rule: exact arithmetic; only the ratios of the weights count."""
    scaled = replace(case, weights=[weight * factor for weight in case.weights])
    assert scaled.amounts() == case.amounts()


@given(cases(), st.data())
def test_a_payee_without_weight_changes_nothing_for_the_others(case: Case, data: st.DataObject) -> None:
    """Rule: "a zero weight gets zero, whatever the floor"."""
    at = data.draw(st.integers(0, len(case.weights)))
    widened = replace(case, weights=[*case.weights[:at], 0, *case.weights[at:]]).amounts()
    assert widened.pop(at) == 0
    assert widened == case.amounts()


@given(cases())
def test_bounds_that_nobody_meets_change_nothing(case: Case) -> None:
    """Rule: `clamp` leaves alone what is between its bounds."""
    amounts = apportion(case.total, case.weights)
    exact = exact_shares(replace(case, floor=0, cap=None))
    lowest = min((int(share) for share in exact if share), default=0)
    highest = max(map(ceil, exact), default=0)
    assert apportion(case.total, case.weights, floor=lowest, cap=highest) == amounts


@given(cases())
def test_floors_beyond_the_total_are_refused(case: Case) -> None:
    """Rule: "Floors that the total cannot cover: `ValueError`"."""
    assume(case.payees > 0)
    with pytest.raises(ValueError, match=r"^floor"):
        apportion(case.total, case.weights, floor=case.total // case.payees + 1)


@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=30), st.integers(1, 2**40))
def test_a_peer_gives_the_same_where_no_tie_decides(weights: list[int], total: int) -> None:
    """Oracle: `apportionment`, "largest_remainder" over fractions.

    Where a tie decides, it prefers lower positions even to larger remainders (2 over weights of 3, 3 and 4 is
    [1, 1, 0] to it, with remainders of 0.6, 0.6 and 0.8), so those cases are left out.
    """
    assume(any(weights))
    try:
        expected = compute("largest_remainder", weights, total, fractions=True, tiesallowed=False)
    except TiesException:
        assume(False)
    assert apportion(total, weights) == expected


@given(cases())
def test_each_quota_follows_from_k_and_its_weight_alone(case: Case) -> None:
    """Rule: the real-valued answer is `clamp(k * weight, floor, cap)`; a quota is that, rounded down."""
    k = proportion(case.total, case.weights, floor=case.floor, cap=case.cap)
    most = case.total if case.cap is None else case.cap
    alone = [min(max(int(k * weight), case.floor), most) if weight else 0 for weight in case.weights]
    assert alone == quotas(case.total, case.weights, floor=case.floor, cap=case.cap)
