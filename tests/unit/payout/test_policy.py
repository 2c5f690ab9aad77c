"""Policies by example: bounds, fees and claims."""

from __future__ import annotations

from typing import Any, Final

import pytest
from pydantic import ValidationError

from ledger.errors import InvalidInputError
from ledger.income import Period
from payout.periods import next_period
from payout.policy import (
    MIN_SILENCE_SECONDS,
    Approval,
    CommonsRule,
    Periods,
    Policy,
    Rounding,
    Tempering,
    UnattributedRule,
)

SOUND: Final = Policy()
LARGEST: Final = 10**15


def test_a_policy_takes_nothing_and_counts_everything_unless_told() -> None:
    assert dict(Policy()) == {
        "fee_ppm": 0,
        "fee_cap_minor": None,
        "commons_ppm": 0,
        "unattributed": UnattributedRule.COMMONS,
        "commons_rule": CommonsRule.EQUAL,
        "tempering": Tempering.PROPORTIONAL,
        "floor_minor": 0,
        "cap_minor": None,
        "ai_only_ppm": 1_000_000,
        "human_ai_ppm": 1_000_000,
        "review_seconds": 0,
        "rounding": Rounding.CARRIED,
        "approval": Approval.OPERATOR,
        "period": Periods.NONE,
        "period_from": "",
        "recoup_ppm": 0,
        "public": False,
    }
    assert Policy().require_sound() == Policy()


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [
        ("fee_ppm", 0, 1_000_000),
        ("fee_cap_minor", 0, LARGEST),
        ("commons_ppm", 0, 1_000_000),
        ("recoup_ppm", 0, 1_000_000),
        ("floor_minor", 0, LARGEST),
        ("cap_minor", 0, LARGEST),
        ("ai_only_ppm", 0, 10_000_000),
        ("human_ai_ppm", 0, 10_000_000),
        ("review_seconds", 0, 31_622_400),
    ],
)
def test_a_term_is_taken_up_to_its_bounds_and_refused_past_them_by_name(field: str, least: int, most: int) -> None:
    for value in (least, most):
        policy = SOUND.model_copy(update={field: value})
        assert policy.require_sound() is policy
    for value in (least - 1, most + 1, -(2**63), 2**63):
        with pytest.raises(InvalidInputError) as refused:
            SOUND.model_copy(update={field: value}).require_sound()
        assert str(refused.value) == f"policy.{field}: must be {least:,} to {most:,}, got {value:,}"


def test_a_cap_may_meet_the_floor_and_not_lie_below_it() -> None:
    assert Policy(floor_minor=5, cap_minor=5).require_sound().cap_minor == 5
    with pytest.raises(InvalidInputError, match=r"^policy\.cap_minor: must be at least the floor, 5$"):
        Policy(floor_minor=5, cap_minor=4).require_sound()
    with pytest.raises(InvalidInputError, match=r"^policy\.cap_minor: must be at least the floor, 1$"):
        Policy(floor_minor=1, cap_minor=0).require_sound()


@pytest.mark.parametrize(
    "terms",
    [{"fee_ppm": 0.5}, {"fee_ppm": "5"}, {"fee_ppm": True}, {"floor_minor": 1.0}, {"cap_minor": "1e3"},
     {"unattributed": "OTHER"}, {"tempering": 1}, {"another": 1}],
)  # fmt: skip
def test_a_term_of_another_type_is_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Policy(**terms)


def test_a_policy_does_not_change() -> None:
    with pytest.raises(ValidationError):
        SOUND.fee_ppm = 1  # type: ignore[misc]  # which is what is tested


def test_a_fee_is_rounded_down_and_capped() -> None:
    # 1234 * 0.033333 = 41.13; of 29 it would be 0.97.
    policy = Policy(fee_ppm=33_333)
    assert policy.fee(1234) == 41
    assert policy.fee(29) == 0
    assert policy.fee(0) == 0
    capped = Policy(fee_ppm=33_333, fee_cap_minor=40)
    assert [capped.fee(pot) for pot in (1199, 1200, 1230, 1234, 10**15)] == [39, 39, 40, 40, 40]
    assert Policy(fee_ppm=1_000_000, fee_cap_minor=0).fee(10**15) == 0
    assert Policy(fee_ppm=1_000_000).fee(10**15) == 10**15
    # 999,999 of a million of 10^15 + 1: floating point would be off by far more than the one unit.
    assert Policy(fee_ppm=999_999).fee(10**15 + 1) == 999_999_000_000_000


@pytest.mark.parametrize(
    ("tempering", "claims"),
    [
        (Tempering.PROPORTIONAL, [0, 1, 2, 3, 4, 15, 16, 2**128]),
        (Tempering.SQRT, [0, 1, 1, 1, 2, 3, 4, 2**64]),
        (Tempering.EQUAL, [0, 1, 1, 1, 1, 1, 1, 1]),
    ],
)
def test_a_weight_becomes_a_claim(tempering: Tempering, claims: list[int]) -> None:
    policy = Policy(tempering=tempering)
    assert policy.claims([0, 1, 2, 3, 4, 15, 16, 2**128]) == claims
    assert policy.claims([]) == []


def test_the_square_root_of_a_weight_past_all_floats_is_exact() -> None:
    root = 10**40 + 7
    assert Policy(tempering=Tempering.SQRT).claims([root**2 - 1, root**2, root**2 + 1]) == [root - 1, root, root]


def test_silence_agrees_after_three_days_and_not_before() -> None:
    silent = Policy(approval=Approval.SILENCE, review_seconds=MIN_SILENCE_SECONDS)
    assert silent.require_sound() == silent
    for seconds in (0, MIN_SILENCE_SECONDS - 1):
        with pytest.raises(InvalidInputError, match="approval"):
            silent.model_copy(update={"review_seconds": seconds}).require_sound()


def test_an_entry_says_how_a_round_is_approved_only_where_that_is_by_silence() -> None:
    assert "approval" not in Policy().model_dump(mode="json")
    said = Policy(approval=Approval.SILENCE, review_seconds=MIN_SILENCE_SECONDS).model_dump(mode="json")
    assert said["approval"] == "SILENCE"
    assert Policy.model_validate(said).approval is Approval.SILENCE


@pytest.mark.parametrize(
    ("period", "first"),
    [
        (Periods.MONTH, ""),
        (Periods.MONTH, "2026-Q1"),
        (Periods.QUARTER, "2026"),
        (Periods.MONTH, "1969-12"),
        (Periods.YEAR, "2026-13"),
        (Periods.NONE, "2026-01"),
    ],
)
def test_a_first_period_must_be_one_of_the_policys(period: Periods, first: str) -> None:
    with pytest.raises(InvalidInputError, match="period_from"):
        Policy(period=period, period_from=first).require_sound()


@pytest.mark.parametrize(
    ("period", "first"), [(Periods.MONTH, "2026-03"), (Periods.QUARTER, "2026-Q4"), (Periods.YEAR, "1970")]
)
def test_a_policy_without_periods_says_nothing_of_them(period: Periods, first: str) -> None:
    assert not {"period", "period_from"} & Policy().model_dump(mode="json").keys()
    said = Policy(period=period, period_from=first).require_sound().model_dump(mode="json")
    assert (said["period"], said["period_from"]) == (period.value, first)
    assert Policy.model_validate(said).period is period


@pytest.mark.parametrize(
    ("wanted", "last", "expected"),
    [
        (Periods.NONE, "2026-03", None),
        (Periods.MONTH, None, "2026-02"),
        (Periods.MONTH, "2026-12", "2027-01"),
        (Periods.MONTH, "2026-Q1", "2026-04"),
        (Periods.QUARTER, "2026-02", "2026-03"),
        (Periods.QUARTER, "2026-03", "2026-Q2"),
        (Periods.YEAR, "2026-Q3", "2026-Q4"),
        (Periods.YEAR, "2026-11", "2026-12"),
        (Periods.YEAR, "2026-Q4", "2027"),
    ],
)
def test_a_change_of_periods_begins_at_the_next_common_boundary(
    wanted: Periods, last: str | None, expected: str | None
) -> None:
    found = next_period(Policy(period=wanted, period_from="2026-02"), Period.parse(last) if last else None)
    assert (str(found) if found else None) == expected
