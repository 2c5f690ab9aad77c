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
    INTERRUPTED = 130

    @classmethod
    def table(cls) -> str:
        """The codes with their meanings, in a line."""
        return "Exit codes: " + "; ".join(f"{code.value} {meaning}" for code, meaning in MEANINGS.items()) + "."


MEANINGS: Final = {
    Exit.OK: "done",
    Exit.DOES_NOT_HOLD: "what was asked about does not hold (a replay diverged, a proof fails)",
    Exit.BAD_INPUT: "the input is wrong, or names what does not exist",
    Exit.REFUSED_BY_STATE: "the state does not allow it, or the id is taken",
    Exit.NOT_ALLOWED: "the API key is missing, unknown, revoked or may not do this",
    Exit.SERVICE_AWAY: "the service is away or did not answer in time",
    Exit.FAULT: "a fault or data loss",
    Exit.INTERRUPTED: "interrupted",
}


class InputError(LedgerError):
    """What the command was given is wrong; `violations` say where. `code` is the exit code."""

    code = Exit.BAD_INPUT

    def __init__(self, violations: Sequence[Violation]) -> None:
        super().__init__(violations)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, description: str) -> InputError:
        """The error with one violation."""
        return cls([Violation(field, description)])

    def __str__(self) -> str:
        return "; ".join(f"{violation.field}: {violation.description}" for violation in self.violations)


class ConflictError(InputError):
    """What is asked for contradicts what is there and cannot be changed; nothing was changed."""

    code = Exit.REFUSED_BY_STATE


class NotAllowedError(InputError):
    """Nobody said who is calling."""

    code = Exit.NOT_ALLOWED


class DoesNotHoldError(InputError):
    """What was asked about does not hold."""

    code = Exit.DOES_NOT_HOLD


@dataclass(frozen=True, slots=True)
class Failure:
    """What is told of an error: its code, its reason, what is wrong with which field, and more for machines."""

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
        return Exit.SERVICE_AWAY  # exhausted for now, and not for being too large
    return code


def _codes() -> Sequence[tuple[tuple[type[MoietyError], ...], Exit]]:
    """The codes by kinds of error. They come with gRPC, which a command that talks to no service does not need."""
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
    """Whether the error is that somebody else's package is not installed."""
    return isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] not in _OURS
