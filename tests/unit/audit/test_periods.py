"""What a log says of periods, tampered with: whoever replays it finds what does not follow."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import pytest

from ledger.acts.entries import Decision
from ledger.income import WaiverContent
from ledger.registry import NANO, Collective
from ledger.usage.format import AI_ONLY
from payout.entries import RoundContent
from payout.policy import Periods, Policy
from payout.rounds import Nothing
from tests.support.batches import Event, event_id
from tests.support.pool_log import PoolLog

MONTHLY: Final = Policy(period=Periods.MONTH, period_from="2026-01")


def in_month(number: int, month: int) -> Event:
    occurred = round(datetime(2026, month, 15, tzinfo=UTC).timestamp()) * 1_000_000
    return Event(event_id(number), None, occurred, 10, AI_ONLY, (("eire", NANO),))


def settle(log: PoolLog) -> int:
    index = log.calculate()
    assert index >= 0, log.waiting
    log.decide(Decision.APPROVED, "policy")
    log.post()
    return index


@pytest.fixture
def log() -> PoolLog:
    """January and February, each closed, with something late in the second; of `zen` nothing is awaited."""
    made = PoolLog(collectives=[Collective("eire", "E"), Collective("han", "H")])
    made.now = datetime(2026, 2, 2, tzinfo=UTC)
    made.open(MONTHLY, "RECEIVED")
    made.method(1_000_000)
    january = made.usage([in_month(1, 1), in_month(2, 2), in_month(3, 1)])
    made.report(1_000, "acme", "2026-01")
    made.receipt(1_000)
    made.waive("2026-01", "zen")
    settle(made)
    made.usage([in_month(4, 1), in_month(5, 2), in_month(6, 3)])
    made.retract(january, [2])
    made.report(50, "acme", "2026-01")
    made.report(500, "acme", "2026-02")
    made.report(400, "acme", "2026-03")
    made.receipt(700)
    made.waive("2026-02", "zen")
    made.now = datetime(2026, 3, 2, tzinfo=UTC)
    settle(made)
    return made


def round_at(log: PoolLog, number: int) -> tuple[int, RoundContent]:
    return log.placed(RoundContent)[number - 1]


def test_each_month_has_its_own_usage_and_money_and_what_came_late(log: PoolLog) -> None:
    (first_at, first), (second_at, second) = round_at(log, 1), round_at(log, 2)
    assert (first.period, first.events, first.pot_minor, first.usage_from) == ("2026-01", 2, 1_000, None)
    assert (second.period, second.events, second.retracted, second.pot_minor) == ("2026-02", 3, 1, 550)
    assert (second.late_events, second.late_retracted, second.late_minor) == (1, 1, 50)
    assert (second.usage_from, second.waived) == (0, ["zen"])
    for index in (first_at, second_at):
        assert log.replay(index).finding is None


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("period", "2026-01"),
        ("period", "2026-03"),
        ("period", "2026-Q1"),
        ("period", ""),
        ("period", "soon"),
        ("usage_from", 1),
        ("usage_from", None),
        ("late_events", 0),
        ("late_events", 2),
        ("late_retracted", 0),
        ("late_minor", 0),
        ("late_minor", 51),
        ("waived", []),
        ("waived", ["acme", "zen"]),
        ("pot_minor", 700),
        ("pot_minor", 500),
    ],
)
def test_a_round_that_says_something_else_of_its_period_is_found(log: PoolLog, figure: str, value: Any) -> None:
    index, content = round_at(log, 2)
    assert getattr(content, figure) != value
    log.change(index, **{figure: value})
    finding = log.replay(index).finding
    assert finding is not None
    assert finding.where.leaf_index == index


def test_a_round_that_did_not_wait_for_a_report_is_found(log: PoolLog) -> None:
    index, _ = round_at(log, 2)
    waiver, content = log.placed(WaiverContent)[-1]
    log.rewrite(waiver, content.model_copy(update={"period": "2026-04"}))
    finding = log.replay(index).finding
    assert finding is not None
    assert (finding.where.leaf_index, finding.figure) == (index, "period")
    assert "REPORTS_MISSING 2026-02 zen" in finding.expected


def test_a_round_of_a_month_that_is_not_over_is_found(log: PoolLog) -> None:
    index, _ = round_at(log, 2)
    early = (datetime(2026, 2, 28, tzinfo=UTC) - log.time_of(index)).total_seconds()
    for leaf in range(index, log.size()):
        log.rewrite(leaf, log.content(leaf), late_by=int(early))
    finding = log.replay(index).finding
    assert finding is not None
    assert (finding.where.leaf_index, finding.figure) == (index, "period")
    assert "PERIOD_RUNS 2026-02" in finding.expected


def test_a_period_waits_for_its_end_and_for_its_reports_by_name(log: PoolLog) -> None:
    assert log.calculate() == -1
    assert log.waiting is not None
    assert (log.waiting.because, log.waiting.period) == (Nothing.PERIOD_RUNS, "2026-03")
    log.now = datetime(2026, 4, 1, tzinfo=UTC)
    assert log.calculate() == -1
    # Of the 400 that acme reported for March, 150 arrived.
    assert (log.waiting.because, log.waiting.platforms) == (Nothing.REPORTS_MISSING, ("acme", "zen"))
    log.receipt(250)
    log.waive("2026-03", "zen")
    content = log.content(settle(log))
    assert (content.period, content.pot_minor, content.events) == ("2026-03", 400, 1)


def test_a_chargeback_of_what_was_paid_out_is_made_up_for_by_the_next_period(log: PoolLog) -> None:
    receipt = next(index for index in range(log.size()) if log.content(index).type == "receipt.v1")
    log.reversal(receipt, 300, chargeback=True)
    log.now = datetime(2026, 4, 1, tzinfo=UTC)
    for platform in ("acme", "zen"):
        log.waive("2026-03", platform)
    assert log.calculate() == -1
    assert log.waiting is not None
    assert log.waiting.because is Nothing.NO_MONEY
    log.receipt(300 + 250)
    index = settle(log)
    assert log.content(index).pot_minor == 400
    assert log.replay(index).finding is None


def test_rounds_without_periods_afterwards_take_whatever_no_round_took(log: PoolLog) -> None:
    log.policy(Policy())
    log.now = datetime(2026, 4, 1, tzinfo=UTC)
    log.receipt(250)
    log.waive("2026-03", "zen")
    log.usage([in_month(7, 4), in_month(8, 1)])
    march = settle(log)
    assert log.content(march).period == "2026-03"
    log.report(10, "acme", "2026-04")
    log.receipt(10)
    index = settle(log)
    content = log.content(index)
    assert (content.period, content.events, content.usage_from) == ("", 1, 0)
    assert content.pot_minor == 10
    assert log.replay(index).finding is None
