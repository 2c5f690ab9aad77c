"""Tariffs: what a pool's terms say that a platform owes for a period. Nothing is collected by them.

A tariff is for one platform, or for all that have none of their own. What is due is the largest of a share of the
income that the platform declares, an amount for its usage, and a minimum; next to it stands what the platform reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from ledger.acts.act import ActContent
from ledger.acts.controls import Kind
from ledger.income import Period
from ledger.log.leaves import DecimalInt
from ledger.money import MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR
from ledger.registry import PPM, require_range, require_resource_id
from payout.policy import FIRST_MONTH

MAX_RATE_UNITS: Final = 10**15
"""Below 2^53, so that every reader of JSON gets it right."""


class TariffContent(ActContent):
    """What is due of a platform was set, or of all platforms that have no tariff of their own.

    It holds for the periods from `period_from` on, and for these alone: months, quarters or years, as that one is. The
    latest one for a platform replaces those before it from its first period on.
    """

    type: ClassVar[str] = "tariff.v1"
    kind: ClassVar[Kind | None] = Kind.TERMS

    platform: str
    """Its id; empty for all that have no tariff of their own."""
    version: int
    """Counts up from 1 for each platform, and for the one of all others."""
    period_from: str
    share_ppm: int
    """The share of the declared income, in millionths."""
    rate_minor: DecimalInt
    """The amount for each `rate_units` units of usage; both are 0 where usage costs nothing."""
    rate_units: int
    minimum_minor: DecimalInt
    """The least that is due for a period."""

    @property
    def first(self) -> Period:
        """The first period that it holds for."""
        return Period.parse(self.period_from, "tariff.period_from")

    def require_sound(self) -> TariffContent:
        """Returns the tariff if it is valid.

        Raises:
            InvalidInputError: a field is out of bounds; the error names it.
        """
        if self.platform:
            require_resource_id(self.platform, "tariff.platform")
        require_range(self.first.first, "tariff.period_from", FIRST_MONTH, 12 * 9999)
        require_range(self.share_ppm, "tariff.share_ppm", 0, PPM)
        require_range(self.rate_minor, "tariff.rate_minor", 0, MAX_AMOUNT_MINOR)
        least, most = (1, MAX_RATE_UNITS) if self.rate_minor else (0, 0)
        require_range(self.rate_units, "tariff.rate_units", least, most)
        require_range(self.minimum_minor, "tariff.minimum_minor", 0, MAX_AMOUNT_MINOR)
        return self


def tariff_for(tariffs: Iterable[TariffContent], platform: str, period: Period) -> TariffContent | None:
    """Returns the tariff by which a platform's period is judged: its own before the one of all; None if there is none.

    It may be by longer or shorter periods. Then it says nothing of this one.
    """
    begun = [each for each in tariffs if each.platform in ("", platform) and each.first.first <= period.first]
    return max(begun, key=lambda each: (bool(each.platform), each.version), default=None)


@dataclass(frozen=True, slots=True)
class ReportLeft:
    """A report as far as tariffs ask: what is left of it, and the income that it declares, if it does."""

    left_minor: int
    income_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Reports:
    """What a platform's reports say together.

    Attributes:
        reported_minor: what they report, less what was taken back.
        income_minor: the income that they declare; None if none of them declares any.
    """

    reported_minor: int = 0
    income_minor: int | None = None

    @classmethod
    def of(cls, reports: Collection[ReportLeft]) -> Reports:
        """Returns the sums of reports of which something is left: one that was taken back whole declares nothing."""
        incomes = [each.income_minor for each in reports if each.income_minor is not None]
        reported = _bounded(sum(each.left_minor for each in reports))
        return cls(reported, _bounded(sum(incomes)) if incomes else None)


def _bounded(amount_minor: int) -> int:
    """No platform can declare so often that the sum fits in no message."""
    return min(amount_minor, MAX_BALANCE_MINOR)


@dataclass(frozen=True, slots=True)
class Due:
    """What a tariff says of a platform's period, in minor units; fractions are left away.

    Attributes:
        share_minor: the share of the declared income; None where no income is declared.
        usage_minor: the amount for usage.
        minimum_minor: the minimum.
    """

    share_minor: int | None
    usage_minor: int
    minimum_minor: int

    @property
    def due_minor(self) -> int:
        """The largest of the three."""
        return max(self.share_minor or 0, self.usage_minor, self.minimum_minor)


def due_under(tariff: TariffContent, income_minor: int | None, units: int) -> Due:
    """Returns what is due for a period in which a platform declared an income, and had units of usage."""
    share = None if income_minor is None else income_minor * tariff.share_ppm // PPM
    usage = _bounded(units * tariff.rate_minor // tariff.rate_units) if tariff.rate_units else 0
    return Due(share, usage, tariff.minimum_minor)


@dataclass(frozen=True, slots=True)
class PlatformDue:
    """A platform's period: what it had and reported, and what is due.

    Attributes:
        units: its units of usage in these months, less those that were retracted.
        tariff: the one by which the period is judged; None if there is none.
        due: None without a tariff, and under one that is by longer or shorter periods.
    """

    platform: str
    period: Period
    units: int
    reports: Reports
    tariff: TariffContent | None
    due: Due | None

    @classmethod
    def of(
        cls,
        platform: str,
        period: Period,
        tariffs: Iterable[TariffContent],
        reports: Collection[ReportLeft],
        units: int,
    ) -> PlatformDue:
        """Returns what is due of a platform for a period; `reports` are its own, of the period or of periods in it."""
        said = Reports.of(reports)
        tariff = tariff_for(tariffs, platform, period)
        judged = tariff is not None and tariff.first.months == period.months
        due = due_under(tariff, said.income_minor, units) if tariff and judged else None
        return cls(platform, period, _bounded(units), said, tariff, due)

    @property
    def short_minor(self) -> int | None:
        """What is due less what was reported, below zero where more was reported; None where no tariff says."""
        return None if self.due is None else self.due.due_minor - self.reports.reported_minor


@dataclass(frozen=True, slots=True)
class Admitted:
    """That a platform was admitted to the pool in a month, or its admission ended in it."""

    platform: str
    month: int
    admitted: bool


def present_in(admissions: Sequence[Admitted], period: Period) -> set[str]:
    """Returns the platforms that were admitted at some time of a period; `admissions` are in the order of the log."""
    found = set[str]()
    last = dict[str, Admitted]()
    for each in admissions:
        before = last.get(each.platform)
        if before and before.admitted and before.month < period.end and each.month >= period.first:
            found.add(each.platform)
        last[each.platform] = each
    return found | {name for name, each in last.items() if each.admitted and each.month < period.end}
