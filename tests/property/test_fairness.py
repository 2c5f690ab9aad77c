"""The fairness report by what its measures are known to hold, and against numpy in floating point."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ledger.registry import PPM, CollectiveStatus
from payout.fairness import Concentration, FairnessReport, concentration, fairness_report
from payout.rounds import Distribution, Line

small_amounts = st.integers(0, 5)
any_amounts = small_amounts | st.integers(0, 10**15)
populations = st.lists(small_amounts, min_size=1, max_size=300) | st.lists(any_amounts, min_size=1, max_size=300)
few = st.lists(any_amounts, min_size=1, max_size=100)
weights = st.integers(-3, 5) | st.integers(-(2**90), 2**90)
multipliers = st.integers(0, 3) | st.integers(0, 10 * PPM)


@st.composite
def statements(draw: st.DrawFn) -> list[Line]:
    rows = draw(st.lists(st.tuples(weights, weights, any_amounts, any_amounts), max_size=12))
    return [
        Line(
            collective=f"c{number}",
            status=CollectiveStatus.ACTIVE,
            events=1,
            weight_ai_only=ai_only,
            weight_human_ai=human_ai,
            deficit_before=0,
            weight=0,
            deficit_after=0,
            attributed_minor=attributed,
            commons_minor=commons,
        )
        for number, (ai_only, human_ai, attributed, commons) in enumerate(rows)
    ]


def spread_of(amounts: list[int]) -> Concentration:
    spread = concentration(amounts)
    assume(spread is not None)
    assert spread is not None
    return spread


def report_of(
    lines: list[Line], *, ai_only_ppm: int = PPM, human_ai_ppm: int = PPM, fee: int = 0, kept: int = 0, carried: int = 0
) -> FairnessReport:
    attributed, commons = sum(line.attributed_minor for line in lines), sum(line.commons_minor for line in lines)
    figures = Distribution(
        events=0,
        retracted=0,
        weight=0,
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
        lines=tuple(lines),
    )
    return fairness_report(figures, lines, ai_only_ppm=ai_only_ppm, human_ai_ppm=human_ai_ppm)


def half_up(value: Fraction) -> int:
    return (value * PPM + Fraction(1, 2)).__floor__()


def curve_at(spread: Concentration, part: Fraction) -> Fraction:
    """The Lorenz curve between its points, as parts of a whole."""
    points = [
        (Fraction(point.collectives, spread.collectives), Fraction(point.amount_minor, spread.amount_minor))
        for point in spread.lorenz
    ]
    for (x1, y1), (x2, y2) in pairwise(points):
        if x1 <= part <= x2:
            return y1 + (y2 - y1) * (part - x1) / (x2 - x1)
    raise AssertionError(part)


def twice_the_area_above(spread: Concentration) -> Fraction:
    """Twice the area between equality and the straight lines between the curve's points, of a square of one."""
    below = [
        Fraction(after.collectives - before.collectives, spread.collectives)
        * Fraction(after.amount_minor + before.amount_minor, spread.amount_minor)
        for before, after in pairwise(spread.lorenz)
    ]
    return 1 - sum(below, Fraction(0))


@given(populations)
def test_every_measure_is_a_part_of_one(amounts: list[int]) -> None:
    """Rules: Gini is at most 1 - 1/n; Jain and Herfindahl at least 1/n; the top 1% get their part at least."""
    spread = spread_of(amounts)
    least = half_up(Fraction(1, len(amounts)))
    assert 0 <= spread.gini_ppm <= half_up(1 - Fraction(1, len(amounts)))
    assert least <= spread.jain_ppm <= PPM
    assert least <= spread.herfindahl_ppm <= PPM
    assert half_up(Fraction(spread.top_percent_collectives, len(amounts))) <= spread.top_percent_ppm <= PPM


@given(populations, st.data(), st.integers(1, 10**6))
def test_neither_the_order_nor_the_unit_matters(amounts: list[int], data: st.DataObject, factor: int) -> None:
    """Rules: symmetry and scale invariance, to the last digit."""
    spread = spread_of(amounts)
    scaled = spread_of([amount * factor for amount in data.draw(st.permutations(amounts))])
    for name in ("gini_ppm", "jain_ppm", "herfindahl_ppm", "top_percent_ppm"):
        assert getattr(scaled, name) == getattr(spread, name)
    assert scaled.lorenz == tuple((point.collectives, point.amount_minor * factor) for point in spread.lorenz)


@given(few, st.integers(2, 12))
@example([1, 2], 12)
@example([0] * 99 + [1], 12)
def test_replication_changes_neither_gini_nor_the_curve(amounts: list[int], times: int) -> None:
    """Rule: Dalton's principle of population; the Herfindahl index alone falls, by the number of copies."""
    spread = spread_of(amounts)
    replicated = spread_of(amounts * times)
    assert replicated.gini_ppm == spread.gini_ppm
    assert replicated.jain_ppm == spread.jain_ppm
    assert abs(replicated.herfindahl_ppm * times - spread.herfindahl_ppm) <= times
    for point in replicated.lorenz:
        amount = Fraction(point.amount_minor, replicated.amount_minor)
        assert amount == curve_at(spread, Fraction(point.collectives, replicated.collectives))


@given(populations)
def test_the_curve_is_convex_and_monotone_from_nothing_to_everything(amounts: list[int]) -> None:
    """Rule: x[1] <= ... <= x[n], so that every step of the curve is at least as steep as the one before."""
    spread = spread_of(amounts)
    assert spread.lorenz[0] == (0, 0)
    assert spread.lorenz[-1] == (len(amounts), sum(amounts))
    assert len(spread.lorenz) == min(len(amounts), 100) + 1
    steps = [
        (after.collectives - before.collectives, after.amount_minor - before.amount_minor)
        for before, after in pairwise(spread.lorenz)
    ]
    assert all(width > 0 and rise >= 0 for width, rise in steps)
    assert all(rise * next_width <= next_rise * width for (width, rise), (next_width, next_rise) in pairwise(steps))
    assert all(amount <= part for part, amount in spread.lorenz_ppm())


@given(populations)
def test_the_last_step_of_the_curve_is_the_top_percent(amounts: list[int]) -> None:
    """Rule: the `ceil(n / 100)` best paid."""
    spread = spread_of(amounts)
    before = spread.lorenz[-2]
    assert spread.collectives - before.collectives == spread.top_percent_collectives == -(-len(amounts) // 100)
    assert half_up(1 - Fraction(before.amount_minor, spread.amount_minor)) == spread.top_percent_ppm


@given(few)
def test_gini_is_twice_the_area_between_the_curve_and_equality(amounts: list[int]) -> None:
    """Rule: Gini 1914, on Lorenz 1905; exact where the curve has all its points."""
    spread = spread_of(amounts)
    assert spread.gini_ppm == half_up(twice_the_area_above(spread))


@given(st.lists(any_amounts, min_size=101, max_size=400))
def test_gini_of_many_is_the_area_of_the_drawn_curve_but_for_a_step(amounts: list[int]) -> None:
    """Rule: straight lines over a convex curve lose at most half of each step's rectangle."""
    spread = spread_of(amounts)
    missing = Fraction(spread.gini_ppm, PPM) - twice_the_area_above(spread)
    assert -Fraction(1, PPM) <= missing <= Fraction(1, 100) + Fraction(1, len(amounts)) + Fraction(1, PPM)


@given(populations)
def test_jain_is_one_over_n_times_herfindahl(amounts: list[int]) -> None:
    """Rule: S^2 / (n * squares), against squares / S^2."""
    spread = spread_of(amounts)
    squares = sum(amount * amount for amount in amounts)
    herfindahl = Fraction(squares, sum(amounts) ** 2)
    assert spread.herfindahl_ppm == half_up(herfindahl)
    assert spread.jain_ppm == half_up(1 / (len(amounts) * herfindahl))


@given(populations)
def test_numpy_agrees_in_floating_point(amounts: list[int]) -> None:
    """Oracle: the definitions as they stand in the literature, in float64."""
    spread = spread_of(amounts)
    values = np.array(amounts, dtype=np.float64)
    shares = np.sort(values) / values.sum()
    gini = np.abs(values[:, None] - values[None, :]).mean() / (2 * values.mean())
    top = shares[-spread.top_percent_collectives :].sum()
    jain = values.mean() ** 2 / (values**2).mean()
    expected = [gini, (shares**2).sum(), jain, top]
    found = [spread.gini_ppm, spread.herfindahl_ppm, spread.jain_ppm, spread.top_percent_ppm]
    assert found == pytest.approx([PPM * measure for measure in expected], abs=0.6)
    curve = np.concatenate([[0.0], np.cumsum(shares)])
    at = [point.collectives for point in spread.lorenz]
    assert [amount for _, amount in spread.lorenz_ppm()] == pytest.approx(list(PPM * curve[at]), abs=0.6)


@given(statements(), multipliers, multipliers)
def test_the_modes_money_adds_up_and_is_half_a_unit_off_at_most(lines: list[Line], ai_only: int, human_ai: int) -> None:
    """Rule: "in proportion to `mode_ppm * raw weight`", and only the two sums are rounded."""
    report = report_of(lines, ai_only_ppm=ai_only, human_ai_ppm=human_ai)
    exact = {"ai_only": Fraction(0), "human_ai": Fraction(0)}
    undivided = 0
    for line in lines:
        counted = {
            "ai_only": ai_only * max(line.weight_ai_only, 0),
            "human_ai": human_ai * max(line.weight_human_ai, 0),
        }
        both = sum(counted.values())
        undivided += 0 if both else line.attributed_minor
        for mode in exact:
            exact[mode] += Fraction(line.attributed_minor * counted[mode], both or 1)
    by_mode = report.attributed_minor
    assert report.undivided_minor == undivided
    assert by_mode.ai_only + by_mode.human_ai + undivided == sum(line.attributed_minor for line in lines)
    assert abs(by_mode.human_ai - exact["human_ai"]) <= Fraction(1, 2) + Fraction(1, 10**16)
    assert abs(by_mode.ai_only - exact["ai_only"]) <= Fraction(1, 2) + Fraction(1, 10**16)
    assert by_mode.ai_only >= 0
    assert by_mode.human_ai >= 0


@given(statements(), multipliers, multipliers, st.data())
def test_the_order_of_the_lines_does_not_matter(
    lines: list[Line], ai_only: int, human_ai: int, data: st.DataObject
) -> None:
    """Rule: "The order of the lines does not matter"."""
    permuted = data.draw(st.permutations(lines))
    found = report_of(permuted, ai_only_ppm=ai_only, human_ai_ppm=human_ai)
    assert found == report_of(lines, ai_only_ppm=ai_only, human_ai_ppm=human_ai)


@given(statements(), any_amounts, any_amounts, any_amounts)
def test_shares_of_the_pot_are_parts_of_one(lines: list[Line], fee: int, kept: int, carried: int) -> None:
    """Rule: `pot == fee + attributed + commons + kept + carried`, so no two parts pass one."""
    report = report_of(lines, fee=fee, kept=kept, carried=carried)
    pot = fee + kept + carried + sum(line.amount_minor for line in lines)
    if pot:
        assert report.fee_ppm == half_up(Fraction(fee, pot))
        assert report.commons_ppm == half_up(Fraction(kept + sum(line.commons_minor for line in lines), pot))
        assert report.fee_ppm + report.commons_ppm <= PPM + 1
    else:
        assert report.fee_ppm is None
        assert report.commons_ppm is None


@given(statements())
def test_the_two_populations_are_those_of_the_lines(lines: list[Line]) -> None:
    """Rule: "over all registered collectives, and over the paid ones, whose amount is above zero"."""
    report = report_of(lines)
    amounts = [line.amount_minor for line in lines]
    assert (report.collectives, report.payees) == (len(amounts), sum(amount > 0 for amount in amounts))
    assert report.registered == concentration(amounts)
    assert report.paid == concentration(filter(None, amounts))
    if report.registered and report.paid:
        assert report.paid.gini_ppm <= report.registered.gini_ppm
        assert report.paid.herfindahl_ppm == report.registered.herfindahl_ppm
