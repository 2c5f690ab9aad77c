"""What can go wrong in the ledger service: every error it raises on purpose carries its facts as fields.

`services.api.errors` is the one table that maps these to gRPC status and details.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with an input: the path of the field (`events[3].units`) and why it is refused."""

    field: str
    reason: str


class LedgerError(Exception):
    """The root of the errors that the service and its command raise on purpose. The SDK's is `moiety.MoietyError`."""


class InvalidInputError(LedgerError):
    """The input breaks a rule, whatever the state of the ledger.

    `violations` are the first findings, in order; `total` counts all of them.
    """

    def __init__(self, violations: Sequence[Violation], *, total: int | None = None) -> None:
        super().__init__(violations, total)
        self.violations = tuple(violations)
        self.total = len(self.violations) if total is None else total

    @classmethod
    def of(cls, field: str, reason: str) -> InvalidInputError:
        """The error with one violation."""
        return cls([Violation(field, reason)])

    def __str__(self) -> str:
        shown = "; ".join(f"{violation.field}: {violation.reason}" for violation in self.violations[:5])
        hidden = self.total - min(5, len(self.violations))
        return shown + (f"; and {hidden} more" if hidden > 0 else "")


class IdentityReusedError(InvalidInputError):
    """An id that identifies a request came again with other content. Nothing of the second is kept."""


class NotFoundError(LedgerError):
    """What was named does not exist. `resource` is its resource name."""

    def __init__(self, resource: str) -> None:
        super().__init__(resource)
        self.resource = resource

    def __str__(self) -> str:
        return f"{self.resource} does not exist"


class AlreadyExistsError(LedgerError):
    """What was to be created exists with other content. `resource` is its resource name."""

    def __init__(self, resource: str) -> None:
        super().__init__(resource)
        self.resource = resource

    def __str__(self) -> str:
        return f"{self.resource} exists with other content"


class StateError(LedgerError):
    """The request is sound but the ledger's state forbids it.

    `subject` is the resource name that it is about, `kind` a constant such as `ROUND_OPEN`, `detail` the sentence for
    people.
    """

    def __init__(self, subject: str, kind: str, detail: str) -> None:
        super().__init__(subject, kind, detail)
        self.subject = subject
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.subject}: {self.detail}"


class LostRaceError(LedgerError):
    """Another writer was first; the same request may succeed when repeated. `subject` is what it was about."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject)
        self.subject = subject

    def __str__(self) -> str:
        return f"{self.subject} was changed by another writer at the same time"


class BusyError(LedgerError):
    """Another transaction holds what is needed for longer than we wait. Nothing was done, and it can be asked again."""

    def __str__(self) -> str:
        return "another transaction holds a lock that this call needs; try again"


class LedgerCorruptError(LedgerError):
    """What is stored contradicts itself: a hash, a length or a sum does not hold. `subject` is what, `detail` how."""

    def __init__(self, subject: str, detail: str) -> None:
        super().__init__(subject, detail)
        self.subject = subject
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.subject}: {self.detail}"


class QuotaError(LedgerError):
    """A limit on how much may be sent is used up, and time gives more.

    `subject` is the resource name of who sends, `limit` the limit's name and `most` its value; `wait_seconds` is how
    long until there is room again.
    """

    def __init__(self, subject: str, limit: str, most: int, wait_seconds: int) -> None:
        super().__init__(subject, limit, most, wait_seconds)
        self.subject = subject
        self.limit = limit
        self.most = most
        self.wait_seconds = wait_seconds

    def __str__(self) -> str:
        return f"{self.subject}: {self.limit} is {self.most:,}, and used up for {self.wait_seconds:,} seconds"


class StoreUnavailableError(LedgerError):
    """The database, or another store, cannot be reached or gave up the connection. Nothing was acknowledged."""

    def __init__(self, store: str = "the database") -> None:
        super().__init__(store)
        self.store = store

    def __str__(self) -> str:
        return f"{self.store} is not available"


class ProofError(LedgerError):
    """A Merkle proof does not hold. `reason` says which check failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"proof refused: {self.reason}"


class FormatError(LedgerError):
    """Bytes are not of the published format that they claim. `subject` is which part, `reason` the rule it breaks."""

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(subject, reason)
        self.subject = subject
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


class SignatureError(LedgerError):
    """A signature of a known key does not hold, or no known key has signed. `keys` are the names concerned."""

    def __init__(self, keys: Sequence[str], reason: str) -> None:
        super().__init__(keys, reason)
        self.keys = tuple(keys)
        self.reason = reason

    def __str__(self) -> str:
        return f"signature refused: {', '.join(self.keys)} {self.reason}"
