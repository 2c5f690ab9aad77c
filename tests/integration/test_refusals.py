"""Refused batches: kept with their reasons, seen by their platform, and never more than there is room for."""

from __future__ import annotations

import json
from hashlib import sha256
from types import SimpleNamespace
from uuid import uuid4

import pytest
from google.rpc import error_details_pb2

from ledger.store.desk import refusals as store
from moiety import InvalidArgumentError, PermissionDeniedError
from moiety.v1 import usage_pb2 as pb
from services.api.usage import refusals
from services.cli.app import main
from tests.support.deployment import Deployment
from tests.support.http import call
from tests.support.scene import METHOD, POOL, Scene, event, open_scene
from tests.support.wire import Wire

pytestmark = pytest.mark.surface


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def bad_batch(scene: Scene, batch_id: str, *, dry: bool = False) -> None:
    """One whose second event has too many shares, by HTTP."""
    events = [
        {"eventId": str(uuid4()), "occurredAt": "2026-01-01T12:00:00Z", "units": 1, "mode": "MODE_AI_ONLY"},
        {
            "eventId": str(uuid4()), "occurredAt": "2026-01-01T12:00:00Z", "units": 1, "mode": "MODE_AI_ONLY",
            "shares": [{"collectiveId": "irish", "shareNano": 2_000_000_000}],
        },
    ]  # fmt: skip
    answer = call(
        scene.deployment.running.http_address, "UsageService/SubmitUsage", scene.deployment.key("platforms/tunesmith"),
        parent=f"pools/{POOL}", batchId=batch_id, methodId=METHOD, events=events, validateOnly=dry,
    )  # fmt: skip
    assert answer.status == 400, answer.text


def test_a_refused_batch_is_kept_with_its_reason_and_its_positions(scene: Scene) -> None:
    bad_batch(scene, "first")
    (kept,) = scene.platform.list_refused_batches(POOL)
    assert (kept.batch_id, kept.platform, kept.refused_count) == ("first", "platforms/tunesmith", 1)
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in kept.error.details)
    assert bad_request.field_violations[0].field.startswith("events[1]")
    assert kept.first_refuse_time == kept.refuse_time


def test_what_streams_refuse_is_kept_too(scene: Scene) -> None:
    with Wire(scene.deployment.address, scene.deployment.key("platforms/tunesmith")) as wire:
        request = pb.AppendUsageRequest(
            parent=f"pools/{POOL}", batch_id="torn", method_id=METHOD, arrow_stream=b"no arrow"
        )
        (answer,) = wire.call("UsageService/AppendUsage", request)
    (kept,) = scene.platform.list_refused_batches(POOL)
    assert kept.error == answer.error
    assert (kept.batch_id, kept.body_bytes, kept.body_sha256) == ("torn", 8, sha256(b"no arrow").digest())


def test_one_that_comes_again_is_counted(scene: Scene) -> None:
    bad_batch(scene, "again")
    scene.deployment.clock.advance(hours=1)
    bad_batch(scene, "again")
    (kept,) = scene.platform.list_refused_batches(POOL)
    assert kept.refused_count == 2
    assert kept.refuse_time.seconds - kept.first_refuse_time.seconds == 3600


def test_what_was_only_checked_or_accepted_is_not_kept(scene: Scene) -> None:
    bad_batch(scene, "checked", dry=True)
    scene.submit([event(1)], "good")
    assert list(scene.platform.list_refused_batches(POOL)) == []


def test_platforms_see_their_own_and_auditors_all(scene: Scene) -> None:
    bad_batch(scene, "first")
    other = scene.deployment.client("platforms/songbird")
    assert list(other.list_refused_batches(POOL)) == []
    with pytest.raises(PermissionDeniedError):
        list(other.list_refused_batches(POOL, platform="tunesmith"))
    auditor = scene.deployment.client("auditors/ada")
    assert [kept.batch_id for kept in auditor.list_refused_batches(POOL, platform="tunesmith")] == ["first"]
    with pytest.raises(InvalidArgumentError):
        list(auditor.list_refused_batches(POOL))


def test_after_thirty_days_they_are_gone(scene: Scene) -> None:
    bad_batch(scene, "old")
    scene.deployment.clock.advance(days=31)
    assert list(scene.platform.list_refused_batches(POOL)) == []


def test_one_who_sends_refused_batches_for_ever_fills_its_slots_and_no_more(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "SLOTS", 5)
    monkeypatch.setattr(refusals, "KEPT_A_SECOND", 10**9)
    for number in range(12):
        bad_batch(scene, f"batch-{number}")
    bad_batch(scene, "batch-8")
    kept = [each.batch_id for each in scene.platform.list_refused_batches(POOL)]
    assert kept == [f"batch-{number}" for number in (11, 10, 9, 8, 7)]


def test_no_more_than_so_many_a_second_are_written(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    monkeypatch.setattr(refusals, "KEPT_A_SECOND", 3)
    for number in range(6):
        bad_batch(scene, f"batch-{number}")
    assert len(list(scene.platform.list_refused_batches(POOL))) == 3


def test_the_command_lists_them(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    bad_batch(scene, "first")
    key = scene.deployment.key("platforms/tunesmith")
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        main(["usage", "refused", POOL, "--json", "--address", scene.deployment.address, "--api-key", key])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    (kept,) = json.loads(out[out.index("[\n  {") :].rpartition("\n]")[0] + "\n]")
    assert kept["batch_id"] == "first"
    assert "events[1]" in kept["error"]["message"]
