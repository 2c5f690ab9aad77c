from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from moiety import errors
from moiety.errors import BatchRefusal, EventViolation, InvalidArgumentError, Violation
from moiety.patience import Patience, may_pass
from moiety.status import from_rpc, from_status


def status(code: grpc.StatusCode, *details: Message) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(Any())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code.value[0], message="what happened", details=packed)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_is_an_error_with_its_code(code: grpc.StatusCode) -> None:
    error = from_status(status(code))
    assert isinstance(error, errors.ServiceError)
    assert error.code is (grpc.StatusCode.UNKNOWN if code is grpc.StatusCode.UNKNOWN else code)
    assert str(error) == error.message == "what happened"


def test_a_status_that_is_not_known_is_a_plain_service_error() -> None:
    assert type(from_status(status_pb2.Status(code=4711, message="?"))) is errors.ServiceError


def test_the_standard_details_are_fields() -> None:
    field_violation = error_details_pb2.BadRequest.FieldViolation
    bad_request = error_details_pb2.BadRequest(
        field_violations=[field_violation(field="events[17].shares", description="must sum to at most 1,000,000,000")]
    )
    info = error_details_pb2.ErrorInfo(reason="INVALID_INPUT", domain="moiety.dev", metadata={"total": "1"})
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    resource = error_details_pb2.ResourceInfo(resource_name="pools/folk")
    error = from_status(status(grpc.StatusCode.INVALID_ARGUMENT, bad_request, info, retry, resource))
    assert isinstance(error, InvalidArgumentError)
    assert error.violations == (Violation("events[17].shares", "must sum to at most 1,000,000,000"),)
    assert (error.reason, error.metadata) == ("INVALID_INPUT", {"total": "1"})
    assert error.retry_after_seconds == 1.5
    assert error.resource == "pools/folk"
    assert str(error) == "events[17].shares: must sum to at most 1,000,000,000"


def test_a_precondition_names_its_subject() -> None:
    violation = error_details_pb2.PreconditionFailure.Violation(
        type="ROUND_OPEN", subject="pools/folk/rounds/1", description="waits for a decision"
    )
    error = from_status(
        status(grpc.StatusCode.FAILED_PRECONDITION, error_details_pb2.PreconditionFailure(violations=[violation]))
    )
    assert error.violations == (Violation("pools/folk/rounds/1", "waits for a decision"),)


def test_details_that_cannot_be_read_are_left_out() -> None:
    broken = status(grpc.StatusCode.NOT_FOUND, error_details_pb2.ErrorInfo(reason="X"))
    broken.details[0].value = b"\xff"
    broken.details.add(type_url="type.googleapis.com/what.is.This", value=b"123")
    error = from_status(broken)
    assert isinstance(error, errors.NotFoundError)
    assert error.reason == ""


def test_a_refused_batch_names_events_by_their_place_in_the_submission() -> None:
    found = InvalidArgumentError(
        "refused",
        violations=[
            Violation("events[0].units", "must be 1 to 1000000000"),
            Violation("events[9].shares[2]", "must be at least 1"),
            Violation("arrow_stream", "is too large"),
        ],
    )
    assert BatchRefusal("b-3", 3, 30_000, 10_000, found).events == (
        EventViolation(30_000, "units", "must be 1 to 1000000000"),
        EventViolation(30_009, "shares[2]", "must be at least 1"),
    )


class Time:
    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def patience(time: Time, timeout_seconds: float, *, renewed: bool = False, drawn: float = 1.0) -> Patience:
    return Patience(timeout_seconds, renewed=renewed, clock=lambda: time.now, draw=lambda: drawn)


def exhaust(time: Time, waiting: Patience, error: errors.ServiceError) -> None:
    def wait_on() -> None:
        for _ in range(10_000):
            time.sleep(waiting.pause_after(error))

    with pytest.raises(type(error)):
        wait_on()


def test_pauses_double_up_to_a_bound_until_the_deadline() -> None:
    time = Time()
    exhaust(time, patience(time, 60), errors.UnavailableError("away"))
    assert time.waits[:7] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert 55 < time.now < 60


def test_pauses_are_drawn_from_the_whole_range() -> None:
    time = Time()
    waiting = patience(time, 60, drawn=0.0)
    assert [waiting.pause_after(errors.UnavailableError("away")) for _ in range(3)] == [0, 0, 0]


def test_pauses_are_as_long_as_the_service_asks_for_and_drawn_beyond_it() -> None:
    time = Time()
    assert patience(time, 60, drawn=0.5).pause_after(errors.AbortedError("race", retry_after_seconds=2.5)) == 2.6


def test_a_wait_that_would_pass_the_deadline_is_not_begun() -> None:
    time = Time()
    exhaust(time, patience(time, 1.0), errors.UnavailableError("away"))
    assert time.waits == [0.2, 0.4]
    exhaust(time, patience(time, 60), errors.ResourceExhaustedError("quota", retry_after_seconds=3_600))
    assert time.waits == [0.2, 0.4]


def test_progress_renews_patience_where_it_is_to() -> None:
    for renewed in (True, False):
        time = Time()
        waiting = patience(time, 1.0, renewed=renewed)
        time.sleep(0.9)
        waiting.succeed()
        assert waiting.seconds_left() == pytest.approx(1.0 if renewed else 0.1)


def test_an_answer_makes_pauses_short_again() -> None:
    time = Time()
    waiting = patience(time, 60)
    for _ in range(20):
        time.sleep(waiting.pause_after(errors.UnavailableError("away")))
        waiting.succeed()
    assert time.waits == [0.2] * 20


def test_nothing_is_repeated_that_cannot_succeed() -> None:
    time = Time()
    exhaust(time, patience(time, 60), errors.FailedPreconditionError("closed"))
    assert time.waits == []


class Ended(grpc.RpcError):
    """A call that ended without details."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        self._code = code
        self._message = message

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._message

    def trailing_metadata(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (grpc.StatusCode.INTERNAL, "Stream removed (RST_STREAM: Received RST_STREAM with error code 2)"),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
        (grpc.StatusCode.UNKNOWN, "Stream removed"),
        (grpc.StatusCode.CANCELLED, "CANCELLED"),
        (grpc.StatusCode.CANCELLED, "Received RST_STREAM with error code 8"),
        (grpc.StatusCode.UNAVAILABLE, "Cancelling all calls"),
    ],
)
def test_what_was_cut_on_the_way_is_no_fault_of_the_service(code: grpc.StatusCode, message: str) -> None:
    assert isinstance(from_rpc(Ended(code, message)), errors.UnavailableError)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        (grpc.StatusCode.CANCELLED, "Locally cancelled by application!", errors.CancelledError),
        (grpc.StatusCode.CANCELLED, "Channel closed!", errors.CancelledError),
        (grpc.StatusCode.INTERNAL, "Exception serializing request!", errors.InternalError),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Stream removed (CLIENT: Received message larger than max (5 vs. 4))",
            errors.ResourceExhaustedError,
        ),
    ],
)
def test_what_ended_here_is_not_taken_for_a_cut(code: grpc.StatusCode, message: str, kind: type) -> None:
    found = from_rpc(Ended(code, message))
    assert type(found) is kind
    assert not may_pass(found)
