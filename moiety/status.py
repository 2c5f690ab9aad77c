"""From gRPC statuses with standard details (AIP-193) to errors: the one table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from moiety.errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    ServiceError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    Violation,
)

_ERRORS: Final[Mapping[grpc.StatusCode, type[ServiceError]]] = {
    error.code: error
    for error in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        FailedPreconditionError,
        AbortedError,
        OutOfRangeError,
        UnauthenticatedError,
        PermissionDeniedError,
        ResourceExhaustedError,
        UnavailableError,
        DeadlineExceededError,
        CancelledError,
        UnimplementedError,
        InternalError,
        DataLossError,
    )
}
_CODES: Final[Mapping[int, grpc.StatusCode]] = {code.value[0]: code for code in grpc.StatusCode}

_BY_OURSELVES: Final = ("Locally cancelled", "Channel closed")
"""How gRPC says that a call was cancelled here."""

_OF_CUTS: Final = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
_SIGNS_OF_CUTS: Final = ("RST_STREAM", "Stream removed", "Internal error from Core")
"""What gRPC's messages hold where a proxy or the network ended a call, or where it ended while asyncio wrote."""

_QUEUE_IS_FULL: Final = "Concurrent RPC limit exceeded!"
"""What a gRPC server in Python says, without details, to more calls than it queues."""


def from_rpc(error: grpc.RpcError) -> ServiceError:
    """Return the error for a failed call, with the details that the service sent."""
    try:
        status = rpc_status.from_call(cast(grpc.Call, error))
    except (ValueError, DecodeError):  # details that contradict the status, or cannot be read, are left out
        status = None
    if status is None:
        return _without_details(error.code(), error.details() or "")
    return from_status(status)


def _without_details(code: grpc.StatusCode, message: str) -> ServiceError:
    """The error that comes of a failure which the service had no part in: its own always have details."""
    if code is grpc.StatusCode.CANCELLED and not message.startswith(_BY_OURSELVES):
        return UnavailableError("the call was cancelled on the way to the service, or by one that stops")
    if code in _OF_CUTS and any(sign in message for sign in _SIGNS_OF_CUTS):
        return UnavailableError(f"the call was cut off on the way to the service ({message})")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and message == _QUEUE_IS_FULL:
        return ResourceExhaustedError(message, retry_after_seconds=0.0)
    return from_status(status_pb2.Status(code=code.value[0], message=message))


def from_status(status: status_pb2.Status) -> ServiceError:
    """Return the error for a `google.rpc.Status`; an unknown code becomes a plain `ServiceError`."""
    bad_request = error_details_pb2.BadRequest()
    precondition = error_details_pb2.PreconditionFailure()
    resource = error_details_pb2.ResourceInfo()
    info = error_details_pb2.ErrorInfo()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        for message in (bad_request, precondition, resource, info, retry):
            _unpack(detail, message)
    violations = [Violation(item.field, item.description) for item in bad_request.field_violations]
    violations += [Violation(item.subject, item.description) for item in precondition.violations]
    delay = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    error = _ERRORS.get(_CODES.get(status.code, grpc.StatusCode.UNKNOWN), ServiceError)
    return error(
        status.message,
        reason=info.reason,
        metadata=info.metadata,
        violations=violations,
        resource=resource.resource_name,
        retry_after_seconds=delay,
    )


def _unpack(detail: Any, message: Message) -> None:
    try:
        detail.Unpack(message)  # does nothing where the detail is of another type
    except DecodeError:
        message.Clear()
