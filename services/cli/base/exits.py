"""Exit codes: the one table, for scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from ledger.errors import LedgerError
from moiety.roots import MoietyError, Violation


class Exit(IntEnum):
    """How a command ended."""

    OK = 0
    DOES_NOT_HOLD = 1
    BAD_INPUT = 2
    REFUSED_BY_STATE = 3
    NOT_ALLOWED = 4
    SERVICE_AWAY = 5
    FAULT = 6
    NOT_WRITTEN = 7
    INTERRUPTED = 130
    NOT_READ = 141
    TERMINATED = 143

    @classmethod
    def table(cls) -> str:
        """Returns the codes with their meanings, in a line."""
        return "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."


MEANINGS: Final = {
    Exit.OK: "done",
    Exit.DOES_NOT_HOLD: "verification failed (a replay diverged, or a proof is invalid)",
    Exit.BAD_INPUT: "the input is wrong, or names something that does not exist",
    Exit.REFUSED_BY_STATE: "the state does not allow it, or the id is taken",
    Exit.NOT_ALLOWED: "the API key is missing, unknown, revoked or may not do this",
    Exit.SERVICE_AWAY: "the service is unavailable or did not answer in time",
    Exit.FAULT: "a fault or data loss",
    Exit.NOT_WRITTEN: "the output could not be written",
    Exit.INTERRUPTED: "interrupted",
    Exit.NOT_READ: "the output was not read to its end",
    Exit.TERMINATED: "ended by SIGTERM",
}


class InputError(LedgerError):
    """The input of a command is wrong; `violations` say where. `code` is the exit code."""

    code = Exit.BAD_INPUT

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(violations)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, description: str) -> InputError:
        """Returns the error with one violation."""
        return cls([Violation(field, description)])

    def __str__(self) -> str:
        return "; ".join(f"{violation.field}: {violation.description}" for violation in self.violations)


class ConflictError(InputError):
    """The request contradicts what exists and cannot be changed; nothing was changed."""

    code = Exit.REFUSED_BY_STATE


class NotAllowedError(InputError):
    """There is no API key."""

    code = Exit.NOT_ALLOWED


class NotWrittenError(InputError):
    """A file that the command was to write cannot be written."""

    code = Exit.NOT_WRITTEN


class DoesNotHoldError(InputError):
    """A verification failed."""

    code = Exit.DOES_NOT_HOLD


@dataclass(frozen=True, slots=True)
class Failure:
    """What is shown of an error: its code, its reason, what is wrong with which field, and more for machines."""

    code: str
    reason: str
    violations: Sequence[Violation]
    more: Mapping[str, Any] = field(default_factory=dict)


def exit_code(error: MoietyError | LedgerError) -> Exit:
    """The exit code for an error."""
    if isinstance(error, InputError):
        return error.code
    code = next((code for kinds, code in _codes() if isinstance(error, kinds)), Exit.FAULT)
    if code is Exit.BAD_INPUT and getattr(error, "retry_after_seconds", None) is not None:
        return Exit.SERVICE_AWAY  # a quota is used up for now; the message is not too large
    return code


def _codes() -> Sequence[tuple[tuple[type[MoietyError], ...], Exit]]:
    """The codes by kinds of error. They need gRPC, which a command that talks to no service does not."""
    from moiety import errors

    return (
        (
            (
                errors.InvalidUsageError,
                errors.NoDomainsError,
                errors.UsageFileError,
                errors.BatchRefusedError,
                errors.InvalidArgumentError,
                errors.NotFoundError,
                errors.OutOfRangeError,
                errors.ResourceExhaustedError,
            ),
            Exit.BAD_INPUT,
        ),
        (
            (errors.FailedPreconditionError, errors.AlreadyExistsError, errors.AbortedError),
            Exit.REFUSED_BY_STATE,
        ),
        ((errors.UnauthenticatedError, errors.PermissionDeniedError), Exit.NOT_ALLOWED),
        ((errors.UnavailableError, errors.DeadlineExceededError, errors.CancelledError), Exit.SERVICE_AWAY),
    )


_OURS: Final = ("ledger", "payout", "audit", "services", "moiety")


def is_foreign(error: BaseException) -> bool:
    """Returns whether the error is that another package is not installed."""
    return isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] not in _OURS
