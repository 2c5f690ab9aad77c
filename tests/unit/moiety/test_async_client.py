"""The asyncio client against a real gRPC server on the loopback."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.rpc import code_pb2, status_pb2

from moiety import (
    AsyncClient,
    BatchRefusedError,
    Client,
    DeadlineExceededError,
    InvalidUsageError,
    NotFoundError,
    PermissionDeniedError,
    awaiting,
    patience,
)
from moiety.v1 import usage_pb2
from tests.support.far_end import GIVEN_UP, UNAVAILABLE, FarEnd, bad_request, listening, status, usage


@pytest.fixture
def address(far_end: FarEnd, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(patience, "DELAY_SECONDS_FIRST", 0.001)
    monkeypatch.setattr(awaiting, "REFUSAL_SECONDS", 0.05)
    with listening(far_end) as address:
        yield address


@asynccontextmanager
async def connected(address: str, timeout_seconds: float = 60.0) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(address, "secret", timeout_seconds=timeout_seconds) as client:
        yield client


def ran(address: str, work: Callable[[AsyncClient], Awaitable[Any]], **options: float) -> Any:
    """What comes of some work with a client, in an event loop of its own."""

    async def main() -> Any:
        async with connected(address, **options) as client:
            return await work(client)

    return asyncio.run(main())


def test_both_clients_have_the_same_verbs_with_the_same_arguments() -> None:
    names = {name for name in dir(Client) if not name.startswith("_")}
    assert names == {name for name in dir(AsyncClient) if not name.startswith("_")}
    assert {"submit_usage", "list_leaves", "get_body", "domain_map", "resume"} < names
    with Client("127.0.0.1:1", "secret") as blocking:
        awaited = AsyncClient("127.0.0.1:1", "secret")
        for name in names - {"close", "run_steps", "each_item"}:
            assert inspect.signature(getattr(blocking, name)) == inspect.signature(getattr(awaited, name))
            assert getattr(awaited, name).__doc__


def test_a_call_that_fails_while_the_service_is_away_is_made_again(address: str, far_end: FarEnd) -> None:
    far_end.failures = [UNAVAILABLE, status(code_pb2.ABORTED, "lost a race")]
    assert ran(address, lambda client: client.get_platform("tunesmith")).name == "platforms/tunesmith"
    assert far_end.calls == 3
    assert far_end.metadata["authorization"] == "Bearer secret"


def test_a_call_that_cannot_succeed_is_an_error_at_once(address: str, far_end: FarEnd) -> None:
    far_end.failures = [status(code_pb2.NOT_FOUND, "no such platform")]
    with pytest.raises(NotFoundError):
        ran(address, lambda client: client.get_platform("tunesmith"))
    assert far_end.calls == 1


def test_a_service_that_stays_away_is_given_up(address: str, far_end: FarEnd) -> None:
    far_end.failures = [UNAVAILABLE] * 100_000
    with pytest.raises(GIVEN_UP):
        ran(address, lambda client: client.get_platform("tunesmith"), timeout_seconds=0.5)


def test_lists_are_asynchronous_iterators_that_ask_for_pages_as_they_go(address: str, far_end: FarEnd) -> None:
    async def listed(client: AsyncClient) -> list[str]:
        platforms = client.list_platforms()
        assert far_end.calls == 0
        first = await anext(platforms)
        assert far_end.calls == 1
        return [first.name] + [platform.name async for platform in platforms]

    assert ran(address, listed) == ["platforms/p0", "platforms/p1", "platforms/p2"]


def test_a_stream_that_breaks_starts_again_and_repeats_nothing(address: str, far_end: FarEnd) -> None:
    far_end.failures = [UNAVAILABLE]
    assert ran(address, lambda client: client.get_statement("folk", 1)) == b"a,b\n1,2\n"


def test_a_submission_gives_a_receipt_per_batch_in_order_and_batches_like_the_other_client_s(
    address: str, far_end: FarEnd
) -> None:
    answered: list[int] = []
    receipts = ran(
        address,
        lambda client: client.submit_usage("folk", usage(25), "ngram", events_per_batch=2, progress=answered.append),
    )
    assert [receipt.leaf_index for receipt in receipts] == list(range(13))
    assert answered == [2] * 12 + [1]
    with Client(address, "secret") as blocking:
        assert blocking.submit_usage("folk", usage(25), "ngram", events_per_batch=2) == receipts
    assert len(far_end.batches) == 13


def test_a_broken_submission_sends_again_what_was_not_answered(address: str, far_end: FarEnd) -> None:
    broken = iter([False, False, True] * 10 + [False] * 1000)

    def answer(_: usage_pb2.AppendUsageRequest) -> None:
        if next(broken):
            far_end.failures = [UNAVAILABLE]

    far_end.answer_batch = answer
    receipts = ran(
        address,
        lambda client: client.submit_usage("folk", usage(50), "ngram", events_per_batch=1, batch_id="b"),
    )
    assert [receipt.name for receipt in receipts] == [f"b-{index}" for index in range(50)]
    assert set(far_end.received) == set(far_end.batches)


def test_the_reason_of_a_refusal_arrives_whatever_is_being_sent(address: str, far_end: FarEnd) -> None:
    def refuse(context: Any) -> None:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "only platforms")

    far_end.end_streams = refuse
    table = usage(40_000)
    for _ in range(20):
        with pytest.raises(PermissionDeniedError):
            ran(address, lambda client: client.submit_usage("folk", table, "ngram"))


def test_a_refused_batch_and_a_table_at_fault_are_told_with_receipts(address: str, far_end: FarEnd) -> None:
    refused = status(code_pb2.INVALID_ARGUMENT, "refused", bad_request(("events[1].shares", "are too many")))
    far_end.answer_batch = lambda request: refused if request.batch_id == "b-2" else None
    with pytest.raises(BatchRefusedError) as caught:
        ran(
            address,
            lambda client: client.submit_usage("folk", usage(20), "ngram", events_per_batch=2, batch_id="b"),
        )
    assert len(caught.value.receipts) == 9
    faulty = pa.Table.from_batches([usage(4)]).set_column(3, "units", pa.array([1, 2, None, 4], pa.int64()))
    with pytest.raises(InvalidUsageError) as wrong:
        ran(address, lambda client: client.submit_usage("folk", faulty, "ngram", events_per_batch=1))
    assert (wrong.value.field, wrong.value.position, len(wrong.value.receipts)) == ("units", 2, 2)


def test_a_submission_ends_at_its_deadline_and_goes_on(address: str, far_end: FarEnd) -> None:
    def answer(request: usage_pb2.AppendUsageRequest) -> status_pb2.Status | None:
        return status(code_pb2.UNAVAILABLE, "away") if request.batch_id == "b-2" and is_away else None

    is_away = True

    async def work(client: AsyncClient) -> list[usage_pb2.Receipt]:
        nonlocal is_away
        with pytest.raises(GIVEN_UP) as caught:
            await client.submit_usage("folk", usage(5), "ngram", events_per_batch=1, batch_id="b", timeout_seconds=0.5)
        is_away = False
        return await client.resume(caught.value)

    far_end.answer_batch = answer
    assert len(ran(address, work)) == 5
    far_end.hold = threading.Event()
    try:
        with pytest.raises(DeadlineExceededError):
            ran(address, lambda client: client.submit_usage("folk", usage(1), "ngram"), timeout_seconds=0.3)
    finally:
        far_end.hold.set()


def test_a_cancelled_task_ends_its_stream_and_the_client_goes_on(address: str, far_end: FarEnd) -> None:
    async def work(client: AsyncClient) -> Any:
        submitting = asyncio.create_task(client.submit_usage("folk", usage(3), "ngram", events_per_batch=1))
        while not far_end.received:
            await asyncio.sleep(0.01)
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        assert hold is not None
        hold.set()
        far_end.hold = None
        return await client.submit_usage("folk", usage(3), "ngram", events_per_batch=1)

    hold = far_end.hold = threading.Event()
    assert len(ran(address, work)) == 3


def test_many_calls_go_on_beside_each_other(address: str) -> None:
    async def work(client: AsyncClient) -> int:
        submissions = [client.submit_usage(f"pool-{index}", usage(3), "ngram") for index in range(3)]
        platforms = [client.get_platform(f"p{index}") for index in range(30)]
        return len(await asyncio.gather(*submissions)) + len(await asyncio.gather(*platforms))

    assert ran(address, work) == 33


def test_it_may_be_made_where_no_event_loop_runs(address: str) -> None:
    client = AsyncClient(address, "secret")

    async def main() -> str:
        async with client:
            return (await client.get_platform("tunesmith")).name

    assert asyncio.run(main()) == "platforms/tunesmith"
