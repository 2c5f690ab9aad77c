"""Rounds that close months: late usage and late money, with two verifiers and the check of the database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from moiety import Client, FailedPreconditionError, InvalidArgumentError, Policy, UsageEvent
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import (
    PERIODS_MONTH,
    PERIODS_QUARTER,
    SKIP_REASON_PERIOD_RUNS,
    SKIP_REASON_REPORTS_MISSING,
    Schedule,
    SkipReason,
)
from payout.store import books
from services.cli.app import main
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from tests.support.deployment import Deployment
from tests.support.exports import report_of
from tests.support.fsck_scene import LOG_KEY, sign
from tests.support.independent import verifier
from tests.support.scene import POOL, Scene, event, open_scene

MONTHLY: Final = Policy(period=PERIODS_MONTH, period_from="2025-10")


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment, policy=MONTHLY)


def in_month(month: int, numbers: Iterable[int], year: int = 2025) -> list[UsageEvent]:
    return [replace(event(number), occurred_at=datetime(year, month, 15, tzinfo=UTC)) for number in numbers]


def report(scene: Scene, period: str, amount_minor: int) -> None:
    """One platform reports, and the other's report is waived."""
    scene.platform.report_revenue(POOL, amount_minor, "EUR", request_id=f"r-{period}-{amount_minor}", period=period)
    scene.operator.waive_report(POOL, "songbird", period, reason="has no users yet")


def why_none(operator: Client) -> str:
    with pytest.raises(FailedPreconditionError) as caught:
        operator.calculate_round(POOL, request_id="none")
    assert caught.value.reason == "NOTHING_TO_DISTRIBUTE"
    return str(caught.value)


def test_months_close_in_order_with_what_came_late_and_everybody_verifies_it(
    scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidArgumentError, match="period"):
        scene.platform.report_revenue(POOL, 1, "EUR", request_id="r")
    scene.submit([*in_month(10, range(4)), *in_month(11, range(4, 7)), *in_month(12, range(7, 9))], "b-1")
    assert "2025-10: waits for songbird, tunesmith" in why_none(scene.operator)
    report(scene, "2025-10", 1000)
    report(scene, "2025-12", 5)
    october = scene.cut("october")
    assert (october.period, october.pot_minor, october.event_count) == ("2025-10", 1000, 4)
    assert list(october.waived_platforms) == ["platforms/songbird"]
    assert (october.late_event_count, october.late_minor) == (0, 0)

    scene.submit([*in_month(10, [20]), *in_month(9, [21]), *in_month(11, [22])], "b-2")
    scene.platform.retract_usage(POOL, request_id="t", reason="wrong", event_ids=[event(0).event_id])
    scene.platform.report_revenue(POOL, 70, "EUR", request_id="late", period="2025-10")
    assert "2025-11: waits for songbird, tunesmith" in why_none(scene.operator)
    report(scene, "2025-11", 500)
    november = scene.cut("november")
    assert (november.period, november.pot_minor, november.event_count) == ("2025-11", 570, 6)
    assert (november.late_event_count, november.late_retracted_count, november.late_minor) == (2, 1, 70)
    assert scene.operator.preview_round(POOL, number=1).round.pot_minor == 1000

    december = scene.cut("december")
    assert (december.period, december.pot_minor, december.event_count) == ("2025-12", 5, 2)
    assert "is not over (2026-01)" in why_none(scene.operator)
    assert scene.operator.preview_round(POOL).round.period == "2026-01"
    for number in (1, 2, 3):
        assert scene.operator.replay_round(POOL, number).outcome == REPLAY_OUTCOME_MATCH

    require_sound(scene, tmp_path, database_url, monkeypatch)


def test_no_more_platforms_are_waived_than_a_round_has_room_to_name(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "MAX_NAMED", 1)
    for _ in range(2):
        scene.operator.waive_report(POOL, "songbird", "2025-10", reason="none")
    with pytest.raises(FailedPreconditionError) as caught:
        scene.operator.waive_report(POOL, "tunesmith", "2025-10", reason="none")
    assert caught.value.reason == "TOO_MANY_WAIVERS"
    scene.operator.waive_report(POOL, "tunesmith", "2025-11", reason="none")


def test_an_empty_month_passes_and_a_change_of_periods_begins_at_the_next_common_boundary(scene: Scene) -> None:
    scene.submit([*in_month(10, range(2)), *in_month(12, range(2, 5))], "b")
    for period in ("2025-10", "2025-11", "2025-12"):
        scene.operator.waive_report(POOL, "songbird", period, reason="none")
        scene.operator.waive_report(POOL, "tunesmith", period, reason="none")
    assert "has no revenue" in why_none(scene.operator)
    scene.platform.report_revenue(POOL, 900, "EUR", request_id="r", period="2025-11")
    found = scene.cut("november")
    assert (found.period, found.event_count, found.late_event_count, found.late_minor) == ("2025-11", 2, 2, 0)
    scene.operator.create_policy(POOL, Policy(period=PERIODS_QUARTER, period_from="2026-Q1"))
    scene.platform.report_revenue(POOL, 90, "EUR", request_id="r-2", period="2025-12")
    assert scene.cut("december").period == "2025-12"
    scene.platform.report_revenue(POOL, 30, "EUR", request_id="r-3", period="2026-Q1")
    assert "is not over (2026-Q1)" in why_none(scene.operator)
    scene.deployment.clock.now = datetime(2026, 4, 1, tzinfo=UTC)
    scene.submit(in_month(1, [30], 2026), "b-2")
    scene.operator.waive_report(POOL, "songbird", "2026-Q1", reason="none")
    assert scene.cut("quarter").period == "2026-Q1"


@pytest.mark.parametrize(
    ("first", "reason"), [("2025-10", SKIP_REASON_REPORTS_MISSING), ("2026-01", SKIP_REASON_PERIOD_RUNS)]
)
def test_the_schedule_says_that_it_waits_for_the_period_or_for_its_reports(
    deployment: Deployment, first: str, reason: SkipReason.ValueType
) -> None:
    scene = open_scene(deployment, policy=Policy(period=PERIODS_MONTH, period_from=first))
    scene.operator.update_schedule(POOL, Schedule(cron="0 0 * * *", time_zone="UTC"))
    deployment.clock.now = datetime(2026, 1, 2, tzinfo=UTC)
    assert not deployment.running.parts.scheduler.run_once()
    assert scene.operator.get_schedule(POOL).skip_reason == reason


def require_sound(scene: Scene, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sign(scene.deployment)
    bundle = tmp_path / "folk.tar"
    write_bundle(PoolSource(scene.deployment.client("auditors/ada"), POOL), bundle)
    verifier.verify(bundle)
    found = report_of(bundle, LOG_KEY.verifier_key)
    assert found.finding is None, found.finding
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    with pytest.raises(SystemExit) as caught:
        main(["db", "fsck"])
    assert caught.value.code == 0
