"""How a platform's event ids are made: fixed once, known to everyone, and the same for every batch of its."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from ledger.store.usage import id_schemes
from moiety import (
    Client,
    FailedPreconditionError,
    IdScheme,
    InvalidArgumentError,
    Mode,
    UsageEvent,
    event_id_of,
    ordered_event_id_of,
    usage_batches,
)
from moiety.v1 import usage_pb2 as pb
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from tests.support.deployment import Deployment
from tests.support.exports import report_of
from tests.support.fsck_scene import LOG_KEY, findings, sign
from tests.support.scene import METHOD, NOON, POOL, Scene, event, open_scene
from tests.support.wire import Wire, refusal_of, refused


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def table(ids: list[str], time: str = "2026-01-01T10:00:00Z") -> pa.Table:
    count = len(ids)
    return pa.table(
        {
            "id": ids,
            "occurred_at": [time] * count,
            "units": [1] * count,
            "mode": ["AI_ONLY"] * count,
            "collectives": [["irish"]] * count,
            "shares": [[10**9]] * count,
        }
    )


def submitted(client: Client, *tables: pa.Table) -> list[tuple[int, int]]:
    """Accepted events and duplicates of each table."""
    receipts = [receipt for each in tables for receipt in client.submit_usage(POOL, each, METHOD)]
    return [(receipt.accepted_count, receipt.duplicate_count) for receipt in receipts]


def fields(call: Callable[[], object]) -> list[str]:
    with pytest.raises(InvalidArgumentError) as caught:
        call()
    return [violation.field for violation in caught.value.violations]


def test_the_same_id_with_another_time_is_a_duplicate(scene: Scene) -> None:
    """Two exports of one table: in milliseconds, in seconds, and with a time zone that was corrected."""
    times = ("2026-01-01T10:00:00.123Z", "2026-01-01T10:00:00Z", "2026-01-01T09:00:00Z")
    assert submitted(scene.platform, *(table(["play-1", "play-2"], time) for time in times)) == [(2, 0), (0, 2), (0, 2)]
    found = scene.platform.find_event(POOL, str(event_id_of("play-1")))
    assert found.event.occurred_at.ToDatetime().isoformat() == "2026-01-01T10:00:00.123000"


def test_a_platform_that_promises_it_has_the_time_in_its_ids(scene: Scene) -> None:
    before = scene.platform.get_id_scheme(POOL)
    assert (before.platform, before.id_scheme, before.is_fixed) == ("platforms/tunesmith", pb.ID_SCHEME_OWN, False)
    fixed = scene.platform.set_id_scheme(POOL, IdScheme.ORDERED)
    assert (fixed.id_scheme, fixed.is_fixed) == (pb.ID_SCHEME_ORDERED, True)
    assert scene.platform.set_id_scheme(POOL, "ORDERED") == fixed == scene.platform.get_id_scheme(POOL)
    leaf = scene.operator.get_log_head(POOL).size - 1
    assert fixed.leaf_index == leaf
    assert submitted(scene.platform, table(["play-1"]), table(["play-1"], "2026-01-01T10:00:00.5Z")) == [(1, 0), (1, 0)]
    found = scene.platform.find_event(POOL, str(ordered_event_id_of("play-1", NOON.replace(hour=10))))
    assert found.leaf_index == leaf + 1


def test_what_is_fixed_stays_and_others_are_not_concerned(scene: Scene) -> None:
    scene.submit([event(1)], "first")
    taken = scene.platform.get_id_scheme(POOL)
    assert (taken.is_fixed, taken.HasField("leaf_index")) == (True, False)
    assert scene.platform.set_id_scheme(POOL, "OWN") == taken
    with pytest.raises(FailedPreconditionError) as caught:
        scene.platform.set_id_scheme(POOL, "ORDERED")
    assert caught.value.reason == "ID_SCHEME_FIXED"
    songbird = scene.deployment.client("platforms/songbird")
    assert songbird.set_id_scheme(POOL, "ORDERED").id_scheme == pb.ID_SCHEME_ORDERED
    with pytest.raises(FailedPreconditionError):
        songbird.set_id_scheme(POOL, "OWN")
    assert scene.operator.get_id_scheme(POOL, platform="songbird").id_scheme == pb.ID_SCHEME_ORDERED


def test_a_batch_of_the_other_scheme_is_refused_whatever_sends_it(scene: Scene) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    (body,) = usage_batches(table(["play-1"]))
    with Wire(scene.deployment.address, key) as wire:

        def append(batch_id: str, scheme: int, *, validate_only: bool = False) -> Any:
            request = {"parent": f"pools/{POOL}", "batch_id": batch_id, "method_id": METHOD, "arrow_stream": body}
            (answer,) = wire.call("UsageService/AppendUsage", **request, id_scheme=scheme, validate_only=validate_only)
            return answer

        for validate_only in (True, False):
            wrong = append("a", pb.ID_SCHEME_ORDERED, validate_only=validate_only)
            assert refusal_of(wrong.error).fields == ["id_scheme"]
        assert refusal_of(append("a", 7).error).fields == ["id_scheme"]
        assert append("a", pb.ID_SCHEME_UNSPECIFIED).receipt.accepted_count == 1
        assert append("b", pb.ID_SCHEME_OWN).receipt.duplicate_count == 1
        assert refusal_of(append("c", pb.ID_SCHEME_ORDERED).error).fields == ["id_scheme"]
        # What was recorded under its id is answered as it was, whatever a repetition says of ids.
        assert append("a", pb.ID_SCHEME_ORDERED).receipt.accepted_count == 1
    songbird = scene.deployment.client("platforms/songbird")
    songbird.set_id_scheme(POOL, "ORDERED")
    with Wire(scene.deployment.address, scene.deployment.key("platforms/songbird")) as wire:
        usage = [{"event_id": str(event_id_of("x")), "occurred_at": NOON, "units": 1, "mode": 1}]
        refusal = refused(
            lambda: wire.call(
                "UsageService/SubmitUsage", parent=f"pools/{POOL}", batch_id="b", method_id=METHOD, events=usage
            )
        )
        assert refusal.fields == ["id_scheme"]
    events = [UsageEvent(ordered_event_id_of("x", NOON), NOON, 1, Mode.AI_ONLY, {})]
    assert songbird.submit_events(POOL, events, METHOD, batch_id="b").accepted_count == 1


def test_a_client_asks_until_it_is_fixed_and_then_no_more(scene: Scene) -> None:
    """Another process of the platform may fix it after this one was started."""
    early = scene.platform
    assert early.id_scheme(POOL) is IdScheme.OWN
    scene.deployment.client("platforms/tunesmith").set_id_scheme(POOL, "ORDERED")
    assert submitted(early, table(["play-1"])) == [(1, 0)]
    assert early.find_event(POOL, str(ordered_event_id_of("play-1", NOON.replace(hour=10)))).position == 0


def test_who_is_no_platform_is_asked_whose(scene: Scene) -> None:
    assert fields(lambda: scene.operator.get_id_scheme(POOL)) == ["platform"]
    assert scene.operator.id_scheme(POOL, platform="tunesmith") is IdScheme.OWN


def test_of_a_first_batch_and_a_scheme_at_once_only_one_is_recorded(scene: Scene, owner: sa.Engine) -> None:
    """Rule: no batch of a platform is recorded whose ids are made otherwise than the others'."""
    clients = [scene.deployment.client("platforms/tunesmith") for _ in range(6)]
    start = threading.Barrier(len(clients))

    def fix(client: Client) -> str:
        start.wait()
        try:
            client.set_id_scheme(POOL, "ORDERED")
        except FailedPreconditionError:
            return "batch"
        return "id_scheme"

    def submit(client: Client, number: int) -> str:
        request_of_own = [event(number)]
        start.wait()
        try:
            client.submit_events(POOL, request_of_own, METHOD, batch_id=f"b-{number}")
        except InvalidArgumentError as error:
            return ",".join(violation.field for violation in error.violations)
        return "batch"

    with ThreadPoolExecutor(len(clients)) as pool:
        tasks = [pool.submit(fix, clients[0])]
        tasks += [pool.submit(submit, client, number) for number, client in enumerate(clients[1:])]
        outcomes = {task.result() for task in tasks}
    with owner.connect() as connection:
        stored = connection.execute(sa.text("SELECT scheme FROM id_scheme")).scalars().all()
        batches = connection.execute(sa.text("SELECT count(*) FROM batch")).scalar_one()
    # A client that asked after the scheme was fixed names it, and its batch is recorded.
    assert outcomes <= {"batch", "id_scheme"}
    assert stored == (["ORDERED"] if tasks[0].result() == "id_scheme" else [])
    kinds = [leaf.entry for leaf in scene.operator.list_leaves(POOL) if b"usage.v1" in leaf.entry]
    assert len(kinds) == batches
    assert {b'"id_scheme":"ORDERED"' in entry for entry in kinds} <= {bool(stored)}


def test_a_scheme_that_is_fixed_while_a_first_batch_is_prepared_makes_it_lose(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch was checked before the scheme was there; under the lock it is looked up again."""
    late = scene.deployment.client("platforms/tunesmith")
    require = id_schemes.require_scheme

    def fixed_meanwhile(named: Any, fixed: Any) -> None:
        require(named, fixed)
        if fixed is None:
            late.set_id_scheme(POOL, "ORDERED")

    monkeypatch.setattr("ledger.store.usage.prepared.require_scheme", fixed_meanwhile)
    with pytest.raises(InvalidArgumentError, match="must be ORDERED"):
        scene.submit([event(1)], "first")
    monkeypatch.undo()
    assert scene.submit([event(1)], "first").accepted_count == 1


def test_rounds_bundles_and_the_database_follow_from_it(deployment: Deployment, scene: Scene, tmp_path: Path) -> None:
    scene.platform.set_id_scheme(POOL, "ORDERED")
    submitted(scene.platform, table(["play-1", "play-2"]))
    scene.submit([event(1)], "of-songbird", by=deployment.client("platforms/songbird"))
    scene.pay_in(1_000, "money")
    scene.cut("round-1")
    sign(deployment)
    auditor = deployment.client("auditors/ada")
    assert auditor.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH
    write_bundle(PoolSource(auditor, POOL), tmp_path / "folk.tar")
    assert report_of(tmp_path / "folk.tar", LOG_KEY.verifier_key).finding is None
    with deployment.running.parts.database.snapshot() as connection:
        assert findings(connection) == []
