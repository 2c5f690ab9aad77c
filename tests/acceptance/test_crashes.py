"""Whatever dies, and whenever: what was acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Semaphore
from threading import enumerate as enumerate_threads
from typing import Any, Final

import grpc
import pytest
import sqlalchemy as sa

from moiety import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    Outbox,
    Policy,
    Receipt,
    UsageEvent,
    batch_of,
    usage_batches,
)
from moiety.v1 import usage_pb2 as pb
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.rounds_pb2 import ROUND_STATE_CALCULATED, ROUND_STATE_POSTED
from tests.support.books import execute, head_held, require_sound_log, row_counts, wait_until, waiting_backends
from tests.support.deployment import Deployment, SteppedClock, deployed
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene
from tests.support.server_process import ServerProcess
from tests.support.wire import Refusal, Wire, refused, request_of

APPEND: Final = "UsageService/AppendUsage"


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    """What is set up and looked at through another process, which lives."""
    return open_scene(deployment)


@pytest.fixture
def process(database_url: str) -> Iterator[ServerProcess]:
    with ServerProcess(database_url) as process:
        yield process


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@contextmanager
def stopped_halfway(owner: sa.Engine, start: Callable[[], Future[Any]]) -> Iterator[Future[Any]]:
    """A call that has done all its work and waits, in its transaction, for the head of the pool's log."""
    with head_held(owner, POOL):
        call = start()
        wait_until(lambda: waiting_backends(owner))
        yield call


def terminate_backends(owner: sa.Engine, condition: str = "TRUE") -> None:
    """End the database's connections, but the owner's."""
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        f"AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND {condition}"
    )
    assert execute(owner, query)


WAITING: Final = "wait_event_type = 'Lock'"


def append_requests(count: int, size: int) -> list[pb.AppendUsageRequest]:
    bodies = [next(usage_batches(batch_of(events(range(at, at + size))))) for at in range(0, count * size, size)]
    return [
        request_of(APPEND, parent=f"pools/{POOL}", method_id=METHOD, batch_id=f"b-{number}", arrow_stream=body)
        for number, body in enumerate(bodies)
    ]


IN_FLIGHT: Final = 8


def receipts_until_it_breaks(
    wire: Wire, requests: list[pb.AppendUsageRequest], then: Callable[[int], None]
) -> dict[str, Receipt]:
    """Send the requests with a few unanswered at a time, so that a killed service has never answered them all."""
    found: dict[str, Receipt] = {}
    free = Semaphore(IN_FLIGHT)

    def paced() -> Iterator[pb.AppendUsageRequest]:
        for request in requests:
            free.acquire()
            yield request

    try:
        for answer in wire.open(APPEND, paced()):
            assert answer.HasField("receipt"), answer.error
            found[answer.receipt.name] = answer.receipt
            free.release()
            then(len(found))
    except grpc.RpcError:
        pass
    finally:
        free.release(len(requests))
    return found


def test_what_a_killed_service_acknowledged_is_there_and_nothing_is_there_twice(
    scene: Scene, owner: sa.Engine, process: ServerProcess
) -> None:
    requests = append_requests(60, 100)
    key = scene.deployment.key("platforms/tunesmith")
    acknowledged: dict[str, Receipt] = {}

    def kill_at(wanted: int, count: int) -> None:
        if count == wanted:
            process.kill()

    for kill_after in (3, 31):
        with Wire(process.address, key) as wire:
            found = receipts_until_it_breaks(wire, requests, partial(kill_at, kill_after))
        assert kill_after <= len(found) < len(requests)
        assert all(found[name] == receipt for name, receipt in acknowledged.items() if name in found)
        acknowledged |= found
        process.start()
    with Wire(process.address, key) as wire:
        final = receipts_until_it_breaks(wire, requests, lambda _: None)
    assert len(final) == len(requests)
    assert final | acknowledged == final
    assert sum(receipt.accepted_count for receipt in final.values()) == row_counts(owner)["event"] == 6000
    scene.deployment.clock.now = datetime.now(UTC)  # the log has the killed service's times, and theirs never fall
    scene.pay_in(1000, "r")
    cut = scene.cut("q")
    assert cut.event_count == 6000
    assert scene.operator.replay_round(POOL, cut.number).outcome == REPLAY_OUTCOME_MATCH
    require_sound_log(owner, POOL)


SIZE: Final = 50
COUNT: Final = 12


class Breaking:
    """A service that is frozen after two batches of a submission, and killed and started again after seven.

    Of those that are under way when it is frozen, three may be answered already.
    """

    def __init__(self, process: ServerProcess) -> None:
        self._process = process
        self.answered = 0

    def __call__(self, *_: object) -> None:
        self.answered += 1
        if self.answered == 2:
            self._process.freeze()
        if self.answered == 7:
            self._process.kill()
            self._process.start()


def by_the_client(
    process: ServerProcess, key: str, usage: Sequence[UsageEvent], breaking: Breaking
) -> Sequence[Receipt]:
    with Client(process.address, key, timeout_seconds=6) as client:
        with pytest.raises(DeadlineExceededError) as caught:
            client.submit_usage(POOL, batch_of(usage), METHOD, events_per_batch=SIZE, progress=breaking)
        assert len(caught.value.receipts) == breaking.answered
        process.go_on()
        return client.resume(caught.value, timeout_seconds=240)


def by_the_asyncio_client(
    process: ServerProcess, key: str, usage: Sequence[UsageEvent], breaking: Breaking
) -> Sequence[Receipt]:
    async def submit() -> Sequence[Receipt]:
        async with AsyncClient(process.address, key, timeout_seconds=6) as client:
            with pytest.raises(DeadlineExceededError) as caught:
                await client.submit_usage(POOL, batch_of(usage), METHOD, events_per_batch=SIZE, progress=breaking)
            assert len(caught.value.receipts) == breaking.answered
            process.go_on()
            return await client.resume(caught.value, timeout_seconds=240)

    return asyncio.run(submit())


def by_an_outbox(
    process: ServerProcess, key: str, usage: Sequence[UsageEvent], breaking: Breaking
) -> Sequence[Receipt]:
    """What is delivered a second time is what has no receipt, so the receipts are those of both deliveries."""
    receipts: dict[str, Receipt] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        Outbox(folder, POOL, METHOD) as outbox,
        Client(process.address, key, timeout_seconds=6) as client,
        pytest.MonkeyPatch.context() as smaller,
    ):
        smaller.setattr("moiety.outbox.EVENTS_PER_BATCH", SIZE)
        for each in usage:
            outbox.put(each)
        remove = outbox.remove

        def remove_and_break(path: Path) -> None:
            remove(path)
            breaking()

        smaller.setattr(outbox, "remove", remove_and_break)
        with pytest.raises(DeadlineExceededError) as caught:
            client.deliver(outbox)
        receipts |= {receipt.name: receipt for receipt in caught.value.receipts}
        assert len(outbox) == len(usage) - SIZE * breaking.answered
        process.go_on()
        receipts |= {receipt.name: receipt for receipt in client.deliver(outbox, timeout_seconds=240).receipts}
        assert len(outbox) == 0
    return list(receipts.values())


def test_a_submission_loses_and_doubles_nothing_where_its_service_is_frozen_and_killed(
    scene: Scene, owner: sa.Engine, process: ServerProcess
) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    with Client(process.address, key) as client:
        client.get_pool(POOL)  # the first call takes longer than the others
    for place, submit in enumerate((by_the_client, by_the_asyncio_client, by_an_outbox)):
        first = place * COUNT * SIZE
        breaking = Breaking(process)
        receipts = submit(process, key, events(range(first, first + COUNT * SIZE)), breaking)
        assert breaking.answered == COUNT, submit.__name__
        assert [receipt.accepted_count for receipt in receipts] == [SIZE] * COUNT, submit.__name__
        assert not any(receipt.duplicate_count for receipt in receipts), submit.__name__
        assert row_counts(owner)["event"] == first + COUNT * SIZE, submit.__name__
    assert row_counts(owner)["batch"] == 3 * COUNT
    require_sound_log(owner, POOL)


def test_a_batch_in_the_middle_of_its_transaction_leaves_nothing_when_its_service_is_killed(
    scene: Scene, owner: sa.Engine, process: ServerProcess, threads: ThreadPoolExecutor
) -> None:
    before = row_counts(owner)
    with Wire(process.address, scene.deployment.key("platforms/tunesmith")) as wire:
        (request,) = append_requests(1, 500)
        with stopped_halfway(owner, lambda: threads.submit(receipts_until_it_breaks, wire, [request], print)) as call:
            process.kill()
            assert call.result() == {}
    wait_until(lambda: not waiting_backends(owner))
    assert row_counts(owner) == before
    process.start()
    with Wire(process.address, scene.deployment.key("platforms/tunesmith")) as wire:
        (answer,) = wire.call(APPEND, request)
    assert (answer.receipt.accepted_count, answer.receipt.duplicate_count) == (500, 0)
    require_sound_log(owner, POOL)


def test_a_round_whose_service_is_killed_while_posting_is_still_to_be_approved(
    scene: Scene, owner: sa.Engine, process: ServerProcess, threads: ThreadPoolExecutor
) -> None:
    scene.operator.create_policy(POOL, Policy(review_seconds=60))
    scene.fill()
    scene.cut("takes-the-policy-in")
    scene.pay_in(1000, "r")
    scene.submit([event(1)], "b")
    waiting = scene.operator.calculate_round(POOL, request_id="q")
    before = row_counts(owner)
    with Wire(process.address, scene.deployment.key("operators/otto")) as wire:
        approve = request_of("RoundsService/ApproveRound", name=waiting.name)
        with stopped_halfway(
            owner, lambda: threads.submit(refused, lambda: wire.call("RoundsService/ApproveRound", approve))
        ) as call:
            process.kill()
            assert call.result().code is grpc.StatusCode.UNAVAILABLE
    wait_until(lambda: not waiting_backends(owner))
    assert row_counts(owner) == before
    assert scene.operator.get_round(POOL, waiting.number).state == ROUND_STATE_CALCULATED
    assert scene.balances()["revenue"] == 1000
    assert scene.approve(waiting.number).state == ROUND_STATE_POSTED
    assert sum(scene.balances().values()) == 0
    require_sound_log(owner, POOL)


def test_the_sdk_carries_a_submission_over_the_death_of_the_service(
    scene: Scene, owner: sa.Engine, process: ServerProcess, threads: ThreadPoolExecutor
) -> None:
    answered, halfway, killed = 0, Event(), Event()

    def progress(count: int) -> None:
        nonlocal answered
        answered += count
        if answered >= 500:
            halfway.set()
            killed.wait()

    with Client(process.address, scene.deployment.key("platforms/tunesmith")) as client:
        submission = threads.submit(
            client.submit_usage, POOL, batch_of(events(range(4000))), METHOD, events_per_batch=50, progress=progress
        )
        halfway.wait()
        process.kill()
        killed.set()
        assert answered < 4000
        process.start()
        receipts = submission.result()
    assert sum(receipt.accepted_count for receipt in receipts) == row_counts(owner)["event"] == answered == 4000
    require_sound_log(owner, POOL)


def test_a_service_that_is_asked_to_stop_completes_the_call_under_way_and_takes_no_other(
    scene: Scene, owner: sa.Engine, process: ServerProcess, threads: ThreadPoolExecutor
) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    with ExitStack() as stack:
        wire = stack.enter_context(Wire(process.address, key))
        (request,) = append_requests(1, 10)
        with stopped_halfway(owner, lambda: threads.submit(wire.call, APPEND, request)) as call:
            process.terminate()

            def turned_away() -> bool:
                # A connection that gRPC takes at the moment it closes may stay unanswered until the drain ends.
                with Wire(process.address, key) as other:
                    try:
                        other.open(
                            "RegistryService/ListPools", request_of("RegistryService/ListPools"), timeout=2
                        ).result()
                    except grpc.RpcError as error:
                        return bool(error.code() is grpc.StatusCode.UNAVAILABLE)
                return False

            wait_until(turned_away)
            assert not call.done()
        (answer,) = call.result()
        assert answer.receipt.accepted_count == 10
    assert process.exit_code() == 0
    assert [receipt.name for receipt in scene.platform.list_batches(POOL)] == [answer.receipt.name]


def lost_call(scene: Scene, threads: ThreadPoolExecutor, numbers: range) -> Future[Refusal]:
    """A call without the SDK's retries, and how it fails."""

    def run() -> Refusal:
        with Wire(scene.deployment.address, scene.deployment.key("platforms/tunesmith")) as wire:
            usage = [
                {
                    "event_id": str(event(number).event_id),
                    "occurred_at": {"seconds": 1_767_268_800},
                    "units": 1,
                    "mode": 1,
                }
                for number in numbers
            ]
            submit = request_of(
                "UsageService/SubmitUsage", parent=f"pools/{POOL}", batch_id="b", method_id=METHOD, events=usage
            )
            return refused(lambda: wire.call("UsageService/SubmitUsage", submit))

    return threads.submit(run)


def require_database_away(refusal: Refusal) -> None:
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_AWAY")
    assert refusal.details["RetryInfo"].retry_delay.seconds == 1


def test_a_database_connection_lost_before_the_commit_is_told_as_unavailable_and_nothing_is_kept(
    scene: Scene, owner: sa.Engine, threads: ThreadPoolExecutor
) -> None:
    before = row_counts(owner)
    with stopped_halfway(owner, lambda: lost_call(scene, threads, range(50))) as call:
        terminate_backends(owner, WAITING)
        require_database_away(call.result())
    assert row_counts(owner) == before
    assert scene.submit(events(range(50)), "b").accepted_count == 50


FAR_APART: Final = range(0, 50 * 2**110, 2**110)
"""Ids that no page holds, so that each has a row."""


def test_a_database_connection_lost_while_events_are_copied_is_told_as_unavailable(
    scene: Scene, owner: sa.Engine, threads: ThreadPoolExecutor
) -> None:
    with owner.connect() as other:
        # Another writer's event, not committed yet: the service waits for it in the middle of its rows.
        other.execute(
            sa.text(
                "INSERT INTO event SELECT pool_id, platform_id, :event_id, 1 FROM pool, platform "
                "WHERE platform.name = 'tunesmith'"
            ),
            {"event_id": event(FAR_APART[25]).event_id},
        )
        call = lost_call(scene, threads, FAR_APART)
        wait_until(lambda: waiting_backends(owner))
        terminate_backends(owner, WAITING)
        require_database_away(call.result())
        other.rollback()
    assert scene.submit(events(FAR_APART), "b").accepted_count == 50
    require_sound_log(owner, POOL)


def test_the_sdk_tries_again_when_the_database_was_lost(
    scene: Scene, owner: sa.Engine, threads: ThreadPoolExecutor
) -> None:
    usage = batch_of(events(range(50)))
    calls: list[Callable[[], Receipt]] = [
        lambda: scene.platform.submit_usage(POOL, usage, METHOD)[0],
        lambda: scene.submit(events(range(50, 100)), "b"),
    ]
    for call in calls:
        with stopped_halfway(owner, partial(threads.submit, call)) as result:
            terminate_backends(owner, WAITING)
        assert result.result().accepted_count == 50
    require_sound_log(owner, POOL)


def test_after_a_restart_of_the_database_the_service_finds_it_again(
    scene: Scene, owner: sa.Engine, threads: ThreadPoolExecutor
) -> None:
    list(threads.map(lambda _: list(scene.operator.list_pools()), range(50)))
    with Wire(scene.deployment.address, scene.deployment.key("operators/olive")) as wire:
        terminate_backends(owner)
        failures = []
        for _ in range(20):
            try:
                wire.call("RegistryService/ListPools")
            except grpc.RpcError as error:
                failures.append(error.code())
    assert failures in ([], [grpc.StatusCode.UNAVAILABLE])
    terminate_backends(owner)
    assert scene.submit([event(1)], "b").accepted_count == 1


def test_a_call_whose_caller_stopped_waiting_is_recorded_once_all_the_same(
    scene: Scene, owner: sa.Engine, threads: ThreadPoolExecutor
) -> None:
    (request,) = append_requests(1, 50)
    with Wire(scene.deployment.address, scene.deployment.key("platforms/tunesmith")) as wire:
        opened: list[Any] = []

        def ask() -> Future[Any]:
            opened.append(wire.open(APPEND, [request]))
            return threads.submit(refused, lambda: list(opened[0]))

        with stopped_halfway(owner, ask) as call:
            opened[0].cancel()
            assert call.result().code is grpc.StatusCode.CANCELLED
        wait_until(lambda: row_counts(owner)["batch"] == 1)
        (answer,) = wire.call(APPEND, request)
    assert (answer.receipt.accepted_count, answer.receipt.duplicate_count) == (50, 0)
    assert row_counts(owner)["batch"] == 1
    require_sound_log(owner, POOL)


def answers_unless_crowded(wire: Wire, requests: Sequence[pb.AppendUsageRequest]) -> list[Any]:
    """All answers of a stream; none while others of the same principal, just left, are still counted as open."""
    try:
        return list(wire.open(APPEND, requests))
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return []


def left_after_the_first_receipt(wire: Wire, requests: Sequence[pb.AppendUsageRequest]) -> bool:
    """Leaves a stream in the middle; False while one that was left before is still counted as open."""
    call = wire.open(APPEND, requests)
    try:
        assert next(call).HasField("receipt")
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    call.cancel()
    return True


def test_clients_that_go_away_in_the_middle_of_their_streams_leave_the_service_free(
    deploy: Callable[..., Deployment], owner: sa.Engine
) -> None:
    scene = open_scene(deploy(threads=4))
    requests = append_requests(12, 20)
    key = scene.deployment.key("platforms/tunesmith")
    for _ in range(8):
        with Wire(scene.deployment.address, key) as wire:
            wait_until(partial(left_after_the_first_receipt, wire, requests))
    with Wire(scene.deployment.address, key) as wire:
        answers = wait_until(lambda: answers_unless_crowded(wire, requests))
        assert len(answers) == len(requests)
    wait_until(lambda: not [thread for thread in enumerate_threads() if thread.name == "reader"])
    assert row_counts(owner)["event"] == 240
    require_sound_log(owner, POOL)


def test_a_stream_that_nobody_uses_does_not_keep_a_service_from_stopping(
    database_url: str, clock: SteppedClock
) -> None:
    done = Event()

    def nothing() -> Iterator[pb.AppendUsageRequest]:
        done.wait(240)
        yield from ()

    with ExitStack() as stack:
        with deployed(database_url, clock, drain_seconds=0.3) as deployment:
            scene = open_scene(deployment)
            wire = stack.enter_context(Wire(deployment.address, deployment.key("platforms/tunesmith")))
            idle = wire.open(APPEND, nothing())
            assert scene.operator.get_pool(POOL).log_size == 2
        assert refused(lambda: next(idle)).code is grpc.StatusCode.UNAVAILABLE
        done.set()
