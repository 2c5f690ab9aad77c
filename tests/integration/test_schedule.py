"""When rounds are cut: by cron and zone, once for each fire time, whatever was missed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database
from moiety import (
    Collective,
    DataLossError,
    InvalidArgumentError,
    Method,
    NotFoundError,
    Policy,
    Round,
    Schedule,
)
from moiety.v1.registry_pb2 import SKIP_REASON_NO_MONEY, SKIP_REASON_NO_USAGE
from moiety.v1.rounds_pb2 import ROUND_STATE_CALCULATED, ROUND_STATE_POSTED, ROUND_STATE_REJECTED
from payout import settlement
from payout.schedule import Scheduler
from payout.store import rounds
from payout.store.calculation import next_round
from payout.store.rounds import RoundRecord, RoundState
from services.cli.app import main
from services.cli.base.exits import Exit
from services.process.host import scheduling
from services.wiring import system_clock
from tests.support.books import execute, row_counts, wait_until
from tests.support.deployment import Deployment, SteppedClock
from tests.support.scene import METHOD, NANO, POOL, Scene, event, open_scene


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    """A pool whose rounds approve by themselves; it is the first second of 2026 in UTC."""
    return open_scene(deployment)


@pytest.fixture
def reviewed(deployment: Deployment) -> Scene:
    return open_scene(deployment, policy=Policy(review_seconds=60))


def look(scene: Scene, *, filled: bool = True) -> int:
    """Have the scheduler look once, at a pool that has something for a round; gives how many rounds it made."""
    if filled:
        scene.fill()
    return len(scene.deployment.running.parts.scheduler.run_once())


def set_schedule(scene: Scene, cron: str, zone: str = "UTC", *, paused: bool = False) -> Schedule:
    return scene.operator.update_schedule(POOL, Schedule(cron=cron, time_zone=zone, paused=paused))


def last_round(scene: Scene) -> Round:
    return list(scene.operator.list_rounds(POOL))[-1]


def answered(found: Round) -> tuple[datetime, datetime, int]:
    times = found.fire_times
    return times.first.ToDatetime(UTC), times.last.ToDatetime(UTC), times.count


def at(day: int, hour: int = 0, minute: int = 0, *, month: int = 1) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def test_a_round_is_cut_when_its_time_comes_and_not_before(scene: Scene, clock: SteppedClock) -> None:
    schedule = set_schedule(scene, "30 6 * * *")
    assert schedule.next_fire_time.ToDatetime(UTC) == at(1, 6, 30)
    assert look(scene) == 0
    clock.now = at(1, 6, 29) + timedelta(seconds=59)
    assert look(scene) == 0
    clock.now = at(1, 6, 30)
    assert look(scene) == 1
    assert look(scene) == 0
    found = last_round(scene)
    assert answered(found) == (at(1, 6, 30), at(1, 6, 30), 1)
    assert (found.calculated_by, found.decided_by, found.state) == ("scheduler", "policy", ROUND_STATE_POSTED)
    assert scene.operator.get_schedule(POOL).next_fire_time.ToDatetime(UTC) == at(2, 6, 30)


def test_a_schedule_is_read_in_its_zone_over_a_change_of_clocks(scene: Scene, clock: SteppedClock) -> None:
    clock.now = at(27, 12, month=3)
    set_schedule(scene, "0 6 * * *", "Europe/Lisbon")
    times = []
    for _ in range(3):
        clock.now = scene.operator.get_schedule(POOL).next_fire_time.ToDatetime(UTC)
        assert look(scene) == 1
        times.append(answered(last_round(scene))[0])
    # Lisbon goes from UTC+0 to UTC+1 on 29 March 2026.
    assert times == [at(28, 6, month=3), at(29, 5, month=3), at(30, 5, month=3)]


def test_times_that_were_missed_become_one_round_that_records_them(scene: Scene, clock: SteppedClock) -> None:
    set_schedule(scene, "0 0 * * *")
    scene.pay_in(1000, "r")
    scene.submit([event(1)], "b")
    clock.now = at(11, 15)
    assert look(scene, filled=False) == 1
    assert answered(last_round(scene)) == (at(2), at(11), 10)
    assert (last_round(scene).event_count, last_round(scene).pot_minor) == (1, 1000)
    assert look(scene) == 0
    clock.now = at(12)
    assert look(scene) == 1
    assert answered(last_round(scene)) == (at(12), at(12), 1)


def test_a_paused_schedule_cuts_nothing_and_what_it_missed_is_answered_later(scene: Scene, clock: SteppedClock) -> None:
    set_schedule(scene, "0 0 * * *")
    set_schedule(scene, "0 0 * * *", paused=True)
    clock.now = at(4)
    assert look(scene) == 0
    clock.now = at(5)
    set_schedule(scene, "0 0 * * *")
    assert look(scene) == 1
    assert answered(last_round(scene)) == (at(2), at(5), 4)


def test_an_open_round_blocks_the_next_which_then_answers_for_both(reviewed: Scene, clock: SteppedClock) -> None:
    set_schedule(reviewed, "0 0 * * *")
    clock.now = at(2)
    assert look(reviewed) == 1
    assert last_round(reviewed).state == ROUND_STATE_CALCULATED
    clock.now = at(5)
    assert look(reviewed) == 0
    reviewed.operator.approve_round(POOL, 1)
    assert look(reviewed) == 1
    assert answered(last_round(reviewed)) == (at(3), at(5), 3)
    assert last_round(reviewed).state == ROUND_STATE_CALCULATED


def test_a_rejected_round_has_answered_its_time(reviewed: Scene, clock: SteppedClock) -> None:
    set_schedule(reviewed, "0 0 * * *")
    reviewed.pay_in(1000, "r")
    reviewed.submit([event(1)], "b")
    clock.now = at(2)
    assert look(reviewed, filled=False) == 1
    reviewed.operator.reject_round(POOL, 1, "no")
    assert look(reviewed, filled=False) == 0
    clock.now = at(3)
    assert look(reviewed, filled=False) == 1
    rounds = list(reviewed.operator.list_rounds(POOL))
    assert [found.state for found in rounds] == [ROUND_STATE_REJECTED, ROUND_STATE_CALCULATED]
    assert [found.event_count for found in rounds] == [1, 1]


def test_a_round_that_an_operator_asked_for_answers_no_time(scene: Scene, clock: SteppedClock) -> None:
    set_schedule(scene, "0 0 * * *")
    clock.now = at(1, 23)
    scene.fill()
    assert not scene.cut("by-hand").HasField("fire_times")
    clock.now = at(2)
    assert look(scene) == 1
    assert answered(last_round(scene)) == (at(2), at(2), 1)


def test_a_new_cron_or_zone_counts_from_the_moment_it_is_set(scene: Scene, clock: SteppedClock) -> None:
    set_schedule(scene, "0 0 * * *")
    clock.now = at(10, 12)
    set_schedule(scene, "0 6 * * *")
    assert look(scene) == 0
    clock.now = at(11, 6)
    assert look(scene) == 1
    assert answered(last_round(scene)) == (at(11, 6), at(11, 6), 1)
    clock.now = at(14, 12)
    set_schedule(scene, "0 6 * * *", "Asia/Tokyo")
    assert look(scene) == 0
    clock.now = at(14, 21)
    assert look(scene) == 1
    assert answered(last_round(scene)) == (at(14, 21), at(14, 21), 1)


def test_setting_the_same_schedule_again_forgets_nothing(scene: Scene, clock: SteppedClock) -> None:
    first = set_schedule(scene, "0 0 * * *")
    clock.now = at(3)
    assert set_schedule(scene, "0 0 * * *").update_time == first.update_time
    assert look(scene) == 1
    assert answered(last_round(scene)) == (at(2), at(3), 2)


def test_checking_a_schedule_sets_nothing(scene: Scene, clock: SteppedClock) -> None:
    scene.operator.update_schedule(POOL, Schedule(cron="0 0 * * *", time_zone="UTC"), validate_only=True)
    with pytest.raises(NotFoundError):
        scene.operator.get_schedule(POOL)
    clock.now = at(9)
    assert look(scene) == 0


def test_what_is_no_schedule_is_refused_by_its_field(scene: Scene, owner: sa.Engine) -> None:
    for cron, zone, field in (
        ("* * * *", "UTC", "schedule.cron"),
        ("* * * * * *", "UTC", "schedule.cron"),
        ("@daily", "UTC", "schedule.cron"),
        ("61 * * * *", "UTC", "schedule.cron"),
        ("0 0 31 2 *", "UTC", "schedule.cron"),
        ("0 0 30 2 *", "UTC", "schedule.cron"),
        ("x" * 10_000, "UTC", "schedule.cron"),
        ("", "UTC", "schedule.cron"),
        ("0 0 * * *", "Mars/Olympus", "schedule.time_zone"),
        ("0 0 * * *", "../../etc/passwd", "schedule.time_zone"),
        ("0 0 * * *", "UTC\0", "schedule.time_zone"),
        ("0 0 * * *", "", "schedule.time_zone"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            set_schedule(scene, cron, zone)
        assert [violation.field for violation in caught.value.violations] == [field], cron
    assert row_counts(owner)["schedule"] == 0


def test_one_pool_s_trouble_does_not_keep_another_from_its_round(
    scene: Scene, clock: SteppedClock, owner: sa.Engine
) -> None:
    scene.operator.create_pool("sea", scene.operator.get_pool(POOL))
    set_schedule(scene, "0 0 * * *")
    scene.operator.update_schedule("sea", Schedule(cron="0 0 * * *", time_zone="UTC"))
    scene.operator.create_method("sea", METHOD, Method(display_name="n-gram votes", confidence_ppm=1_000_000))
    scene.fill("sea")
    scene.fill()
    clock.now = at(2)
    execute(owner, "UPDATE head SET frontier = '' WHERE pool_id = (SELECT pool_id FROM pool WHERE name = 'folk')")
    assert look(scene, filled=False) == 1
    assert [found.number for found in scene.operator.list_rounds("sea")] == [1]
    assert not list(scene.operator.list_rounds(POOL))


def test_a_schedule_that_somebody_changed_keeps_no_other_pool_from_its_round(
    scene: Scene, clock: SteppedClock, owner: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    scene.operator.create_pool("sea", scene.operator.get_pool(POOL))
    for pool in (POOL, "sea"):
        scene.operator.update_schedule(pool, Schedule(cron="0 0 * * *", time_zone="UTC"))
    scene.operator.create_method("sea", METHOD, Method(display_name="n-gram votes", confidence_ppm=1_000_000))
    scene.fill("sea")
    clock.now = at(2)
    for number, changed in enumerate(("cron = 'never'", "time_zone = 'Atlantis'"), 1):
        execute(owner, f"UPDATE schedule SET {changed} WHERE pool_id = (SELECT pool_id FROM pool WHERE name = 'folk')")
        assert look(scene, filled=False) == 1
        assert [found.number for found in scene.operator.list_rounds("sea")][-1] == number
        assert "cannot tell when the round of pool folk is due" in caplog.text
        with pytest.raises(DataLossError):
            scene.operator.get_schedule(POOL)
        clock.advance(days=1)
        scene.fill("sea")


def test_a_pool_that_another_process_acts_on_is_left_for_the_next_look(
    scene: Scene, clock: SteppedClock, owner: sa.Engine
) -> None:
    set_schedule(scene, "0 0 * * *")
    clock.now = at(2)
    with owner.connect() as other:
        other.execute(sa.text("SELECT FROM turn WHERE kind = 'ROUNDS' FOR UPDATE"))
        assert look(scene) == 0
        other.rollback()
    assert look(scene) == 1


def test_a_running_scheduler_answers_what_was_missed_while_none_ran(scene: Scene, clock: SteppedClock) -> None:
    set_schedule(scene, "0 0 * * *")
    scene.fill()
    clock.now = at(8)
    settings = scene.deployment.settings.model_copy(update={"schedule_poll_seconds": 0.05})
    with scheduling(settings, clock=clock):
        wait_until(lambda: list(scene.operator.list_rounds(POOL)))
    scene.fill()
    clock.now = at(10)
    with scheduling(settings, clock=clock):
        wait_until(lambda: len(list(scene.operator.list_rounds(POOL))) == 2)
    assert [answered(found)[2] for found in scene.operator.list_rounds(POOL)] == [7, 2]


def test_a_fire_time_with_nothing_to_distribute_passes_and_the_schedule_says_why(
    scene: Scene, clock: SteppedClock, owner: sa.Engine
) -> None:
    set_schedule(scene, "0 0 * * *")
    scene.submit([event(1, units=1000, shares={"irish": NANO})], "b-1")
    before = row_counts(owner)
    clock.now = at(3, 1)
    assert look(scene, filled=False) == 0
    assert row_counts(owner) == before
    skipped = scene.operator.get_schedule(POOL)
    assert (skipped.skip_time.ToDatetime(UTC), skipped.skip_reason) == (at(3), SKIP_REASON_NO_MONEY)
    assert skipped.next_fire_time.ToDatetime(UTC) == at(4)
    # The money comes: nothing happens before the next fire time, which answers for itself alone.
    scene.pay_in(1001, "r")
    scene.submit([event(2, shares={"scottish": NANO})], "b-2")
    assert look(scene, filled=False) == 0
    clock.now = at(4)
    assert look(scene, filled=False) == 1
    assert answered(last_round(scene)) == (at(4), at(4), 1)
    assert scene.allocations(1) == {"breton": 0, "irish": 1000, "scottish": 1}
    # A pot without usage waits too, and another set of times forgets what was skipped.
    scene.pay_in(5, "r-2")
    clock.now = at(5)
    assert look(scene, filled=False) == 0
    assert scene.operator.get_schedule(POOL).skip_reason == SKIP_REASON_NO_USAGE
    assert not set_schedule(scene, "0 6 * * *").HasField("skip_time")


def test_the_command_says_why_a_fire_time_cut_no_round(
    scene: Scene, clock: SteppedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*options: str) -> str:
        key = scene.deployment.key("auditors/ada")
        with pytest.raises(SystemExit) as exited:
            main(["round", "due", POOL, *options, "--address", scene.deployment.address, "--api-key", key])
        assert exited.value.code == Exit.OK
        out = capsys.readouterr().out
        # The service beside it logs to the same stdout.
        return "\n".join(line for line in out.splitlines() if not re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d", line))

    set_schedule(scene, "0 0 * * *")
    assert "no round at" not in shown()
    clock.now = at(2, 3)
    look(scene, filled=False)
    assert "2026-01-02T00:00:00.000000Z: no revenue to distribute; usage waits for it" in shown()
    assert "2026-01-03T00:00:00.000000Z" in shown()
    assert json.loads(shown("--json"))["skip_reason"] == "NO_MONEY"


class Asked:
    """In settlement's place: when it was asked."""

    def __init__(self) -> None:
        self.at: list[datetime] = []

    def calculate_due(self, _: PoolRef, now: datetime) -> None:
        self.at.append(now)

    def post_unopposed(self, _: PoolRef) -> None:
        """Nothing is open."""


def test_the_database_s_clock_decides_what_is_due(scene: Scene, database: Database) -> None:
    set_schedule(scene, "30 6 * * *")
    before, asked = system_clock(), Asked()
    Scheduler(database, asked).run_once()
    (now,) = asked.at
    assert now >= before - timedelta(seconds=1)


def test_nothing_is_due_by_a_database_s_clock_that_is_ahead(
    scene: Scene, database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_schedule(scene, "* * * * *")
    asked = Asked()
    monkeypatch.setattr(log, "CLOCK_AHEAD_MAX", timedelta(days=-1))
    Scheduler(database, asked).run_once()
    assert asked.at == []
    assert "nothing is logged until the wrong one is set right" in caplog.text


def recorded(scene: Scene, number: int) -> RoundRecord:
    with scene.deployment.running.parts.database.reading() as connection:
        return rounds.get_round(connection, pool_ref(connection, POOL), number)


@pytest.mark.parametrize(("review_seconds", "state"), [(0, RoundState.POSTED), (60, RoundState.CALCULATED)])
def test_what_the_scheduler_tells_of_a_round_is_what_is_recorded(
    deployment: Deployment, clock: SteppedClock, review_seconds: int, state: RoundState
) -> None:
    scene = open_scene(deployment, policy=Policy(review_seconds=review_seconds))
    set_schedule(scene, "0 0 * * *")
    scene.fill()
    clock.now = at(2)
    (told,) = scene.deployment.running.parts.scheduler.run_once()
    assert told.state is state
    assert told == recorded(scene, 1)


def test_a_schedule_that_is_paused_while_its_round_is_calculated_cuts_nothing(
    scene: Scene, clock: SteppedClock, owner: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_schedule(scene, "0 0 * * *")

    def calculate_and_pause(*args: Any, **kwargs: Any) -> Any:
        calculated = next_round(*args, **kwargs)
        set_schedule(scene, "0 0 * * *", paused=True)
        return calculated

    clock.now = at(2)
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(settlement, "next_round", calculate_and_pause)
        assert look(scene) == 0
    assert row_counts(owner)["round"] == 0
    set_schedule(scene, "0 0 * * *")
    assert look(scene) == 1


def test_collectives_that_come_between_two_rounds_are_in_the_second(scene: Scene, clock: SteppedClock) -> None:
    set_schedule(scene, "0 0 * * *")
    snapshots = []
    for day in (2, 3, 4):
        clock.now = at(day)
        assert look(scene) == 1
        snapshots.append(last_round(scene).registry_sha256)
        if day == 2:
            scene.operator.create_collective("latecomers", Collective(display_name="Latecomers", members=1))
    assert snapshots[0] != snapshots[1] == snapshots[2]
