"""What is shown of errors from talking to a service."""

from __future__ import annotations

from collections.abc import Iterator

from moiety.errors import (
    BatchRefusedError,
    InvalidUsageError,
    MoietyError,
    ServiceError,
    UsageFileError,
    Violation,
)
from services.cli.base.documents import document
from services.cli.base.exits import Failure


def failure_of(error: MoietyError) -> Failure:
    """Returns the code, reason and violations of an error; and the receipts, if some batches were accepted."""
    service = error if isinstance(error, ServiceError) else None
    more = {}
    if isinstance(error, BatchRefusedError) or error.receipts:
        more["receipts"] = [document(receipt) for receipt in error.receipts]
    return Failure(
        code=service.code.name if service else type(error).__name__,
        reason=service.reason if service else "",
        violations=list(_violations(error)),
        more=more,
    )


def _violations(error: MoietyError) -> Iterator[Violation]:
    if isinstance(error, InvalidUsageError):
        yield Violation(error.path, error.reason)
    elif isinstance(error, UsageFileError):
        yield Violation(str(error.path), error.reason)
    elif isinstance(error, BatchRefusedError):
        for refusal in error.refusals:
            for event in refusal.events:
                yield Violation(f"events[{event.position}].{event.field}", event.description)
            if not refusal.events:
                yield from refusal.error.violations
    else:
        yield from getattr(error, "violations", ())
