"""What is due of a platform under the pool's tariffs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from ledger.errors import InvalidInputError
from ledger.income import Period
from ledger.money import MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR
from payout.tariffs import (
    Admitted,
    Due,
    PlatformDue,
    ReportLeft,
    Reports,
    TariffContent,
    due_under,
    present_in,
    tariff_for,
)

JANUARY: Final = Period.parse("2026-01")


def tariff(platform: str = "", version: int = 1, period_from: str = "2026-01", **terms: Any) -> TariffContent:
    nothing = {"share_ppm": 0, "rate_minor": 0, "rate_units": 0, "minimum_minor": 0}
    return TariffContent(platform=platform, version=version, period_from=period_from, **{**nothing, **terms})


FULL: Final = tariff(share_ppm=25_000, rate_minor=7, rate_units=1_000, minimum_minor=100)


@pytest.mark.parametrize(
    ("income", "units", "due"),
    [
        (None, 0, Due(None, 0, 100)),
        (8_000, 2_000, Due(200, 14, 100)),
        (8_039, 100_142, Due(200, 700, 100)),
        (8_040, 100_143, Due(201, 701, 100)),
        (0, 14_000, Due(0, 98, 100)),
        (MAX_AMOUNT_MINOR, 0, Due(25 * 10**12, 0, 100)),
    ],
)
def test_the_largest_of_share_usage_and_minimum_is_due(income: int | None, units: int, due: Due) -> None:
    assert due_under(FULL, income, units) == due
    assert due.due_minor == max(due.share_minor or 0, due.usage_minor, 100)


def test_a_tariff_of_nothing_asks_for_nothing() -> None:
    assert due_under(tariff(), 5_000, 10**9).due_minor == 0


def test_no_figure_passes_what_a_message_holds() -> None:
    dear = tariff(rate_minor=MAX_AMOUNT_MINOR, rate_units=1)
    assert due_under(dear, None, 10**9).due_minor == MAX_BALANCE_MINOR
    assert Reports.of([ReportLeft(1, MAX_AMOUNT_MINOR)] * 10_000) == Reports(10_000, MAX_BALANCE_MINOR)


def test_a_platform_is_judged_by_its_own_latest_tariff_that_has_begun() -> None:
    general = tariff(minimum_minor=1)
    raised = tariff(version=2, period_from="2026-06", minimum_minor=2)
    own = tariff("acme", period_from="2026-03", minimum_minor=3)
    corrected = tariff("acme", version=2, period_from="2026-02", minimum_minor=4)
    found = {
        name: [tariff_for([general, raised, own, corrected], name, Period.parse(month)) for month in MONTHS]
        for name in ("acme", "zen")
    }
    assert found["zen"] == [None, general, general, general, raised]
    assert found["acme"] == [None, general, corrected, corrected, corrected]


MONTHS: Final = ("2025-12", "2026-01", "2026-02", "2026-03", "2026-07")


def test_a_tariff_says_nothing_of_longer_or_shorter_periods() -> None:
    both = [tariff(minimum_minor=1), tariff(version=2, period_from="2026-Q2", minimum_minor=2)]
    found = {
        name: PlatformDue.of("acme", Period.parse(name), both, [], 0).due
        for name in ("2026-03", "2026-Q1", "2026-04", "2026-Q2")
    }
    assert found == {"2026-03": Due(None, 0, 1), "2026-Q1": None, "2026-04": None, "2026-Q2": Due(None, 0, 2)}


def test_the_difference_is_what_is_due_less_what_is_reported() -> None:
    reports = [ReportLeft(40, 3_000), ReportLeft(30), ReportLeft(20, 1_000)]
    found = PlatformDue.of("acme", JANUARY, [FULL], reports, 0)
    assert found.reports == Reports(90, 4_000)
    assert (found.due, found.short_minor) == (Due(100, 0, 100), 10)
    more = PlatformDue.of("acme", JANUARY, [FULL], [*reports, ReportLeft(60)], 0)
    assert more.short_minor == -50
    assert PlatformDue.of("acme", JANUARY, [], reports, 0).short_minor is None


@pytest.mark.parametrize(
    ("field", "terms"),
    [
        ("share_ppm", {"share_ppm": 1_000_001}),
        ("share_ppm", {"share_ppm": -1}),
        ("rate_minor", {"rate_minor": -1, "rate_units": 1}),
        ("rate_minor", {"rate_minor": MAX_AMOUNT_MINOR + 1, "rate_units": 1}),
        ("rate_units", {"rate_minor": 1}),
        ("rate_units", {"rate_minor": 1, "rate_units": -1}),
        ("rate_units", {"rate_minor": 1, "rate_units": 10**15 + 1}),
        ("rate_units", {"rate_units": 1}),
        ("minimum_minor", {"minimum_minor": -1}),
        ("minimum_minor", {"minimum_minor": MAX_AMOUNT_MINOR + 1}),
        ("period_from", {"period_from": "1969-12"}),
        ("period_from", {"period_from": "2026-13"}),
        ("platform", {"platform": "A B"}),
    ],
)
def test_a_tariff_out_of_bounds_is_refused_by_its_field(field: str, terms: dict[str, Any]) -> None:
    assert FULL.require_sound() == FULL
    with pytest.raises(InvalidInputError) as caught:
        tariff(**terms).require_sound()
    assert caught.value.violations[0].field == f"tariff.{field}"


def test_who_was_admitted_at_some_time_of_a_period_was_there() -> None:
    steps = [
        ("acme", "2025-11", True), ("zen", "2026-01", True), ("acme", "2026-01", False), ("zen", "2026-01", False),
        ("acme", "2026-02", True), ("tidy", "2026-02", True),
    ]  # fmt: skip
    admissions = [Admitted(name, Period.parse(month).first, admitted) for name, month, admitted in steps]
    found = {month: present_in(admissions, Period.parse(month)) for month in ("2025-10", "2025-12", *MONTHS[1:3])}
    assert found == {
        "2025-10": set(), "2025-12": {"acme"}, "2026-01": {"acme", "zen"}, "2026-02": {"acme", "tidy"},
    }  # fmt: skip


def test_the_example_of_the_page_is_what_the_tariff_gives() -> None:
    page = (Path(__file__).parents[3] / "docs" / "distribution.md").read_text()
    section = page.partition("\n## Tariffs\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line][2:]
    terms = tariff(share_ppm=20_000, rate_minor=50, rate_units=1_000, minimum_minor=10_000)

    def minor(cell: str) -> int | None:
        return None if cell == "-" else int(cell.replace(",", "").replace(".", ""))

    assert len(rows) == 3
    for name, income, units, share, usage, minimum, due, reported, difference in rows:
        found = PlatformDue.of(
            name, JANUARY, [terms], [ReportLeft(minor(reported) or 0, minor(income))], int(units.replace(",", ""))
        )
        assert found.due == Due(minor(share), minor(usage) or 0, minor(minimum) or 0)
        assert (found.due.due_minor, found.short_minor) == (minor(due), minor(difference))
