"""The fairness report on rounds small enough to do by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from ledger.registry import CollectiveStatus
from payout.fairness import ByMode, FairnessReport, LorenzPoint, concentration, fairness_report, in_percents
from payout.rounds import Distribution, Line


def line(collective: str, attributed: int, commons: int = 0, *, ai_only: int = 0, human_ai: int = 0) -> Line:
    return Line(
        collective=collective,
        status=CollectiveStatus.ACTIVE,
        events=1,
        weight_ai_only=ai_only,
        weight_human_ai=human_ai,
        deficit_before=0,
        weight=ai_only + human_ai,
        deficit_after=0,
        attributed_minor=attributed,
        commons_minor=commons,
    )


def a_round(*lines: Line, fee: int = 0, kept: int = 0, carried: int = 0) -> Distribution:
    attributed, commons = sum(of.attributed_minor for of in lines), sum(of.commons_minor for of in lines)
    return Distribution(
        events=1,
        retracted=0,
        weight=1,
        weight_unattributed=0,
        deficit_unattributed=0,
        pot_minor=fee + attributed + commons + kept + carried,
        fee_minor=fee,
        attributed_minor=attributed,
        commons_minor=commons,
        commons_kept_minor=kept,
        carried_minor=carried,
        rounding_minor=0,
        kept_after_nano=0,
        lines=lines,
    )


def report(*lines: Line, ai_only_ppm: int = 10**6, human_ai_ppm: int = 10**6) -> FairnessReport:
    return fairness_report(a_round(*lines), lines, ai_only_ppm=ai_only_ppm, human_ai_ppm=human_ai_ppm)


def test_the_measures_of_one_two_three_and_four() -> None:
    spread = concentration([3, 1, 4, 2])
    assert spread is not None
    assert (spread.collectives, spread.amount_minor) == (4, 10)
    # |differences| over ordered pairs: 2 * (1 + 2 + 3 + 1 + 2 + 1) = 20, of 2 * 4 * 10.
    assert spread.gini_ppm == 250_000
    assert spread.herfindahl_ppm == 300_000  # 1 + 4 + 9 + 16 = 30 of 100
    assert spread.jain_ppm == 833_333  # 100 of 4 * 30
    assert (spread.top_percent_collectives, spread.top_percent_ppm) == (1, 400_000)
    assert spread.lorenz == ((0, 0), (1, 1), (2, 3), (3, 6), (4, 10))
    assert spread.lorenz_ppm() == (
        (0, 0),
        (250_000, 100_000),
        (500_000, 300_000),
        (750_000, 600_000),
        (1_000_000, 1_000_000),
    )


def test_the_unpaid_count_among_the_registered_only() -> None:
    found = report(line("a", 1), line("b", 0), line("c", 2, 1), line("d", 2), line("e", 0, 4))
    assert (found.collectives, found.payees) == (5, 4)
    assert found.paid == concentration([1, 2, 3, 4])
    assert found.registered is not None
    assert found.registered.gini_ppm == 400_000  # -2 * 1 + 0 * 2 + 2 * 3 + 4 * 4 = 20 of 5 * 10
    assert found.registered.herfindahl_ppm == 300_000
    assert found.registered.jain_ppm == 666_667  # 100 of 5 * 30, a half and more goes up
    assert found.registered.lorenz == ((0, 0), (1, 0), (2, 1), (3, 3), (4, 6), (5, 10))


def test_where_nobody_is_registered_nothing_is_measured() -> None:
    assert report() == FairnessReport(
        collectives=0,
        payees=0,
        registered=None,
        paid=None,
        fee_ppm=None,
        commons_ppm=None,
        usage=ByMode(0, 0),
        attributed_minor=ByMode(0, 0),
        undivided_minor=0,
    )
    assert ByMode(0, 0).human_ai_ppm is None


def test_where_nobody_is_paid_the_spread_is_not_said_to_be_even() -> None:
    lines = (line("a", 0, ai_only=3), line("b", 0, human_ai=1))
    found = fairness_report(a_round(*lines, carried=7), lines, ai_only_ppm=0, human_ai_ppm=0)
    assert (found.collectives, found.payees) == (2, 0)
    assert found.registered is None
    assert found.paid is None
    assert (found.fee_ppm, found.commons_ppm) == (0, 0)
    assert found.usage.human_ai_ppm == 250_000


def test_one_payee_of_four_has_everything() -> None:
    found = report(line("a", 0), line("b", 9), line("c", 0), line("d", 0))
    assert found.registered is not None
    assert found.paid is not None
    assert (found.registered.gini_ppm, found.registered.jain_ppm) == (750_000, 250_000)
    assert (found.paid.gini_ppm, found.paid.jain_ppm) == (0, 1_000_000)
    for spread in (found.registered, found.paid):
        assert (spread.herfindahl_ppm, spread.top_percent_ppm) == (1_000_000, 1_000_000)
    assert found.paid.lorenz == ((0, 0), (1, 9))


def test_where_all_get_the_same_the_spread_is_even() -> None:
    spread = concentration([7] * 250)
    assert spread is not None
    assert (spread.gini_ppm, spread.jain_ppm, spread.herfindahl_ppm) == (0, 1_000_000, 4_000)
    assert (spread.top_percent_collectives, spread.top_percent_ppm) == (3, 12_000)
    assert all(point.amount_minor == 7 * point.collectives for point in spread.lorenz)


def test_a_curve_of_many_has_a_point_at_each_percent() -> None:
    spread = concentration(range(250))
    assert spread is not None
    assert len(spread.lorenz) == 101
    # 1% of 250 is 2.5: the 2 worst paid get 0 + 1, and all but the 3 best paid get 0 + ... + 246.
    assert spread.lorenz[1] == LorenzPoint(2, 1)
    assert spread.lorenz[-2:] == (LorenzPoint(247, 30_381), LorenzPoint(250, 31_125))
    assert spread.top_percent_ppm == 23_904  # 247 + 248 + 249 = 744 of 31,125, 0.0239036


def test_a_negative_amount_is_refused() -> None:
    with pytest.raises(ValueError, match="negative, got -1"):
        concentration([3, -1])


def test_the_pot_goes_to_the_commons_and_the_fee_in_part() -> None:
    lines = (line("a", 300, 100), line("b", 0, 100))
    found = fairness_report(a_round(*lines, fee=33, kept=50, carried=17), lines, ai_only_ppm=1, human_ai_ppm=1)
    assert found.fee_ppm == 55_000  # 33 of 600
    assert found.commons_ppm == 416_667  # 100 + 100 + 50 = 250 of 600


def test_usage_is_raw_and_money_is_by_the_policys_weights() -> None:
    found = report(line("a", 90, 5, ai_only=2, human_ai=1), line("b", 10, ai_only=4), human_ai_ppm=2_500_000)
    assert found.usage == ByMode(ai_only=6, human_ai=1)
    assert found.usage.human_ai_ppm == 142_857
    # a: 2.5 of 2 + 2.5 is 5/9 of 90; b has AI_ONLY alone; the commons is nobody's mode.
    assert found.attributed_minor == ByMode(ai_only=50, human_ai=50)
    assert found.attributed_minor.human_ai_ppm == 500_000


def test_a_mode_that_the_policy_does_not_count_gets_no_money() -> None:
    found = report(line("a", 90, ai_only=2, human_ai=1), ai_only_ppm=0)
    assert found.attributed_minor == ByMode(ai_only=0, human_ai=90)


def test_modes_are_rounded_once_over_all_lines() -> None:
    lines = [line(f"c{number}", 1, ai_only=2, human_ai=1) for number in range(300)]
    assert report(*lines).attributed_minor == ByMode(ai_only=200, human_ai=100)


def test_half_a_unit_goes_to_the_lower_mode() -> None:
    assert report(line("a", 1, ai_only=1, human_ai=1)).attributed_minor == ByMode(ai_only=1, human_ai=0)
    thirds = (line("a", 1, ai_only=2, human_ai=1), line("b", 1, ai_only=5, human_ai=1))
    assert report(*thirds).attributed_minor == ByMode(ai_only=2, human_ai=0)  # 1/3 + 1/6 is a half as well
    assert report(line("a", 1, ai_only=49, human_ai=51)).attributed_minor == ByMode(ai_only=0, human_ai=1)


def test_negative_weights_count_as_zero_and_money_without_a_mode_is_shown() -> None:
    lines = (line("a", 10, ai_only=-5, human_ai=3), line("b", 4, ai_only=-1, human_ai=-1), line("c", 2))
    found = report(*lines)
    assert found.usage == ByMode(ai_only=0, human_ai=3)
    assert found.attributed_minor == ByMode(ai_only=0, human_ai=10)
    assert found.undivided_minor == 6


def test_the_lines_of_another_round_are_refused() -> None:
    lines = (line("a", 10), line("b", 4, 3))
    for others in ((line("a", 11), line("b", 4, 3)), (line("a", 10), line("b", 7)), ()):
        with pytest.raises(ValueError, match="14 and 3"):
            fairness_report(a_round(*lines), others, ai_only_ppm=1, human_ai_ppm=1)


def test_figures_for_collectives_are_whole_percents_and_give_no_amount_away() -> None:
    """Over a hundred collectives or fewer, the exact curve has a point for each of them."""
    amounts = [7_919 * place**2 + 101 for place in range(1, 26)]
    exact = concentration(amounts)
    assert exact is not None
    modes = ByMode(2_345, 7_654)
    report = in_percents(FairnessReport(25, 25, exact, exact, 50_000, 100_000, modes, modes, 3))
    assert report.paid is not None
    steps = [later.amount_minor - point.amount_minor for point, later in pairwise(report.paid.lorenz)]
    whole = report.paid.amount_minor
    assert (len(steps), sum(steps), whole) == (25, sum(amounts), sum(amounts))
    assert not set(steps) & set(amounts)
    assert {point.amount_minor for point in report.paid.lorenz} <= {whole * percent // 100 for percent in range(101)}
    measures = (report.paid.gini_ppm, report.paid.top_percent_ppm, report.paid.herfindahl_ppm, report.paid.jain_ppm)
    assert not any(measure % 10_000 for measure in measures)
    assert (report.usage, report.attributed_minor) == (ByMode(23, 77), ByMode(23, 77))
    assert in_percents(FairnessReport(3, 0, None, None, None, None, ByMode(0, 0), ByMode(0, 0), 0)).paid is None
