"""What can go wrong when using Moiety from a program. Every error raised on purpose descends from
`MoietyError` and carries its facts as fields.

An answer of the service other than OK becomes a `ServiceError`: one subclass per gRPC status, with the standard
details of AIP-193 (`BadRequest`, `ErrorInfo`, `RetryInfo`) as fields. `moiety.status` makes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import grpc

from moiety import roots

if TYPE_CHECKING:
    from moiety.v1.usage_pb2 import Receipt

MoietyError = roots.MoietyError
Violation = roots.Violation

_EVENT_FIELD: Final = re.compile(r"events\[(\d{1,9})\](?:\.(.+))?")


class InvalidUsageError(MoietyError):
    """A usage table cannot be made into a batch; nothing of the batch was sent.

    `field` is the column, `position` the event's place in the table counting from 0 (None if the column as
    a whole is wrong), `reason` says what is wrong with it.
    """

    def __init__(self, field: str, position: int | None, reason: str) -> None:
        super().__init__(field, position, reason)
        self.field = field
        self.position = position
        self.reason = reason

    @property
    def path(self) -> str:
        """The field as the service names it: `events[17].units`, or the column alone."""
        return self.field if self.position is None else f"events[{self.position}].{self.field}"

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class UsageFileError(MoietyError):
    """A usage file cannot be read. `path` is the file, `reason` what is wrong with it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class InvalidDomainError(MoietyError):
    """A domain map cannot be made. `collective` is who declares `domain`, `reason` what is wrong with it."""

    def __init__(self, collective: str, domain: str, reason: str) -> None:
        super().__init__(collective, domain, reason)
        self.collective = collective
        self.domain = domain
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.collective}: {self.domain!r} {self.reason}"


class NoDomainsError(MoietyError):
    """No collective has a domain, so that every share would be lost for good: an event is recorded once."""

    def __str__(self) -> str:
        return "no collective has a domain; an operator declares them, or a domain map is given"


class ServiceError(MoietyError):
    """The service answered with a status other than OK.

    Attributes:
        code: the gRPC status, for example `NOT_FOUND`.
        message: for people; programs look at `code` and `reason`.
        reason: the `ErrorInfo` reason, for example `ROUND_OPEN`; empty if there is none.
        metadata: the `ErrorInfo` metadata.
        violations: the `BadRequest` and `PreconditionFailure` violations, in order.
        resource: the `ResourceInfo` name of what is missing or in the way; empty if there is none.
        retry_after_seconds: the `RetryInfo` delay; None if there is none.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        resource: str = "",
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = tuple(violations)
        self.resource = resource
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        lines = [f"{violation.field}: {violation.description}" for violation in self.violations]
        return "; ".join(lines) or self.message or self.code.name


class InvalidArgumentError(ServiceError):
    """A request is not valid, whatever the state of the service; `violations` say where."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(ServiceError):
    """What was asked for does not exist, or the caller may not know that it does."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(ServiceError):
    """The id is taken, with other content."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPreconditionError(ServiceError):
    """The request is valid and the state does not allow it, for example deciding a round twice."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AbortedError(ServiceError):
    """Another request came first; the same one may succeed when repeated."""

    code = grpc.StatusCode.ABORTED


class OutOfRangeError(ServiceError):
    """The request is past the end of what there is, for example a log size beyond the log."""

    code = grpc.StatusCode.OUT_OF_RANGE


class UnauthenticatedError(ServiceError):
    """The API key is missing, unknown, revoked or not valid now, or its owner is suspended."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(ServiceError):
    """The API key's principal may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhaustedError(ServiceError):
    """The request is larger than the service takes, or there were too many."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnavailableError(ServiceError):
    """The service, or its database, is unavailable for now."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(ServiceError):
    """No answer came in time. A write may have been recorded nevertheless: repeat it with the same id."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class CancelledError(ServiceError):
    """The call was cancelled."""

    code = grpc.StatusCode.CANCELLED


class UnimplementedError(ServiceError):
    """The service does not offer this call; it is of another version."""

    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(ServiceError):
    """The service has a defect."""

    code = grpc.StatusCode.INTERNAL


class DataLossError(ServiceError):
    """What is stored contradicts the log."""

    code = grpc.StatusCode.DATA_LOSS


@dataclass(frozen=True, slots=True)
class EventViolation:
    """What is wrong with one event of a refused batch. `position` counts from 0 over everything that was
    submitted.
    """

    position: int
    field: str
    description: str


@dataclass(frozen=True, slots=True)
class BatchRefusal:
    """A batch that the service refused whole; nothing of it was recorded.

    `batch_index` counts the batches of the submission from 0, `first_position` the events before this one, and
    `event_count` its own. `error` is the answer as it came; its violations count events within the batch.
    """

    batch_id: str
    batch_index: int
    first_position: int
    event_count: int
    error: ServiceError

    @property
    def events(self) -> tuple[EventViolation, ...]:
        """The violations that name an event, with positions over everything that was submitted."""
        return tuple(
            EventViolation(self.first_position + int(match[1]), match[2] or "", violation.description)
            for violation in self.error.violations
            if (match := _EVENT_FIELD.fullmatch(violation.field))
        )


class BatchRefusedError(MoietyError):
    """Some batches of a submission were refused; the others are recorded, and `receipts` are theirs, in
    order.
    """

    count_shown: ClassVar[int] = 3

    def __init__(self, refusals: Sequence[BatchRefusal], receipts: Sequence[Receipt]) -> None:
        super().__init__(len(refusals), len(receipts))
        self.refusals = tuple(refusals)
        self.receipts = tuple(receipts)

    def __str__(self) -> str:
        shown = "; ".join(f"{refusal.batch_id}: {refusal.error}" for refusal in self.refusals[: self.count_shown])
        more = "; ..." if len(self.refusals) > self.count_shown else ""
        count = "1 batch" if len(self.refusals) == 1 else f"{len(self.refusals)} batches"
        return f"{count} refused, {len(self.receipts)} recorded: {shown}{more}"
