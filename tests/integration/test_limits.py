"""Limits on usage: events that are too far away in time, and platforms that send too much."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import pytest

from moiety import (
    BatchRefusedError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    batch_of,
)
from moiety.v1 import usage_pb2
from moiety.v1.limits_pb2 import PlatformLimits, PoolLimits
from moiety.v1.usage_pb2_grpc import UsageServiceStub
from services.cli.app import main
from tests.support.deployment import START, Deployment
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene
from tests.support.wire import Wire

DAY: Final = 86_400
TEN_YEARS: Final = 10 * 366 * DAY
TUNESMITH: Final = "tunesmith"


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def submit_at(scene: Scene, number: int, moment: datetime) -> int:
    found = scene.submit([replace(event(number), occurred_at=moment)], f"b-{number}")
    return found.accepted_count


def test_by_default_an_event_may_be_a_day_ahead_and_ten_years_behind(scene: Scene) -> None:
    limits = scene.platform.get_pool_limits(POOL)
    assert (limits.lead_seconds_max, limits.age_seconds_max) == (DAY, TEN_YEARS)
    assert submit_at(scene, 1, START + timedelta(seconds=DAY)) == 1
    assert submit_at(scene, 2, START - timedelta(seconds=TEN_YEARS)) == 1
    for moment, words in (
        (START + timedelta(seconds=DAY, microseconds=1), "86,400 seconds after now, 2026-01-01T00:00:00Z"),
        (START - timedelta(seconds=TEN_YEARS, microseconds=1), "316,224,000 seconds before now"),
        (datetime(1970, 1, 21, 10, 40, tzinfo=UTC), "seconds for milliseconds"),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            submit_at(scene, 3, moment)
        (violation,) = caught.value.violations
        assert violation.field == "events[0].occurred_at"
        assert words in violation.description


def test_a_pool_may_be_stricter_or_take_any_time(scene: Scene) -> None:
    scene.operator.update_pool_limits(POOL, PoolLimits(lead_seconds_max=0, age_seconds_max=3600))
    assert submit_at(scene, 1, START - timedelta(hours=1)) == 1
    with pytest.raises(InvalidArgumentError):
        submit_at(scene, 2, START + timedelta(seconds=1))
    with pytest.raises(InvalidArgumentError):
        scene.platform.submit_events(
            POOL, [replace(event(2), occurred_at=START - timedelta(hours=2))], METHOD, batch_id="x", validate_only=True
        )
    table = batch_of([event(3), replace(event(4), occurred_at=START)])
    with pytest.raises(BatchRefusedError) as caught:
        scene.platform.submit_usage(POOL, table, METHOD)
    assert [found.position for found in caught.value.refusals[0].events] == [0]
    most = 3_650_000 * DAY
    scene.operator.update_pool_limits(POOL, PoolLimits(lead_seconds_max=most, age_seconds_max=most))
    assert submit_at(scene, 5, datetime(9999, 12, 31, tzinfo=UTC)) == 1
    assert submit_at(scene, 6, datetime(1970, 1, 1, tzinfo=UTC)) == 1
    scene.operator.update_pool_limits(POOL, PoolLimits())
    assert scene.operator.get_pool_limits(POOL).lead_seconds_max == DAY


def test_a_batch_that_is_recorded_gives_its_receipt_however_old_its_events_have_become(scene: Scene) -> None:
    first = scene.submit(events([1]), "march")
    scene.deployment.clock.advance(days=20 * 366)
    assert scene.submit(events([1]), "march") == first


def test_a_platform_that_has_sent_its_day_waits_for_the_next(scene: Scene) -> None:
    scene.submit(events(range(5)), "before")  # is not counted: there was no quota
    scene.operator.update_platform_limits(TUNESMITH, PlatformLimits(events_per_day=10))
    scene.deployment.clock.advance(hours=23)
    first = scene.submit(events(range(10, 18)), "a")
    with pytest.raises(ResourceExhaustedError) as caught:
        scene.submit(events(range(20, 23)), "b")
    assert caught.value.reason == "QUOTA_USED_UP"
    assert caught.value.retry_after_seconds == 3601
    assert "events_per_day is 10" in str(caught.value)
    assert scene.submit(events(range(10, 18)), "a") == first  # a repetition takes no room
    assert scene.submit(events([20, 21]), "c").accepted_count == 2
    found = scene.platform.get_platform_limits(TUNESMITH)
    assert (found.events_per_day, found.events_today) == (10, 10)
    with pytest.raises(InvalidArgumentError, match="has 11, more than platforms/tunesmith may send in a whole day"):
        scene.submit(events(range(30, 41)), "d")
    songbird = scene.deployment.client("platforms/songbird")
    assert scene.submit(events(range(20)), "e", by=songbird).accepted_count == 20
    scene.deployment.clock.advance(hours=1, seconds=1)
    assert scene.submit(events(range(40, 50)), "f").accepted_count == 10


def test_bytes_are_counted_over_all_pools_and_by_both_ways_in(scene: Scene) -> None:
    scene.operator.create_pool("sea", scene.operator.get_pool(POOL))
    scene.operator.create_method("sea", METHOD, next(iter(scene.operator.list_methods(POOL))))
    scene.operator.update_platform_limits(TUNESMITH, PlatformLimits(bytes_per_day=20_000))
    scene.submit(events([1]), "a")
    one = scene.platform.get_platform_limits(TUNESMITH).bytes_today
    assert 500 < one < 5_000
    scene.platform.submit_usage("sea", batch_of(events([1])), METHOD)
    used = scene.platform.get_platform_limits(TUNESMITH)
    assert used.bytes_today > one
    assert used.events_today == 2
    room = (20_000 - used.bytes_today) // one
    for number in range(room):
        scene.submit(events([100 + number]), f"b-{number}")
    with pytest.raises(ResourceExhaustedError, match="bytes_per_day is 20,000"):
        scene.submit(events([99]), "too-much")


def test_batches_at_once_are_all_counted(scene: Scene) -> None:
    scene.operator.update_platform_limits(TUNESMITH, PlatformLimits(events_per_day=10_000))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: scene.submit(events([number, number + 1000]), f"b-{number}"), range(60)))
    assert scene.platform.get_platform_limits(TUNESMITH).events_today == 120


def test_streams_have_a_limit_of_their_own(scene: Scene) -> None:
    scene.operator.update_platform_limits(TUNESMITH, PlatformLimits(open_streams=1))
    with Wire(scene.deployment.address, scene.deployment.key("platforms/tunesmith")) as wire:
        requests: SimpleQueue[usage_pb2.AppendUsageRequest | None] = SimpleQueue()
        metadata = (("authorization", f"Bearer {scene.deployment.key('platforms/tunesmith')}"),)
        stub = UsageServiceStub(wire.channel)
        held = stub.AppendUsage(iter(requests.get, None), metadata=metadata)
        body = usage_pb2.AppendUsageRequest(parent=f"pools/{POOL}", batch_id="x", method_id=METHOD, arrow_stream=b"no")
        requests.put(body)
        assert next(held).batch_id == "x"
        second = stub.AppendUsage(iter([body]), metadata=metadata)
        with pytest.raises(Exception, match="too many open streams for platforms/tunesmith"):
            next(second)
        requests.put(None)
        assert list(held) == []
    assert scene.platform.submit_usage(POOL, batch_of(events([1])), METHOD)[0].accepted_count == 1


def test_only_operators_set_limits_and_platforms_see_their_own(scene: Scene) -> None:
    with pytest.raises(PermissionDeniedError):
        scene.platform.update_pool_limits(POOL, PoolLimits())
    with pytest.raises(PermissionDeniedError):
        scene.platform.update_platform_limits(TUNESMITH, PlatformLimits())
    with pytest.raises(PermissionDeniedError):
        scene.platform.get_platform_limits("songbird")
    with pytest.raises(NotFoundError):
        scene.operator.get_platform_limits("nobody")
    with pytest.raises(NotFoundError):
        scene.operator.get_pool_limits("sea")
    for limits in (PlatformLimits(events_per_day=-1), PlatformLimits(open_streams=2**62 + 1)):
        with pytest.raises(InvalidArgumentError):
            scene.operator.update_platform_limits(TUNESMITH, limits)
    with pytest.raises(InvalidArgumentError):
        scene.operator.update_pool_limits(POOL, PoolLimits(age_seconds_max=-1))


def test_limits_are_declared(scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = scene.deployment.key("operators/olive")
    declared = tmp_path / "limits.yaml"

    def applied(open_streams: str, *options: str) -> str:
        declared.write_text(
            f"platforms: {{{TUNESMITH}: {{display_name: {TUNESMITH}, limits: {{open_streams: {open_streams}}}}}}}\n"
            f"pools: {{{POOL}: {{display_name: Folk tunes, currency: EUR, distribute: REPORTED, policy: {{}}, "
            "limits: {age_seconds_max: 7}"
            "}}\n"
        )
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["apply", str(declared), *options, "--address", scene.deployment.address, "--api-key", key])
        assert caught.value.code == 0
        return capsys.readouterr().out

    assert "2 changes would be made" in applied("3", "--dry-run")
    assert not scene.operator.get_platform_limits(TUNESMITH).HasField("open_streams")
    assert "2 changes made" in applied("3")
    assert scene.operator.get_platform_limits(TUNESMITH).open_streams == 3
    limits = scene.operator.get_pool_limits(POOL)
    assert (limits.lead_seconds_max, limits.age_seconds_max) == (86_400, 7)
    assert "Nothing changes" in applied("3")
    assert "1 change made" in applied("null")
    assert not scene.operator.get_platform_limits(TUNESMITH).HasField("open_streams")


def test_the_command_shows_limits_and_changes_the_ones_that_are_named(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    key = scene.deployment.key("operators/olive")

    def told(*arguments: str) -> dict[str, object]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["limits", *arguments, "--json", "--address", scene.deployment.address, "--api-key", key])
        assert caught.value.code == 0
        out = capsys.readouterr().out
        found: dict[str, object] = json.loads(out[out.index("{\n") :])
        return found

    assert told("pool", POOL, "--lead-seconds-max", "5")["lead_seconds_max"] == 5
    assert told("pool", POOL, "--age-seconds-max", "7") == {
        "name": f"pools/{POOL}/limits",
        "lead_seconds_max": 5,
        "age_seconds_max": 7,
    }
    told("platform", TUNESMITH, "--events-per-day", "5", "--open-streams", "2")
    changed = told("platform", TUNESMITH, "--events-per-day", "-1", "--bytes-per-day", "9")
    limits = scene.operator.get_platform_limits(TUNESMITH)
    assert not limits.HasField("events_per_day")
    assert (limits.bytes_per_day, limits.open_streams) == (9, 2)
    assert changed["bytes_per_day"] == 9
