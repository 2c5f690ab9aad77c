"""The one table from errors to gRPC status and details (AIP-193).

Only errors in the table reach a caller; any other is INTERNAL, with the request's id and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from ledger.errors import (
    AlreadyExistsError,
    BusyError,
    FormatError,
    IdentityReusedError,
    InvalidInputError,
    LedgerCorruptError,
    LostRaceError,
    NotFoundError,
    ProofError,
    QuotaError,
    Sentence,
    SignatureError,
    StateError,
    StoreUnavailableError,
    StoreUnfitError,
    UnreadableError,
)
from services.access.keys import UnauthenticatedError
from services.access.permissions import PermissionDeniedError
from services.api.calls.door import MessageTooLargeError, NoRoomError
from services.api.calls.queues import OverloadedError
from services.api.calls.streams import StreamShedError, TooManyStreamsError, WatchesClosedError

DOMAIN: Final = "moiety.dev"

MAX_TRAILER_BYTES: Final = 7_000
"""Details travel in HTTP/2 trailers, and gRPC clients refuse trailers above 8 KiB by default."""

MAX_MESSAGE_BYTES: Final = 1_000

_AS_THEY_ARE: Final = frozenset(range(0x20, 0x7F)) - {ord("%")}
"""The bytes of a message that gRPC sends unchanged; every other becomes three."""

RETRY_SECONDS: Final = 1

Details = Callable[[Any], list[Message]]


def _bad_request(error: InvalidInputError) -> list[Message]:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field=violation.field, description=violation.reason)
        for violation in error.violations
    ]
    return [error_details_pb2.BadRequest(field_violations=violations)]


def _resource(error: NotFoundError | AlreadyExistsError) -> list[Message]:
    return [error_details_pb2.ResourceInfo(resource_name=error.resource, description=str(error))]


def _precondition(error: StateError) -> list[Message]:
    violation = error_details_pb2.PreconditionFailure.Violation(
        type=error.kind, subject=error.subject, description=error.detail
    )
    return [error_details_pb2.PreconditionFailure(violations=[violation])]


def _retry(_: Exception) -> list[Message]:
    return [error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=RETRY_SECONDS))]


def _quota(error: QuotaError) -> list[Message]:
    violation = error_details_pb2.QuotaFailure.Violation(subject=error.subject, description=str(error))
    wait = duration_pb2.Duration(seconds=error.wait_seconds)
    return [error_details_pb2.QuotaFailure(violations=[violation]), error_details_pb2.RetryInfo(retry_delay=wait)]


def _nothing(_: Exception) -> list[Message]:
    return []


_TABLE: Final[tuple[tuple[type[Exception], int, str, Details], ...]] = (
    (IdentityReusedError, code_pb2.INVALID_ARGUMENT, "ID_REUSED", _bad_request),
    (InvalidInputError, code_pb2.INVALID_ARGUMENT, "INVALID_INPUT", _bad_request),
    (NotFoundError, code_pb2.NOT_FOUND, "NOT_FOUND", _resource),
    (AlreadyExistsError, code_pb2.ALREADY_EXISTS, "ALREADY_EXISTS", _resource),
    (StateError, code_pb2.FAILED_PRECONDITION, "", _precondition),
    (LostRaceError, code_pb2.ABORTED, "LOST_RACE", _retry),
    (BusyError, code_pb2.ABORTED, "BUSY", _retry),
    (LedgerCorruptError, code_pb2.DATA_LOSS, "LEDGER_CORRUPT", _nothing),
    (ProofError, code_pb2.DATA_LOSS, "PROOF_REFUSED", _nothing),
    (FormatError, code_pb2.DATA_LOSS, "FORMAT_REFUSED", _nothing),
    (SignatureError, code_pb2.DATA_LOSS, "SIGNATURE_REFUSED", _nothing),
    (StoreUnfitError, code_pb2.UNAVAILABLE, "DATABASE_UNFIT", _retry),
    (StoreUnavailableError, code_pb2.UNAVAILABLE, "DATABASE_AWAY", _retry),
    (QuotaError, code_pb2.RESOURCE_EXHAUSTED, "QUOTA_USED_UP", _quota),
    (MessageTooLargeError, code_pb2.RESOURCE_EXHAUSTED, "MESSAGE_TOO_LARGE", _nothing),
    (WatchesClosedError, code_pb2.UNAVAILABLE, "STOPPING", _retry),
    (StreamShedError, code_pb2.UNAVAILABLE, "STREAM_SHED", _retry),
    (OverloadedError, code_pb2.RESOURCE_EXHAUSTED, "OVERLOADED", _retry),
    (NoRoomError, code_pb2.RESOURCE_EXHAUSTED, "NO_ROOM", _retry),
    (TooManyStreamsError, code_pb2.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS", _retry),
    (UnauthenticatedError, code_pb2.UNAUTHENTICATED, "UNAUTHENTICATED", _nothing),
    (PermissionDeniedError, code_pb2.PERMISSION_DENIED, "PERMISSION_DENIED", _nothing),
)

GRPC_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def status_of(error: Exception, request_id: str) -> status_pb2.Status:
    """Returns the status for an error, with ErrorInfo, RequestInfo and the details in the table."""
    for kind, code, reason, details in _TABLE:
        if isinstance(error, kind):
            info = error_details_pb2.ErrorInfo(
                reason=error.kind if isinstance(error, StateError) else reason, domain=DOMAIN, metadata=_facts(error)
            )
            return _status(code, _message(error), [info, *details(error)], request_id)
    info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN)
    return _status(code_pb2.INTERNAL, "internal error", [info], request_id)


def _facts(error: Exception) -> dict[str, str]:
    """What a refusal names, apart from its sentence; of several violations, how many there are."""
    if isinstance(error, StateError):
        return _as_texts(error.detail)
    if not isinstance(error, InvalidInputError):
        return {}
    facts = _as_texts(Sentence(error.violations[0].reason)) if error.total == 1 else {}
    return {**facts, "total_violations": str(error.total)}


def _as_texts(sentence: Sentence) -> dict[str, str]:
    return {name: fact.isoformat() if isinstance(fact, date) else str(fact) for name, fact in sentence.facts.items()}


def _message(error: Exception) -> str:
    if isinstance(error, StoreUnavailableError) and not isinstance(error, StoreUnfitError):
        return str(StoreUnavailableError(error.store))  # the reason may name hosts
    return str(error)


def is_expected(error: Exception) -> bool:
    """Returns whether the table has the error, and nobody has to look for where it comes from."""
    return isinstance(error, tuple(kind for kind, *_ in _TABLE)) and not isinstance(error, UnreadableError)


def _status(code: int, message: str, details: list[Message], request_id: str) -> status_pb2.Status:
    packed = [any_pb2.Any() for _ in range(len(details) + 1)]
    details = [*details, error_details_pb2.RequestInfo(request_id=request_id)]
    for envelope, detail in zip(packed, details, strict=True):
        envelope.Pack(detail)
    text = message.encode()[:MAX_MESSAGE_BYTES].decode(errors="ignore")
    return status_pb2.Status(code=code, message=text, details=packed)


def for_trailers(status: status_pb2.Status) -> status_pb2.Status:
    """Returns the status with as many of its field violations as trailers can have; ErrorInfo keeps their total."""
    while _trailer_bytes(status) > MAX_TRAILER_BYTES:
        for detail in status.details:
            bad_request = error_details_pb2.BadRequest()
            if detail.Unpack(bad_request) and bad_request.field_violations:
                kept = len(bad_request.field_violations) * 3 // 4
                del bad_request.field_violations[kept:]
                detail.Pack(bad_request)
                break
        else:
            break
    return status


def _trailer_bytes(status: status_pb2.Status) -> int:
    """Returns the whole status in base64, and its message again beside it."""
    message = sum(1 if byte in _AS_THEY_ARE else 3 for byte in status.message.encode())
    details: int = status.ByteSize() * 4 // 3
    return details + message
