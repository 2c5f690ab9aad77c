"""How evenly a round paid: the usual measures of concentration, and how much went to works that a person refined.

Everything is computed in whole numbers and rounded once, half up, to ppm, so it is the same on every machine. A
measure that would divide by zero is None: where nobody is paid, nothing is spread evenly or unevenly.

The measures use what a round allocates, both parts together, including what is held for a suspended collective.
Each is taken twice: over all registered collectives, and over the paid ones, whose amount is above zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Final, NamedTuple, Protocol

from ledger.registry import PPM
from payout.rounds import Line

LORENZ_STEPS: Final = 100
"""A Lorenz curve has at most one point more: a hundredth is as fine as a picture shows, and the top 1% has a point."""

PUBLIC_PAYEES_MIN: Final = 20
"""Payees that a round must have before anyone but operators and auditors sees how evenly it paid."""

_PART: Final = 10**18
"""Divisions of a minor unit, in which the modes' money is summed: with 10^9 collectives it is off by 10^-9 at most."""


class RoundFigures(Protocol):
    """The figures of a round in minor units, which both a Distribution and a RoundContent have."""

    @property
    def pot_minor(self) -> int: ...
    @property
    def fee_minor(self) -> int: ...
    @property
    def attributed_minor(self) -> int: ...
    @property
    def commons_minor(self) -> int: ...
    @property
    def commons_kept_minor(self) -> int: ...
    @property
    def carried_minor(self) -> int: ...
    @property
    def rounding_minor(self) -> int: ...


class LorenzPoint(NamedTuple):
    """Returns what the given number of worst paid collectives get together, exactly."""

    collectives: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class Concentration:
    """How an amount S > 0 is spread over n collectives, x[1] <= ... <= x[n], the sum of which is S.

    Attributes:
        gini_ppm: the Gini coefficient, `sum over i, j of |x[i] - x[j]| / (2 n S)`, of a whole population (no correction
            for small samples). 0 where all get the same, 1 - 1/n where one gets everything. C. Gini, *Variabilità e
            mutabilità*, 1912.
        lorenz: points of the Lorenz curve, from (0, 0) to (n, S): what the `n * p // 100` worst paid get, for each p
            from 0 to 100, or where n is at most 100, what the k worst paid get, for each k from 0 to n. Exact, so that
            the curve is convex to the last unit. M. O. Lorenz, *Methods of Measuring the Concentration of Wealth*,
            1905.
        top_percent_ppm: the part of S that the `ceil(n / 100)` best paid get, who are `top_percent_collectives`; the
            last step of the curve.
        herfindahl_ppm: the Herfindahl-Hirschman index, `sum of (x[i] / S)^2`. A hundredth of it is the index in points,
            where 10,000 is one payee; 1 over it is the number of equal payees that would be as concentrated. A. O.
            Hirschman, *National Power and the Structure of Foreign Trade*, 1945; O. C. Herfindahl, *Concentration in
            the U.S. Steel Industry*, 1950.
        jain_ppm: Jain's fairness index, `S^2 / (n * sum of x[i]^2)`: 1 where all get the same, 1/n where one gets
            everything. R. Jain, D. Chiu and W. Hawe, *A Quantitative Measure of Fairness and Discrimination for
            Resource Allocation in Shared Computer Systems*, DEC-TR-301, 1984.
    """

    collectives: int
    amount_minor: int
    gini_ppm: int
    top_percent_collectives: int
    top_percent_ppm: int
    herfindahl_ppm: int
    jain_ppm: int
    lorenz: tuple[LorenzPoint, ...]

    def lorenz_ppm(self) -> tuple[tuple[int, int], ...]:
        """Returns the points as ppm of the collectives and ppm of the amount, each rounded half up."""
        return tuple(
            (_rounded(point.collectives * PPM, self.collectives), _rounded(point.amount_minor * PPM, self.amount_minor))
            for point in self.lorenz
        )


@dataclass(frozen=True, slots=True)
class ByMode:
    """A quantity by the mode of the works that it came from."""

    ai_only: int
    human_ai: int

    @property
    def human_ai_ppm(self) -> int | None:
        """The part of works that a person refined, half up; None if both are zero."""
        return share_ppm(self.human_ai, self.ai_only + self.human_ai)


@dataclass(frozen=True, slots=True)
class FairnessReport:
    """How evenly a round paid.

    Attributes:
        registered: over all collectives; None if nobody is paid.
        paid: over the payees; None if nobody is paid.
        fee_ppm: of the pot; None if the pot is empty.
        commons_ppm: of the pot, what was paid out of the commons and what the fund kept; None if the pot is empty.
        usage: the attributed weight by mode, raw: nano-units, before confidence, mode multipliers and tempering. What
            is not attributed is in no line of a statement, and so not in here.
        attributed_minor: the attributed money by mode; the commons has none. A collective's attributed amount belongs
            to the modes in proportion to `mode_ppm * raw weight`, whatever tempering, floor and cap made of its claim.
            These parts are summed over the collectives, each HUMAN_AI part taken down to 10^-18 of a minor unit, and
            only the two sums are rounded, by largest remainder, a tie to AI_ONLY: rounded line by line, a round of many
            small amounts would lose its smaller mode. A line's weights are over all methods, so this is exact where a
            collective's usage has one confidence, and an estimate where it has several.
        undivided_minor: the attributed money of collectives without a weight that counts in any mode, which only
            corrections under several methods can bring about. Always `attributed_minor.ai_only +
            attributed_minor.human_ai + undivided_minor` is what the round attributed.
    """

    collectives: int
    payees: int
    registered: Concentration | None
    paid: Concentration | None
    fee_ppm: int | None
    commons_ppm: int | None
    usage: ByMode
    attributed_minor: ByMode
    undivided_minor: int


def in_percents(report: FairnessReport) -> FairnessReport:
    """The same in whole percents, half up, for those who must not learn what another collective gets.

    A Lorenz curve of exact amounts, over a hundred collectives or fewer, says what each of them gets.
    """
    return replace(
        report,
        registered=_concentration_in_percents(report.registered),
        paid=_concentration_in_percents(report.paid),
        usage=_mode_in_percents(report.usage),
        attributed_minor=_mode_in_percents(report.attributed_minor),
        undivided_minor=0,
    )


def _concentration_in_percents(found: Concentration | None) -> Concentration | None:
    if found is None:
        return None
    whole = found.amount_minor
    points = [
        LorenzPoint(point.collectives, _whole_percent(point.amount_minor, whole) * whole // 100)
        for point in found.lorenz
    ]
    measures = {
        name: _whole_percent(getattr(found, name), PPM) * PPM // 100
        for name in ("gini_ppm", "top_percent_ppm", "herfindahl_ppm", "jain_ppm")
    }
    return replace(found, lorenz=tuple(points), **measures)


def _mode_in_percents(found: ByMode) -> ByMode:
    """The two parts of a sum of 100."""
    if not found.ai_only + found.human_ai:
        return found
    percent = _whole_percent(found.human_ai, found.ai_only + found.human_ai)
    return ByMode(100 - percent, percent)


def _whole_percent(part: int, whole: int) -> int:
    return _rounded(100 * part, whole)


def fairness_report(
    figures: RoundFigures, lines: Sequence[Line], *, ai_only_ppm: int, human_ai_ppm: int
) -> FairnessReport:
    """Returns the report on a round, from its figures and its statement's lines.

    `ai_only_ppm` and `human_ai_ppm` are the mode multipliers of the round's policy. The order of the lines does not
    matter. A negative weight, as corrections may leave it, counts as zero.

    Raises:
        ValueError: the lines do not add up to the figures, so they are another round's.
    """
    require_matching(figures, lines)
    amounts = sorted(line.amount_minor for line in lines)
    payees = len(amounts) - amounts.count(0)
    attributed, undivided = _money_by_mode(lines, ai_only_ppm, human_ai_ppm)
    return FairnessReport(
        collectives=len(amounts),
        payees=payees,
        registered=concentration(amounts),
        paid=concentration(amounts[len(amounts) - payees :]),
        fee_ppm=share_ppm(figures.fee_minor, figures.pot_minor),
        commons_ppm=share_ppm(figures.commons_minor + figures.commons_kept_minor, figures.pot_minor),
        usage=ByMode(
            ai_only=sum(max(line.weight_ai_only, 0) for line in lines),
            human_ai=sum(max(line.weight_human_ai, 0) for line in lines),
        ),
        attributed_minor=attributed,
        undivided_minor=undivided,
    )


def concentration(amounts_minor: Iterable[int]) -> Concentration | None:
    """Returns how amounts are spread, in any order; None if they add up to zero. O(n log n).

    Raises:
        ValueError: an amount is negative: the measures would leave their bounds.
    """
    amounts = sorted(amounts_minor)
    count = len(amounts)
    if count and amounts[0] < 0:
        raise ValueError(f"amounts must not be negative, got {amounts[0]}")
    cumulative = [0, *accumulate(amounts)]
    total = cumulative[-1]
    if not total:
        return None
    squares = sum(amount * amount for amount in amounts)
    steps = min(count, LORENZ_STEPS)
    best_paid = -(-count // LORENZ_STEPS)
    return Concentration(
        collectives=count,
        amount_minor=total,
        # The double sum over pairs, with the amounts in order, is twice (n + 1) S less four times the sum of the curve.
        gini_ppm=_rounded(((count + 1) * total - 2 * sum(cumulative)) * PPM, count * total),
        top_percent_collectives=best_paid,
        top_percent_ppm=_rounded((total - cumulative[count - best_paid]) * PPM, total),
        herfindahl_ppm=_rounded(squares * PPM, total * total),
        jain_ppm=_rounded(total * total * PPM, count * squares),
        lorenz=tuple(LorenzPoint(k, cumulative[k]) for k in (count * step // steps for step in range(steps + 1))),
    )


def share_ppm(part: int, whole: int) -> int | None:
    """Returns a part of a whole in ppm, half up; None if the whole is zero. Both are not negative."""
    return _rounded(part * PPM, whole) if whole else None


def _rounded(numerator: int, denominator: int) -> int:
    """Returns the nearest whole number, a half rounded up."""
    return (2 * numerator + denominator) // (2 * denominator)


def require_matching(figures: RoundFigures, lines: Sequence[Line]) -> None:
    """Check that a round's lines add up to its figures.

    Raises:
        ValueError: the lines do not add up to the figures.
    """
    attributed = sum(line.attributed_minor for line in lines)
    commons = sum(line.commons_minor for line in lines)
    if (attributed, commons) != (figures.attributed_minor, figures.commons_minor):
        raise ValueError(
            f"the lines add up to {attributed} attributed and {commons} of the commons, "
            f"the round has {figures.attributed_minor} and {figures.commons_minor}"
        )


def _money_by_mode(lines: Sequence[Line], ai_only_ppm: int, human_ai_ppm: int) -> tuple[ByMode, int]:
    """Returns the attributed money by mode, and what cannot be divided, in minor units."""
    divided = human_ai_parts = undivided = 0
    for line in lines:
        amount = line.attributed_minor
        if amount:
            human_ai = human_ai_ppm * max(line.weight_human_ai, 0)
            both = human_ai + ai_only_ppm * max(line.weight_ai_only, 0)
            if both:
                divided += amount
                human_ai_parts += amount * human_ai * _PART // both
            else:
                undivided += amount
    # Largest remainder between two is the nearest whole number; a half goes down, and so to AI_ONLY.
    human_ai_minor = (2 * human_ai_parts + _PART - 1) // (2 * _PART)
    return ByMode(ai_only=divided - human_ai_minor, human_ai=human_ai_minor), undivided
