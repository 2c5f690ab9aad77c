"""The client against a real gRPC server on the loopback that plays the far end of the contract."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2

from moiety import (
    BatchRefusedError,
    Client,
    DeadlineExceededError,
    InvalidArgumentError,
    InvalidUsageError,
    NotFoundError,
    UnavailableError,
    Violation,
    blocking,
)
from moiety.patience import TIMEOUT_SECONDS_MAX
from moiety.submission import BATCHES_IN_FLIGHT
from moiety.v1 import registry_pb2, usage_pb2
from tests.support.far_end import GIVEN_UP, UNAVAILABLE, FarEnd, bad_request, listening, status
from tests.support.far_end import usage as table


def test_a_call_carries_the_api_key_as_a_bearer_token(client: Client, far_end: FarEnd) -> None:
    client.get_platform("tunesmith")
    assert far_end.metadata["authorization"] == "Bearer secret"


def test_a_call_that_fails_while_the_service_is_away_is_made_again(client: Client, far_end: FarEnd) -> None:
    far_end.failures = [UNAVAILABLE, status(code_pb2.ABORTED, "lost a race")]
    assert client.get_platform("tunesmith").name == "platforms/tunesmith"
    assert far_end.calls == 3


def test_a_call_that_cannot_succeed_is_not_made_again(client: Client, far_end: FarEnd) -> None:
    info = error_details_pb2.ErrorInfo(reason="PLATFORM_UNKNOWN", metadata={"platform": "tunesmith"})
    far_end.failures = [status(code_pb2.NOT_FOUND, "no such platform", info)]
    with pytest.raises(NotFoundError) as caught:
        client.get_platform("tunesmith")
    assert caught.value.reason == "PLATFORM_UNKNOWN"
    assert caught.value.metadata == {"platform": "tunesmith"}
    assert far_end.calls == 1


def test_what_may_not_happen_twice_is_not_repeated(client: Client, far_end: FarEnd) -> None:
    far_end.failures = [UNAVAILABLE]
    with pytest.raises(UnavailableError):
        client.update_schedule("folk", registry_pb2.Schedule(cron="0 6 1 * *", time_zone="UTC"))
    assert far_end.calls == 1


def test_a_service_that_stays_away_is_given_up(client: Client, far_end: FarEnd) -> None:
    far_end.failures = [UNAVAILABLE] * 100_000
    client._connection.timeout_seconds = 2
    with pytest.raises(GIVEN_UP):
        client.get_platform("tunesmith")
    assert far_end.calls > 1


def test_lists_ask_for_pages_as_they_go(client: Client, far_end: FarEnd) -> None:
    platforms = client.list_platforms()
    assert far_end.calls == 0
    assert next(platforms).name == "platforms/p0"
    assert far_end.calls == 1
    assert [platform.name for platform in platforms] == ["platforms/p1", "platforms/p2"]


def test_a_stream_that_breaks_starts_again_and_repeats_nothing(client: Client, far_end: FarEnd) -> None:
    far_end.failures = [UNAVAILABLE]
    assert client.get_statement("folk", 1) == b"a,b\n1,2\n"


def test_a_submission_gives_a_receipt_per_batch_in_order(client: Client, far_end: FarEnd) -> None:
    answered: list[int] = []
    receipts = client.submit_usage("folk", table(25), "ngram", events_per_batch=2, progress=answered.append)
    assert [receipt.leaf_index for receipt in receipts] == list(range(13))
    assert answered == [2] * 12 + [1]
    assert all(batch_id.startswith("sha256-") and len(batch_id) == 39 for batch_id in far_end.batches)


def test_submitting_the_same_table_again_gives_the_first_receipts(client: Client, far_end: FarEnd) -> None:
    first = client.submit_usage("folk", table(25), "ngram", events_per_batch=2)
    assert client.submit_usage("folk", table(25), "ngram", events_per_batch=2) == first
    assert len(far_end.batches) == 13


def test_batch_ids_of_ones_own_end_in_the_batch_position(client: Client, far_end: FarEnd) -> None:
    client.submit_usage("folk", table(3), "ngram", events_per_batch=2, batch_id="march")
    assert list(far_end.batches) == ["march-0", "march-1"]


def test_a_broken_submission_sends_again_what_was_not_answered(client: Client, far_end: FarEnd) -> None:
    broken = iter([False, False, True] * 10 + [False] * 1000)

    def answer(_: usage_pb2.AppendUsageRequest) -> None:
        if next(broken):
            far_end.failures = [UNAVAILABLE]

    far_end.answer_batch = answer
    receipts = client.submit_usage("folk", table(50), "ngram", events_per_batch=1, batch_id="b")
    assert [receipt.name for receipt in receipts] == [f"b-{index}" for index in range(50)]
    assert set(far_end.received) == set(far_end.batches)
    assert far_end.calls > 5


def test_a_submission_to_a_service_that_stays_away_is_given_up(client: Client, far_end: FarEnd) -> None:
    far_end.failures = [UNAVAILABLE] * 100_000
    with pytest.raises(GIVEN_UP):
        client.submit_usage("folk", table(1), "ngram", timeout_seconds=2)
    assert far_end.calls > 1


def test_a_submission_that_was_given_up_has_its_receipts_and_goes_on(client: Client, far_end: FarEnd) -> None:
    def answer(request: usage_pb2.AppendUsageRequest) -> status_pb2.Status | None:
        return status(code_pb2.UNAVAILABLE, "away") if request.batch_id == "b-5" and is_away else None

    is_away = True
    far_end.answer_batch = answer
    reader = pa.RecordBatchReader.from_batches(table(1).schema, iter([table(20)]))  # which is read once
    with pytest.raises(GIVEN_UP) as caught:
        client.submit_usage("folk", reader, "ngram", events_per_batch=2, batch_id="b", timeout_seconds=3)
    recorded = [receipt.name for receipt in caught.value.receipts]
    assert recorded[:5] == [f"b-{index}" for index in range(5)]
    assert "b-5" not in recorded
    is_away = False
    assert [receipt.name for receipt in client.resume(caught.value)] == [f"b-{index}" for index in range(10)]
    assert far_end.received.count("b-0") == 1


def test_there_is_nothing_to_go_on_with_where_the_table_was_at_fault(client: Client) -> None:
    with pytest.raises(ValueError, match="nothing left to go on with"):
        client.resume(InvalidUsageError("units", 3, "is missing"))


def test_a_submission_that_is_not_answered_ends_at_its_deadline(client: Client, far_end: FarEnd) -> None:
    far_end.hold = threading.Event()
    try:
        with pytest.raises(DeadlineExceededError):
            client.submit_usage("folk", table(1), "ngram", timeout_seconds=0.3)
        client._connection.timeout_seconds = 0.3
        with pytest.raises(DeadlineExceededError):
            client.submit_usage("folk", table(1), "ngram")
    finally:
        far_end.hold.set()


def test_the_deadline_of_a_submission_holds_for_all_that_it_asks(client: Client, far_end: FarEnd) -> None:
    far_end.scheme_is_known = threading.Event()
    try:
        with pytest.raises(DeadlineExceededError):
            client.submit_usage("folk", table(1), "ngram", timeout_seconds=0.3)
    finally:
        far_end.scheme_is_known.set()


def test_a_submission_may_take_longer_than_a_call_as_long_as_it_is_answered(client: Client, far_end: FarEnd) -> None:
    def answer(_: usage_pb2.AppendUsageRequest) -> None:
        time.sleep(0.4)

    far_end.answer_batch = answer
    client._connection.timeout_seconds = 3.5
    assert len(client.submit_usage("folk", table(10), "ngram", events_per_batch=1)) == 10


@pytest.mark.parametrize("ending", ["cancel", "queue is full"])
def test_what_no_service_said_is_tried_again(client: Client, far_end: FarEnd, ending: str) -> None:
    endings = [ending, ending]

    def end(context: grpc.ServicerContext) -> None:
        if not endings:
            return
        if endings.pop() == "cancel":  # as a server does to a stream that said nothing for long
            context.cancel()
        else:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")

    far_end.end = end
    assert client.get_platform("tunesmith").name == "platforms/tunesmith"
    endings = [ending, ending]
    assert len(client.submit_usage("folk", table(3), "ngram", events_per_batch=1)) == 3
    assert not endings


def test_a_batch_that_lost_a_race_is_sent_again(client: Client, far_end: FarEnd) -> None:
    lost = ["b-1", "b-1", "b-3"]

    def answer(request: usage_pb2.AppendUsageRequest) -> status_pb2.Status | None:
        if request.batch_id in lost:
            lost.remove(request.batch_id)
            return status(code_pb2.ABORTED, "lost a race")
        return None

    far_end.answer_batch = answer
    receipts = client.submit_usage("folk", table(5), "ngram", events_per_batch=1, batch_id="b")
    assert [receipt.name for receipt in receipts] == [f"b-{index}" for index in range(5)]


def test_a_refused_batch_is_reported_with_positions_and_the_others_are_recorded(
    client: Client, far_end: FarEnd
) -> None:
    refused = status(
        code_pb2.INVALID_ARGUMENT, "batch refused", bad_request(("events[1].shares", "sum to more than 10^9"))
    )
    far_end.answer_batch = lambda request: refused if request.batch_id in ("b-2", "b-4") else None
    with pytest.raises(BatchRefusedError) as caught:
        client.submit_usage("folk", table(20), "ngram", events_per_batch=2, batch_id="b")
    assert [refusal.batch_id for refusal in caught.value.refusals] == ["b-2", "b-4"]
    positions = [(event.position, event.field) for refusal in caught.value.refusals for event in refusal.events]
    assert positions == [(5, "shares"), (9, "shares")]
    assert [receipt.name for receipt in caught.value.receipts] == [
        f"b-{index}" for index in range(10) if index not in (2, 4)
    ]


def test_a_wrong_method_ends_the_submission_at_once(client: Client, far_end: FarEnd) -> None:
    refused = status(code_pb2.INVALID_ARGUMENT, "refused", bad_request(("method_id", "is not declared")))
    far_end.answer_batch = lambda _: refused
    with pytest.raises(InvalidArgumentError) as caught:
        client.submit_usage("folk", table(1000), "ngram", events_per_batch=1)
    assert caught.value.violations == (Violation("method_id", "is not declared"),)
    assert len(far_end.received) < 20


@pytest.mark.parametrize("scores", [pa.Table.from_batches([table(4)]), table(4)])
def test_scores_in_a_table_are_refused_with_what_they_must_be(client: Client, far_end: FarEnd, scores: Any) -> None:
    with pytest.raises(InvalidUsageError, match="batches: must be record batches"):
        client.submit_scores("folk", scores, "influence")
    assert not far_end.received


def test_an_error_in_the_table_ends_the_submission(client: Client, far_end: FarEnd) -> None:
    units = pa.array([1, 2, None, 4], pa.int64())
    faulty = pa.Table.from_batches([table(4)]).set_column(3, "units", units)
    with pytest.raises(InvalidUsageError) as caught:
        client.submit_usage("folk", faulty, "ngram", events_per_batch=1)
    assert (caught.value.field, caught.value.position) == ("units", 2)
    assert len(far_end.received) <= 2


def test_no_stream_is_opened_before_there_is_a_batch_to_send(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_Stream", lambda _: pytest.fail("a stream was opened"))
    faulty = pa.Table.from_batches([table(2)]).set_column(3, "units", pa.array([None, 1], pa.int64()))
    with pytest.raises(InvalidUsageError):
        client.submit_usage("folk", faulty, "ngram", events_per_batch=1)
    assert client.submit_usage("folk", table(0), "ngram") == []


def test_a_submission_runs_only_a_few_batches_ahead_of_its_answers(client: Client, far_end: FarEnd) -> None:
    read = 0

    def pieces() -> Iterator[Any]:
        nonlocal read
        for number in range(30):
            read += 1
            yield table(number + 1).slice(number)

    ahead: list[int] = []
    far_end.answer_batch = lambda _: ahead.append(read - len(far_end.received))
    reader = pa.RecordBatchReader.from_batches(table(1).schema, pieces())
    client.submit_usage("folk", reader, "ngram", events_per_batch=1)
    assert max(ahead) <= BATCHES_IN_FLIGHT


def test_an_empty_table_is_no_submission(client: Client) -> None:
    assert client.submit_usage("folk", table(0), "ngram") == []


@pytest.mark.parametrize("address", ["127.0.0.1:50051", "localhost:50051", "[::1]:50051", "127.8.9.1:1", "unix:/run/s"])
def test_loopback_needs_no_tls(address: str) -> None:
    Client(address, "secret").close()
    Client(address, "secret", insecure=True).close()


@pytest.mark.parametrize(
    "address", ["moiety.example:50051", "10.0.0.1:50051", "[2001:db8::1]:50051", "localhost.example:1", "0.0.0.0:1"]
)
def test_an_api_key_never_leaves_the_machine_in_the_clear(address: str) -> None:
    with pytest.raises(ValueError, match="must use TLS"):
        Client(address, "secret", insecure=True)


@pytest.mark.parametrize("certificate", [b"", b"no PEM", b"\xff"])
def test_a_ca_certificate_is_one(certificate: bytes) -> None:
    with pytest.raises(ValueError, match="contains no certificates"):
        Client("moiety.example:50051", "secret", ca_certificate=certificate)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, 1e30])
def test_a_deadline_is_one_that_can_be_counted_to(client: Client, seconds: float) -> None:
    with pytest.raises(ValueError, match="timeout_seconds must be more than 0 and at most 100000000"):
        Client("127.0.0.1:1", "secret", timeout_seconds=seconds)
    with pytest.raises(ValueError, match="timeout_seconds must be"):
        client.submit_usage("folk", table(1), "ngram", timeout_seconds=seconds)


def test_a_call_may_take_as_long_as_three_years(far_end: FarEnd) -> None:
    with listening(far_end) as address, Client(address, "secret", timeout_seconds=TIMEOUT_SECONDS_MAX) as client:
        assert len(client.submit_usage("folk", table(1), "ngram")) == 1


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:8080", "https://moiety.example"])
def test_an_address_is_no_url(address: str) -> None:
    with pytest.raises(ValueError, match="must be host:port"):
        Client(address, "secret")


def test_somebody_is_calling() -> None:
    with pytest.raises(ValueError, match="neither an API key nor a client certificate"):
        Client("127.0.0.1:1")


@pytest.mark.parametrize("api_key", ["two\nlines", "ключ"])
def test_an_api_key_is_printable_ascii(api_key: str) -> None:
    with pytest.raises(ValueError, match="printable") as caught:
        Client("127.0.0.1:1", api_key)
    assert not api_key or api_key not in str(caught.value)


def test_a_client_that_only_reads_loads_no_arrow() -> None:
    """It is half of what a command takes to start, and half of its memory."""
    script = "import sys, moiety.client; print({'numpy', 'pyarrow'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
