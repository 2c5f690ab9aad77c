"""Periods: which one closes next, what its round distributes, and what it waits for.

A period closes by one round. The round's pot is the money received for periods up to it that no earlier round took, and
its weights are the usage of months up to it that no earlier round took: what comes late falls in the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from ledger.income import Period, ReportContent, month_of
from payout.calculation import Calculation, Closing, RoundInputs, calculate
from payout.entries import RoundContent
from payout.policy import Policy
from payout.rounds import Nothing
from payout.weights import UsageKey, UsageSum


@dataclass(frozen=True, slots=True)
class Taken:
    """The usage that posted rounds took: all before the leaf `since`; and of the leaves from there on that are before
    `end`, the months before `month`.
    """

    since: int = 0
    end: int = 0
    month: int = 0

    @classmethod
    def by(cls, posted: RoundContent | None) -> Taken:
        """Returns what was taken once this round was posted; nothing if there is none."""
        if posted is None:
            return cls()
        if not posted.period:
            return cls(posted.end, posted.end)
        return cls(posted.usage_start, posted.end, Period.parse(posted.period).end)


def period_end(content: RoundContent) -> int | None:
    """Returns the month after the period that a round closes, before which it takes usage; None without a period."""
    return Period.parse(content.period).end if content.period else None


@dataclass(frozen=True, slots=True)
class Reported:
    """What is left of a report. `end` is the month after its period, or 0 if it names none."""

    platform: str
    end: int
    left_minor: int

    @classmethod
    def of(cls, content: ReportContent, left_minor: int) -> Reported:
        """Returns a report of which so much is not reversed."""
        end = Period.parse(content.period).end if content.period else 0
        return cls(content.platform, end, left_minor)


@dataclass(frozen=True, slots=True)
class Books:
    """A pool's money in, as of the end of a round.

    Attributes:
        revenue_minor: the balance of the revenue.
        due_minor: what each platform reported and has not paid.
        reports: those that are not reversed as a whole.
        admitted: the platforms that may report, sorted.
        waived: periods and platforms of which no report is awaited.
    """

    revenue_minor: int
    due_minor: Mapping[str, int]
    reports: Sequence[Reported]
    admitted: Sequence[str]
    waived: AbstractSet[tuple[str, str]]

    def pot(self, before: int) -> int:
        """Returns what was received for periods that end at this month or before, and no round took; never below zero.

        What a platform paid counts for its oldest periods first, so what it paid for later ones is their reports less
        what is due.
        """
        later = sum(max(0, reported - self.due_minor.get(name, 0)) for name, reported in self._later(before).items())
        return max(0, self.revenue_minor - later)

    def missing(self, period: Period) -> list[str]:
        """Returns the platforms, waived ones included, of which a report of the period is missing or not received."""
        reporting = {each.platform for each in self.reports if each.end == period.end}
        later = self._later(period.end)
        return [
            name for name in self.admitted if name not in reporting or self.due_minor.get(name, 0) > later.get(name, 0)
        ]

    def awaited(self, period: Period) -> list[str]:
        """Returns those missing that nobody waived."""
        return [name for name in self.missing(period) if (str(period), name) not in self.waived]

    def _later(self, before: int) -> dict[str, int]:
        """What is left of each platform's reports of periods that end after a month."""
        found: dict[str, int] = {}
        for each in self.reports:
            if each.end > before:
                found[each.platform] = found.get(each.platform, 0) + each.left_minor
        return found


def next_period(policy: Policy, last: Period | None) -> Period | None:
    """Returns the period that closes after `last`, which is None if the last posted round was of no period.

    A policy of other periods than those before it begins at the next boundary that both have. None if the policy has
    no periods.
    """
    months = policy.period.months
    if not months:
        return None
    if last is None:
        return Period.parse(policy.period_from)
    return Period(last.end, last.months if last.end % months else months)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a round is not cut, which period it would close, and the platforms whose reports that one waits for."""

    because: Nothing
    period: str = ""
    platforms: tuple[str, ...] = ()


PeriodUsage = tuple[Mapping[UsageKey, UsageSum], tuple[int, int]]
"""Usage that no round took: the sums of the months before a period's end, and how many events and retractions in them
are of months before the period."""


def closing_round(
    inputs: RoundInputs, first: Period, books: Books, now: datetime, usage_of: Callable[[Period], PeriodUsage]
) -> tuple[Calculation, Waiting | None]:
    """Returns the round of the next period that closes, and why it is not cut yet, if so.

    A period of which nothing would be distributed passes without a round once the next one is over: what there is of it
    falls to that one.

    Args:
        inputs: all but pot, usage and period.
        first: the period that is next.
        books: the money in as of the end of the round.
        now: when the round is calculated.
        usage_of: the usage of a period.
    """
    period = first
    while True:
        waiting = _cannot_close(books, period, now)
        if not waiting and not books.pot(period.end):
            waiting = Waiting(Nothing.NO_MONEY, str(period))
        following = next_period(inputs.policy, period)
        is_last = following is None or month_of(now) < following.end
        if waiting and waiting.because is Nothing.NO_MONEY and not is_last and following:
            period = following
            continue
        made = calculate(_closing(inputs, period, books, usage_of(period)))
        nothing = made.content.nothing
        if not waiting and nothing:
            waiting = Waiting(nothing, str(period))
        if not waiting or is_last or following is None or waiting.because in _STOPS:
            return made, waiting
        period = following


_STOPS: Final = (Nothing.PERIOD_RUNS, Nothing.REPORTS_MISSING)


def _cannot_close(books: Books, period: Period, now: datetime) -> Waiting | None:
    if month_of(now) < period.end:
        return Waiting(Nothing.PERIOD_RUNS, str(period))
    if awaited := books.awaited(period):
        return Waiting(Nothing.REPORTS_MISSING, str(period), tuple(awaited))
    return None


def _closing(inputs: RoundInputs, period: Period, books: Books, found: PeriodUsage) -> RoundInputs:
    usage, late = found
    pot = books.pot(period.end)
    closing = Closing(
        period,
        late_events=late[0],
        late_retracted=late[1],
        late_minor=min(pot, books.pot(period.first)),
        waived=tuple(name for name in books.missing(period) if (str(period), name) in books.waived),
    )
    return replace(inputs, pot_minor=pot, usage=usage, closing=closing)
