"""Watching logs: every leaf once and in order, to whom it may be shown, through breaks, and for little."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import Any

import grpc
import pytest
import sqlalchemy as sa

from moiety import AsyncClient, Client, InvalidArgumentError, PermissionDeniedError, Policy, Pool, UnauthenticatedError
from moiety.keys import make_key
from moiety.v1 import audit_pb2 as pb
from services.api.audit import watches
from services.api.grpc import watchers
from services.cli.app import main
from tests.support.books import wait_until
from tests.support.deployment import Deployment, deployed, issue_key
from tests.support.http import ask
from tests.support.scene import POOL, Scene, event, open_scene
from tests.support.wire import Wire, refused

pytestmark = pytest.mark.surface


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


def types_of(leaves: list[pb.Leaf]) -> list[str]:
    return [json.loads(leaf.entry)["type"] if leaf.entry else "" for leaf in leaves]


def whole(scene: Scene, pool: str = POOL) -> list[pb.Leaf]:
    return list(scene.operator.list_leaves(pool))


def test_a_watch_gives_what_is_there_and_then_what_comes(scene: Scene) -> None:
    there = whole(scene)
    seen = scene.operator.watch(POOL)
    assert list(islice(seen, len(there))) == there
    with ThreadPoolExecutor(1) as other:
        coming = other.submit(next, seen)
        scene.submit([event(1)], "one")
        leaf = coming.result(timeout=120)
    assert leaf == whole(scene)[-1]


def test_a_watch_begins_where_it_is_told(scene: Scene) -> None:
    size = len(whole(scene))
    new = scene.operator.watch(POOL, only_new=True)
    with ThreadPoolExecutor(1) as other:
        coming = other.submit(next, new)
        wait_until(lambda: watches_of(scene))  # before it is open there is no now that it could begin at
        scene.submit([event(1)], "one")
        assert coming.result(timeout=120).index == size
    assert next(scene.operator.watch(POOL, start=size)).index == size
    with pytest.raises(InvalidArgumentError, match="start"):
        next(scene.operator.watch(POOL, start=size + 2))
    assert types_of([next(scene.operator.watch("registry"))]) == ["deployment.v1"]


def test_a_log_of_many_pages_comes_whole(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "LEAVES_MAX", 3)
    for number in range(10):
        scene.submit([event(number)], f"batch-{number}")
    there = whole(scene)
    assert list(islice(scene.operator.watch(POOL), len(there))) == there
    assert list(islice(scene.operator.watch(POOL, start=4), len(there) - 4)) == there[4:]


def test_everyone_sees_their_own_and_no_more(scene: Scene) -> None:
    songbird = scene.deployment.client("platforms/songbird")
    scene.pay_in(100_000, "january")
    scene.submit([event(1)], "mine")
    scene.submit([event(2)], "theirs", by=songbird)
    scene.cut("r")
    scene.operator.record_payment(POOL, "irish", 10, request_id="pay-irish", reference="a")
    songbird.report_revenue(POOL, 5, "EUR", request_id="last")
    last = whole(scene)[-1].index

    def seen_by(principal: str) -> list[str]:
        with Wire(scene.deployment.address, scene.deployment.key(principal)) as wire:
            call = wire.open("AuditService/WatchLeaves", pb.WatchLeavesRequest(parent=f"pools/{POOL}"))
            leaves: list[pb.Leaf] = []
            for answer in call:
                leaves += answer.leaves
                if answer.log_size == answer.next_start:
                    break
            call.cancel()
        return [kind for kind in types_of(leaves) if kind not in ("round.v1", "posting.v1")]

    assert seen_by("auditors/ada") == [
        kind for kind in types_of(whole(scene)) if kind not in ("round.v1", "posting.v1")
    ]
    assert seen_by("collectives/irish") == ["payment.v1"]
    assert seen_by("collectives/breton") == []
    assert seen_by("platforms/tunesmith") == ["report.v1", "usage.v1"]
    assert seen_by("platforms/songbird") == ["usage.v1", "report.v1"]
    assert last == len(whole(scene)) - 1
    with pytest.raises(PermissionDeniedError):
        next(scene.deployment.client("collectives/irish").watch("registry"))


def test_a_key_for_other_pools_watches_nothing(scene: Scene) -> None:
    scene.operator.create_pool("classical", Pool(display_name="Other tunes", currency="EUR", policy=Policy()))
    made = make_key()
    scene.operator.create_api_key("collectives/irish", made.hash, pools=["classical"])
    with Client(scene.deployment.address, made.text) as elsewhere, pytest.raises(PermissionDeniedError):
        next(elsewhere.watch(POOL))


def test_a_revoked_key_ends_its_watch(scene: Scene) -> None:
    scene.operator.update_principal("auditors/ada")
    key_id, text = issue_key(scene.operator, "auditors/ada")
    with Client(scene.deployment.address, text, timeout_seconds=60) as auditor:
        seen = auditor.watch(POOL)
        next(seen)
        scene.operator.revoke_api_key(key_id)
        time.sleep(1.2)  # as long as a key may be remembered
        scene.submit([event(1)], "one")
        with pytest.raises(UnauthenticatedError):
            list(seen)


def test_watches_hold_no_threads_and_leave_room_for_calls(deploy: Callable[..., Deployment]) -> None:
    scene = open_scene(deploy(threads=4))
    key = scene.deployment.key("operators/olive")
    count = 16
    before = threading.active_count()
    with Wire(scene.deployment.address, key) as wire:
        calls = [
            wire.open("AuditService/WatchLeaves", pb.WatchLeavesRequest(parent=f"pools/{POOL}")) for _ in range(count)
        ]
        size = len(whole(scene))
        firsts = [next(iter(call)) for call in calls]
        assert [answer.next_start for answer in firsts] == [size] * count
        assert threading.active_count() - before < count + 12  # ours in the client has one for each call
        scene.submit([event(1)], "one")
        assert [next(iter(call)).leaves[0].index for call in calls] == [size] * count
        refused = wire.open("AuditService/WatchLeaves", pb.WatchLeavesRequest(parent=f"pools/{POOL}"))
        with pytest.raises(grpc.RpcError) as caught:
            next(iter(refused))
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, caught
        for call in calls:
            call.cancel()
    seen = scene.operator.watch(POOL, start=size)
    assert next(seen).index == size  # those who left make room


def test_one_who_does_not_read_holds_up_nobody(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "LEAVES_MAX", 50)
    monkeypatch.setattr(watchers, "THREADS", 2)
    monkeypatch.setattr(watchers, "THREADS_EACH", 1)
    for number in range(300):
        scene.submit([event(number)], f"batch-{number}")
    key = scene.deployment.key("auditors/ada")
    with Wire(scene.deployment.address, key) as wire:
        parent = f"pools/{POOL}"
        calls = [wire.open("AuditService/WatchLeaves", pb.WatchLeavesRequest(parent=parent)) for _ in range(6)]
        size = len(whole(scene))
        assert len(list(islice(scene.operator.watch(POOL), size))) == size
        for call in calls:
            call.cancel()


def test_a_watch_goes_on_through_a_restart(scene: Scene, database_url: str) -> None:
    with deployed(database_url, scene.deployment.clock) as first:
        address, key = first.address, first.key("operators/olive")
        there = len(whole(scene))
        client = Client(address, key, timeout_seconds=240)
        seen = client.watch(POOL)
        got = list(islice(seen, there))
    with ThreadPoolExecutor(1) as other:
        rest = other.submit(lambda: list(islice(seen, 2)))
        scene.submit([event(1)], "one")
        with deployed(database_url, scene.deployment.clock, listen=address):
            scene.submit([event(2)], "two")
            got += rest.result(timeout=240)
    assert got == whole(scene)
    client.close()


def test_stopping_ends_watches_and_does_not_wait_for_them(scene: Scene, database_url: str) -> None:
    with ExitStack() as stack:
        with deployed(database_url, scene.deployment.clock, drain_seconds=600.0) as stopping:
            wire = stack.enter_context(Wire(stopping.address, stopping.key("operators/olive")))
            call = wire.open("AuditService/WatchLeaves", pb.WatchLeavesRequest(parent=f"pools/{POOL}"), timeout=120)
            next(iter(call))
        refusal = refused(lambda: list(call))  # the rest of it, where there is any
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STOPPING")


def test_a_watch_by_http_streams_and_ends_with_its_reader(scene: Scene) -> None:
    address, key = scene.deployment.running.http_address, scene.deployment.key("operators/olive")
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=120)
    raw = json.dumps({"parent": f"pools/{POOL}"}).encode()
    headers = {"content-type": "application/connect+json", "authorization": f"Bearer {key}"}
    path = "/moiety.v1.AuditService/WatchLeaves"
    connection.request("POST", path, b"\0" + len(raw).to_bytes(4) + raw, headers)
    answer = connection.getresponse()

    def message() -> Any:
        head = answer.read(5)
        return json.loads(answer.read(int.from_bytes(head[1:])))

    size = len(whole(scene))
    found = message()
    while int(found.get("nextStart", 0)) < size:
        found = message()
    scene.submit([event(1)], "one")
    (leaf,) = message()["leaves"]
    assert int(leaf["index"]) == size
    answer.close()
    connection.close()
    wait_until(lambda: watches_of(scene) == 0)


def watches_of(scene: Scene) -> int:
    text = ask(scene.deployment.running.http_address, "/metrics").text
    return int(float(re.search(r"^moiety_watches (\S+)$", text, re.MULTILINE)[1]))  # type: ignore[index]


def test_a_watch_of_asyncio(scene: Scene) -> None:
    there = whole(scene)
    key = scene.deployment.key("operators/olive")

    async def watched() -> list[pb.Leaf]:
        found = []
        async with AsyncClient(scene.deployment.address, key) as client:
            async for leaf in client.watch(POOL):
                found.append(leaf)
                if len(found) == len(there):
                    break
        return found

    assert asyncio.run(watched()) == there


def test_a_log_that_was_cut_is_said(scene: Scene, owner: sa.Engine) -> None:
    """As after a failover to a standby that lacked the last commits."""
    scene.submit([event(1)], "one")
    size = len(whole(scene))
    with Wire(scene.deployment.address, scene.deployment.key("operators/olive")) as wire:
        call = wire.open("AuditService/WatchLeaves", pb.WatchLeavesRequest(parent=f"pools/{POOL}"))
        answers: Iterator[pb.WatchLeavesResponse] = iter(call)
        while next(answers).next_start < size:
            pass
        with owner.begin() as connection:
            connection.execute(sa.text("UPDATE head SET size = size - 1 WHERE pool_id > 0"))
        with pytest.raises(grpc.RpcError):
            next(answers)
        assert call.code() is grpc.StatusCode.DATA_LOSS


def test_the_command_prints_lines(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    there = whole(scene)
    key = scene.deployment.key("operators/olive")
    with pytest.raises(SystemExit) as caught:
        main([
            "log", "watch", POOL, "--count", str(len(there)), "--json",
            "--address", scene.deployment.address, "--api-key", key,
        ])  # fmt: skip
    assert caught.value.code == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith('{"index"')]
    assert [line["index"] for line in lines] == [leaf.index for leaf in there]
    assert lines[0]["entry"]["type"] == "pool.v1"
