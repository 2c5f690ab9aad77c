from __future__ import annotations

import grpc
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from moiety import errors
from moiety.errors import BatchRefusal, EventViolation, InvalidArgumentError, Violation
from moiety.patience import ATTEMPTS_MAX, Patience
from moiety.status import from_status


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
        field_violations=[field_violation(field="events[17].shares", description="must sum to at most 1000000000")]
    )
    info = error_details_pb2.ErrorInfo(reason="INVALID_INPUT", domain="moiety.dev", metadata={"total": "1"})
    retry = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    resource = error_details_pb2.ResourceInfo(resource_name="pools/folk")
    error = from_status(status(grpc.StatusCode.INVALID_ARGUMENT, bad_request, info, retry, resource))
    assert isinstance(error, InvalidArgumentError)
    assert error.violations == (Violation("events[17].shares", "must sum to at most 1000000000"),)
    assert (error.reason, error.metadata) == ("INVALID_INPUT", {"total": "1"})
    assert error.retry_after_seconds == 1.5
    assert error.resource == "pools/folk"
    assert str(error) == "events[17].shares: must sum to at most 1000000000"


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


def patience(time: Time, timeout_seconds: float | None = None) -> Patience:
    return Patience(timeout_seconds, clock=lambda: time.now, sleep=time.sleep, draw=lambda: 1.0)


def exhaust(waiting: Patience, error: errors.ServiceError) -> None:
    def wait_on() -> None:
        for _ in range(100):
            waiting.wait(error)

    with pytest.raises(type(error)):
        wait_on()


def test_pauses_double_until_the_attempts_are_used_up() -> None:
    time = Time()
    exhaust(patience(time), errors.UnavailableError("away"))
    assert time.waits == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert len(time.waits) == ATTEMPTS_MAX - 1


def test_pauses_are_as_long_as_the_service_asks_for() -> None:
    time = Time()
    patience(time).wait(errors.AbortedError("race", retry_after_seconds=2.5))
    assert time.waits == [2.5]


def test_there_is_no_pause_beyond_the_time_limit() -> None:
    time = Time()
    exhaust(patience(time, timeout_seconds=1.0), errors.UnavailableError("away"))
    assert time.waits == [0.2, 0.4]


def test_progress_renews_patience() -> None:
    time = Time()
    waiting = patience(time)
    for _ in range(20):
        waiting.wait(errors.UnavailableError("away"))
        waiting.reset()
    assert time.waits == [0.2] * 20


def test_nothing_is_repeated_that_cannot_succeed() -> None:
    time = Time()
    exhaust(patience(time), errors.FailedPreconditionError("closed"))
    assert time.waits == []
