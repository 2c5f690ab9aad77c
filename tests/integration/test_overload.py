"""More calls than the service can answer: what is beyond a share of the queue is refused, and others are answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import UUID

import grpc
import pytest
import sqlalchemy as sa
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ledger.errors import StoreUnavailableError
from ledger.store.postgres.calls import Work, work_of_call
from ledger.store.postgres.database import Database
from moiety import Client
from moiety.events import event_to_message
from moiety.v1 import registry_pb2, registry_pb2_grpc, usage_pb2, usage_pb2_grpc
from services.api.calls.queues import WAITING_PER_THREAD
from tests.support.books import head_held, wait_until
from tests.support.http import Answered, call
from tests.support.scene import METHOD, POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

THREADS: Final = 4


@pytest.fixture
def few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOIETY_THREADS", str(THREADS))


@pytest.fixture
def scene(request: pytest.FixtureRequest, few_threads: None) -> Scene:  # noqa: ARG001  # set before the service starts
    return open_scene(request.getfixturevalue("deployment"))


@pytest.fixture
def channel(scene: Scene) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(scene.deployment.address) as channel:
        yield channel


def reason_of(error: Any) -> str:
    """The reason of a refusal that says when to try again."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    status = rpc_status.from_call(error)
    assert status is not None
    for detail in status.details:
        for kind in (info, retry):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    assert retry.retry_delay.seconds >= 1
    return str(info.reason)


def submitted(channel: grpc.Channel, key: str, count: int, *, timeout: float) -> list[Any]:
    """So many calls at once, each with a batch of one event."""
    submit = usage_pb2_grpc.UsageServiceStub(channel).SubmitUsage
    return [
        submit.future(
            usage_pb2.SubmitUsageRequest(
                parent=f"pools/{POOL}",
                batch_id=f"b-{number}",
                method_id=METHOD,
                events=[event_to_message(event(number))],
            ),
            metadata=(("authorization", f"Bearer {key}"),),
            timeout=timeout,
        )
        for number in range(count)
    ]


def test_a_flood_is_refused_beyond_its_share_and_others_are_answered(
    scene: Scene, channel: grpc.Channel, owner: sa.Engine
) -> None:
    assert scene.deployment.settings.threads == THREADS
    key = scene.deployment.key("platforms/songbird")
    with Client(scene.deployment.address, key) as songbird:
        songbird.get_pool(POOL)  # so that its key is known
        with head_held(owner, POOL):
            flood = submitted(channel, key, 3 * THREADS * WAITING_PER_THREAD, timeout=240)
            wait_until(lambda: sum(each.done() for each in flood) >= THREADS * WAITING_PER_THREAD)
            assert scene.operator.get_pool(POOL).name == f"pools/{POOL}"
            assert scene.balances() == {}
    ended: Counter[str] = Counter()
    for each in flood:
        error = each.exception()
        ended[reason_of(error) if error else "OK"] += 1
    assert ended["OVERLOADED"] >= THREADS * WAITING_PER_THREAD
    assert ended["OK"] > 0
    assert set(ended) <= {"OK", "OVERLOADED", "BUSY"}


def test_a_flood_over_http_is_refused_beyond_its_share_and_others_are_answered(scene: Scene, owner: sa.Engine) -> None:
    address = scene.deployment.running.http_address
    songbird, olive = (scene.deployment.key(name) for name in ("platforms/songbird", "operators/olive"))
    for key in (songbird, olive):
        assert call(address, "RegistryService/GetPool", key, name=f"pools/{POOL}").status == 200

    def submit(number: int) -> Answered:
        usage = {"eventId": str(UUID(int=number + 1)), "occurredAt": "2026-01-01T12:00:00Z", "units": 1, "mode": 1}
        fields = {"parent": f"pools/{POOL}", "batchId": f"b-{number}", "methodId": METHOD, "events": [usage]}
        return call(address, "UsageService/SubmitUsage", songbird, **fields)

    count = 3 * THREADS * WAITING_PER_THREAD
    with ThreadPoolExecutor(count) as callers:
        with head_held(owner, POOL):
            flood = [callers.submit(submit, number) for number in range(count)]
            wait_until(lambda: sum(each.done() for each in flood) >= THREADS * WAITING_PER_THREAD)
            assert call(address, "RegistryService/GetPool", olive, name=f"pools/{POOL}").status == 200
        answers = [each.result() for each in flood]
    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.status for answer in answers} == {200, 429}
    assert len(refused) >= THREADS * WAITING_PER_THREAD
    assert {answer.json()["code"] for answer in refused} == {"resource_exhausted"}


def test_a_call_whose_caller_stopped_waiting_is_not_begun(
    scene: Scene, channel: grpc.Channel, owner: sa.Engine
) -> None:
    key = scene.deployment.key("platforms/songbird")
    with Client(scene.deployment.address, key) as songbird:
        songbird.get_pool(POOL)
        before = log_size(scene)
        with head_held(owner, POOL):
            calls = submitted(channel, key, 4 * THREADS, timeout=1)
            assert {each.code() for each in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
        songbird.get_pool(POOL)  # behind all of them in its queue
    # Of those that were begun in time, one has each thread but the one that does a group, of as many at most.
    assert log_size(scene) < before + 2 * THREADS


def log_size(scene: Scene) -> int:
    return scene.deployment.client("auditors/ada").get_log_head(POOL).size


def test_what_postgres_does_for_a_call_that_was_given_up_ends(
    scene: Scene, channel: grpc.Channel, owner: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(connection: sa.Connection, *_: Any) -> None:
        connection.exec_driver_sql("SELECT pg_sleep(600)")

    def sleeping() -> int:
        query = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(600)'"
        with owner.connect() as connection:
            return int(connection.exec_driver_sql(query).scalar_one())

    metadata = (("authorization", f"Bearer {scene.deployment.key('operators/olive')}"),)
    monkeypatch.setattr("services.api.registry.pools.get_pool", slowly)
    get_pool = registry_pb2_grpc.RegistryServiceStub(channel).GetPool
    asked = get_pool.future(registry_pb2.GetPoolRequest(name=f"pools/{POOL}"), metadata=metadata, timeout=120)
    wait_until(sleeping)
    asked.cancel()
    wait_until(lambda: not sleeping())
    monkeypatch.undo()
    assert scene.operator.get_pool(POOL).name == f"pools/{POOL}"


def test_work_that_was_given_up_begins_nothing(database_url: str) -> None:
    database, work = Database(database_url, connections=2), Work()
    work.give_up()
    token = work_of_call.set(work)
    try:
        with pytest.raises(StoreUnavailableError), database.transaction():
            pass
        with database.transaction(shared=True) as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    finally:
        work_of_call.reset(token)
        database.close()
