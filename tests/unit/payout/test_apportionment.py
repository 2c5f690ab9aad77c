"""Apportionment by example: the rules of docs/distribution.md, one at a time."""

from __future__ import annotations

import pytest

from payout.apportionment import apportion


def test_shares_are_proportional_to_the_weights() -> None:
    assert apportion(100, [1, 1, 2]) == [25, 25, 50]


def test_units_left_over_go_to_the_largest_remainders() -> None:
    assert apportion(10, [55, 25, 20]) == [6, 2, 2]
    assert apportion(9, [52, 25, 23]) == [5, 2, 2]


def test_ties_go_to_the_lower_position() -> None:
    assert apportion(2, [1, 1, 1]) == [1, 1, 0]
    assert apportion(2, [1, 3]) == [1, 1]
    assert apportion(2, [3, 1]) == [2, 0]


def test_a_zero_weight_gets_zero_whatever_the_floor() -> None:
    assert apportion(10, [0, 1, 0, 1]) == [0, 5, 0, 5]
    assert apportion(10, [0, 1, 0, 99], floor=4) == [0, 4, 0, 6]
    assert apportion(8, [0, 1, 0, 99], floor=4) == [0, 4, 0, 4]


@pytest.mark.parametrize("weights", [[], [0], [0, 0, 0]])
def test_nothing_is_placed_where_all_weights_are_zero(weights: list[int]) -> None:
    assert apportion(100, weights) == [0] * len(weights)
    assert apportion(100, weights, floor=7) == [0] * len(weights)
    assert apportion(3, weights, floor=7) == [0] * len(weights)


def test_a_total_of_zero_gives_everyone_zero() -> None:
    assert apportion(0, [3, 0, 5]) == [0, 0, 0]
    assert apportion(0, [3, 0, 5], cap=4) == [0, 0, 0]
    assert apportion(0, []) == []


def test_those_below_the_floor_are_lifted_at_the_cost_of_the_others() -> None:
    assert apportion(100, [1, 9, 90], floor=10) == [10, 10, 80]
    assert apportion(100, [1, 19, 80], floor=10) == [10, 17, 73]


def test_those_above_the_cap_are_cut_in_favour_of_the_others() -> None:
    assert apportion(100, [1, 3, 96], cap=60) == [10, 30, 60]


def test_lifting_to_the_floor_can_bring_others_down_to_it() -> None:
    assert apportion(100, [1, 40, 41, 918], floor=5) == [5, 5, 5, 85]


def test_cutting_at_the_cap_can_bring_others_up_to_it() -> None:
    assert apportion(100, [1, 1, 44, 54], cap=45) == [5, 5, 45, 45]


def test_a_floor_and_a_cap_hold_together() -> None:
    assert apportion(100, [1, 2, 3, 94], floor=5, cap=50) == [8, 17, 25, 50]
    assert apportion(100, [1, 5, 10, 84], floor=10, cap=60) == [10, 10, 20, 60]


def test_a_payee_lifted_at_first_may_end_above_the_floor() -> None:
    # In proportion, the first two are below the floor. What the cap takes from the last one lifts them above.
    assert apportion(100, [1, 2, 97], floor=10, cap=60) == [13, 27, 60]
    assert apportion(100, [1, 4, 95], floor=15, cap=60) == [15, 25, 60]


def test_everyone_is_at_a_bound_where_floors_and_caps_meet_the_total() -> None:
    assert apportion(30, [1, 1000], floor=10, cap=20) == [10, 20]


def test_a_share_of_exactly_a_bound_is_not_rounded_past_it() -> None:
    assert apportion(20, [2, 4, 7, 7], cap=7) == [2, 4, 7, 7]
    assert apportion(20, [2, 4, 7, 7], floor=2) == [2, 4, 7, 7]


def test_rounding_up_stops_at_the_cap_and_down_at_the_floor() -> None:
    assert apportion(11, [10, 10, 11, 1], cap=4, floor=1) == [3, 3, 4, 1]


def test_what_nobody_may_take_is_not_forced_on_anyone() -> None:
    assert apportion(100, [5, 0, 1], cap=30) == [30, 0, 30]
    assert apportion(60, [5, 0, 1], cap=30) == [30, 0, 30]
    assert apportion(100, [5, 0, 1], cap=0) == [0, 0, 0]
    assert apportion(100, [5, 0, 1], floor=20, cap=20) == [20, 0, 20]


def test_a_single_payee_gets_all_up_to_the_cap() -> None:
    assert apportion(100, [3]) == [100]
    assert apportion(100, [3], floor=100) == [100]
    assert apportion(100, [3], cap=99) == [99]


def test_weights_beyond_any_machine_word_are_exact() -> None:
    huge = 2**200
    assert apportion(3, [huge, huge, huge + 1]) == [1, 1, 1]
    assert apportion(2, [huge, huge, huge + 1]) == [1, 0, 1]
    assert apportion(10**30 + 1, [huge, huge + 1]) == [5 * 10**29, 5 * 10**29 + 1]


def test_a_larger_total_can_cost_a_payee_one_unit() -> None:
    # The Alabama paradox of largest remainder: with 11 units instead of 10, the smallest payee loses one.
    assert apportion(10, [6, 6, 2]) == [4, 4, 2]
    assert apportion(11, [6, 6, 2]) == [5, 5, 1]


def test_floors_that_the_total_cannot_cover_are_refused() -> None:
    with pytest.raises(ValueError, match="floor"):
        apportion(29, [1, 1, 1, 0], floor=10)


@pytest.mark.parametrize(
    ("name", "total", "weights", "floor", "cap"),
    [
        ("total", -1, [1], 0, None),
        ("weights", 1, [1, -1], 0, None),
        ("floor", 1, [1], -1, None),
        ("cap", 1, [1], 0, -1),
        ("cap", 10, [1], 5, 4),
        ("cap", 10, [0], 5, 4),
    ],
)
def test_a_negative_or_contradictory_argument_is_refused_by_name(
    name: str, total: int, weights: list[int], floor: int, cap: int | None
) -> None:
    with pytest.raises(ValueError, match=rf"^{name} "):
        apportion(total, weights, floor=floor, cap=cap)


@pytest.mark.parametrize("value", [True, 1.0, "1"])
def test_what_is_not_a_plain_int_is_refused_by_name(value: int) -> None:
    with pytest.raises(TypeError, match=r"^total "):
        apportion(value, [1])
    with pytest.raises(TypeError, match=r"^weights "):
        apportion(1, [1, value])
    with pytest.raises(TypeError, match=r"^floor "):
        apportion(1, [1], floor=value)
    with pytest.raises(TypeError, match=r"^cap "):
        apportion(1, [1], cap=value)
