"""Fractions that are carried, by example: each figure worked out by hand beside it."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ledger.registry import Collective
from payout.amounts import NOTHING_CARRIED, Amounts, Carried, divide
from payout.policy import CommonsRule, Policy, Rounding

NAMES: Final = ("eire", "han", "quebec")
ALL: Final = [Collective(name, name, members) for name, members in zip(NAMES, (300, 100, 0), strict=True)]


def divided(
    pot_minor: int, weights: list[int], unattributed: int = 0, carried: Carried = NOTHING_CARRIED, **terms: Any
) -> Amounts:
    return divide(Policy(**terms), pot_minor, weights, unattributed, ALL, carried)


def test_each_part_is_rounded_down_and_its_fraction_carried() -> None:
    # 100 over 1 : 1 : 1 is 33 and a third each, and the three thirds are a unit that nobody has yet.
    found = divided(100, [1, 1, 1])
    assert found.attributed_minor == [33, 33, 33]
    assert found.carried.attributed_nano == dict.fromkeys(NAMES, 333_333_333)
    assert (found.rounding_minor, found.carried.whole_minor()) == (1, 1)


def test_what_was_carried_makes_a_unit_together_with_the_next_fraction() -> None:
    carried = Carried(0, {"eire": 666_666_667, "han": 333_333_333}, {})
    found = divided(100, [1, 1, 1], carried=carried)
    assert found.attributed_minor == [34, 33, 33]
    assert found.carried.attributed_nano == {"han": 666_666_666, "quebec": 333_333_333}
    # 34 + 33 + 33 is the pot: the unit that lay in `rounding` covers the two fractions that are left.
    assert (carried.whole_minor(), found.rounding_minor) == (1, 0)


def test_rounding_gives_back_what_it_needs_no_longer() -> None:
    carried = Carried(0, {"eire": 500_000_000, "han": 500_000_000}, {})
    found = divided(1, [1, 1, 0], carried=carried)
    assert found.attributed_minor == [1, 1, 0]
    assert (found.rounding_minor, found.carried) == (-1, NOTHING_CARRIED)


def test_the_attributed_and_the_commons_part_carry_fractions_of_their_own() -> None:
    # 10 over 2 : 1 is 6.66 attributed and 3.33 commons: 3.33 each by weight, and 2.5 and 0.83 by members.
    found = divided(10, [1, 1, 0], 1, commons_rule=CommonsRule.PER_CAPITA)
    assert (found.attributed_minor, found.commons_minor) == ([3, 3, 0], [2, 0, 0])
    assert found.carried.attributed_nano == {"eire": 333_333_333, "han": 333_333_333}
    assert found.carried.commons_nano == {"eire": 500_000_000, "han": 833_333_333}
    assert found.rounding_minor == 2


def test_the_commons_fund_carries_its_fraction_too() -> None:
    first = divided(1, [1, 0, 0], 1, commons_rule=CommonsRule.FUND)
    assert (first.attributed_minor, first.kept_minor, first.carried.kept_nano) == ([0, 0, 0], 0, 500_000_000)
    second = divided(1, [1, 0, 0], 1, first.carried, commons_rule=CommonsRule.FUND)
    assert (second.attributed_minor, second.kept_minor) == ([1, 0, 0], 1)
    assert (first.rounding_minor, second.rounding_minor) == (1, -1)


def test_who_has_no_weight_keeps_what_was_carried_and_gets_no_unit_of_it() -> None:
    carried = Carried(7, {"quebec": 999_999_999}, {"han": 1})
    found = divided(5, [1, 0, 0], carried=carried)
    assert found.attributed_minor == [5, 0, 0]
    assert found.carried == carried


def test_nobody_passes_a_cap_by_what_was_carried_and_a_floor_is_reached_whole() -> None:
    carried = Carried(0, dict.fromkeys(NAMES, 999_999_999), {})
    found = divided(100, [1, 10, 100], carried=carried, floor_minor=20, cap_minor=50)
    # 20 at the floor, 50 at the cap, and 30 in between.
    assert found.attributed_minor == [20, 30, 50]
    assert found.carried == carried


def test_what_rounding_down_to_a_billionth_loses_goes_back_to_the_revenue_once_it_is_a_unit() -> None:
    # `rounding` holds 2 for 1.000000001. A pot of 1 adds 0.333333333 three times: what is owed is 2 just so, which it
    # covers already, and the whole pot is left in the revenue.
    carried = Carried(0, {"eire": 500_000_001, "han": 500_000_000}, {})
    found = divided(1, [1, 1, 1], carried=carried)
    assert found.attributed_minor == [0, 0, 0]
    assert found.carried.attributed_nano == {"eire": 833_333_334, "han": 833_333_333, "quebec": 333_333_333}
    assert (carried.whole_minor(), found.carried.whole_minor(), found.rounding_minor) == (2, 2, 0)


@pytest.mark.parametrize("rounding", Rounding)
def test_a_change_of_rounding_loses_no_fraction(rounding: Rounding) -> None:
    carried = Carried(3, {"eire": 400_000_000}, {"han": 200_000_000})
    found = divided(9, [1, 0, 0], carried=carried, rounding=rounding)
    assert found.attributed_minor == [9, 0, 0]
    assert (found.carried, found.rounding_minor) == (carried, 0)
    placed = divided(10, [1, 1, 1], carried=carried, rounding=Rounding.PLACED)
    assert (placed.attributed_minor, placed.carried, placed.rounding_minor) == ([4, 3, 3], carried, 0)
