"""The errors of the ledger service. Every error that it raises on purpose carries its facts as fields.

`services.api.calls.errors` is the one table that maps these to gRPC status and details.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


Fact = str | int | date
"""What a sentence names: in minor units where its name ends with `_minor`, as it was sent where it is `got`."""


class Sentence(str):  # noqa: SLOT000  # pickles have its facts by its dictionary
    """A sentence for people, as callers of the API read it, with its facts apart.

    Pages word it again in their reader's language, by `text`, with amounts and times as that reader writes them.

    Args:
        text: the sentence, with a place such as `%(most)s` for each fact that it names.
        facts: the facts; one that it does not name says more about the others, as `currency` does about amounts.
    """

    text: str
    facts: Mapping[str, Fact]

    def __new__(cls, text: str, /, **facts: Fact) -> Self:
        """Returns the sentence."""
        made = super().__new__(
            cls, text % {name: _plain(name, fact) for name, fact in facts.items()} if facts else text
        )
        made.text, made.facts = getattr(text, "text", text), facts or getattr(text, "facts", {})
        return made


def _plain(name: str, fact: Fact) -> str:
    """A fact as it is said to callers of the API."""
    if isinstance(fact, datetime):
        return f"{fact.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(fact, str | date):
        return str(fact)
    unit = (" minor unit" if fact == 1 else " minor units") if name.endswith("_minor") else ""
    return f"{fact:,}{unit}"


@dataclass(frozen=True, slots=True)
class Violation:
    """One problem with an input: the path of the field (`events[3].units`) and why it is refused."""

    field: str
    reason: str


class LedgerError(Exception):
    """The root of the errors that the service and its command raise on purpose. The SDK's is `moiety.MoietyError`."""


def or_error(do: Callable[P, R], *args: P.args, **named: P.kwargs) -> R | LedgerError:
    """Returns what a function returns, or the error that it raises: of things done together each has its own.

    Not where it was raised: the frames there hold all that was decoded, for as long as anyone has the error.
    """
    try:
        return do(*args, **named)
    except LedgerError as error:
        return error.with_traceback(None)


def or_raise(found: R | Exception) -> R:
    """Returns what `or_error` returned, or raises the error."""
    try:
        if isinstance(found, Exception):
            raise found
        return found
    finally:
        del found  # an error would keep this frame, which would keep the error, and both all that the callers have


class InvalidInputError(LedgerError):
    """The input breaks a rule, whatever the state of the ledger.

    `violations` are the first problems, in order; `total` counts all of them.
    """

    def __init__(self, violations: Sequence[Violation], *, total: int | None = None) -> None:
        super().__init__(violations, total)
        self.violations = tuple(violations)
        self.total = len(self.violations) if total is None else total

    @classmethod
    def of(cls, field: str, reason: str, /, **facts: Fact) -> InvalidInputError:
        """Returns the error with one violation; the reason has a place for each of the facts, as a `Sentence` has."""
        return cls([Violation(field, Sentence(reason, **facts))])

    def __str__(self) -> str:
        shown = "; ".join(f"{violation.field}: {violation.reason}" for violation in self.violations[:5])
        hidden = self.total - min(5, len(self.violations))
        return shown + (f"; and {hidden} more" if hidden > 0 else "")


class IdentityReusedError(InvalidInputError):
    """An id that identifies a request was used again with other content. Nothing of the second request is recorded."""


class UnwritableError(InvalidInputError):
    """A file that was named cannot be written: a full or read-only disk. What was there is as it was."""


class NotFoundError(LedgerError):
    """The named resource does not exist. `resource` is its resource name."""

    def __init__(self, resource: str) -> None:
        super().__init__(resource)
        self.resource = resource

    def __str__(self) -> str:
        return f"{self.resource} does not exist"


class AlreadyExistsError(LedgerError):
    """The resource to create exists with other content. `resource` is its resource name."""

    def __init__(self, resource: str) -> None:
        super().__init__(resource)
        self.resource = resource

    def __str__(self) -> str:
        return f"{self.resource} exists with other content"


class StateError(LedgerError):
    """The request is valid, but the state of the ledger does not allow it.

    `subject` is the resource name that it is about, `kind` a constant such as `ROUND_OPEN`, `detail` a sentence for
    people, which has a place for each of the facts.
    """

    def __init__(self, subject: str, kind: str, detail: str, /, **facts: Fact) -> None:
        said = Sentence(detail, **facts)
        super().__init__(subject, kind, said)
        self.subject = subject
        self.kind = kind
        self.detail = said

    def __str__(self) -> str:
        return f"{self.subject}: {self.detail}"


class LostRaceError(LedgerError):
    """Another writer was first; the same request may succeed when repeated. `subject` is what both wrote to."""

    def __init__(self, subject: str) -> None:
        super().__init__(subject)
        self.subject = subject

    def __str__(self) -> str:
        return f"{self.subject} was changed by another writer at the same time"


class BusyError(LedgerError):
    """Another transaction held a needed lock for too long. Nothing was done, and the call can be repeated."""

    def __str__(self) -> str:
        return "another transaction holds a lock that this call needs; try again"


class LedgerCorruptError(LedgerError):
    """What is stored is inconsistent: a hash, a length or a sum is wrong. `subject` is where, `detail` how."""

    def __init__(self, subject: str, detail: str) -> None:
        super().__init__(subject, detail)
        self.subject = subject
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.subject}: {self.detail}"


class UnreadableError(LedgerCorruptError):
    """What is stored is not what the code that read it relies on, such as a null, or a row that is missing.

    Its cause says what and where, for whoever looks into it: usually somebody changed rows, and else it is a fault of
    the service.
    """

    def __init__(self) -> None:
        detail = (
            "has something that the service cannot read; `moiety db fsck` says what, unless the service is at fault"
        )
        super().__init__("the database", detail)


@contextmanager
def stored(subject: str) -> Iterator[None]:
    """Reads something that was checked when it was stored.

    Raises:
        LedgerCorruptError: it is not sound now, so it was changed since.
    """
    try:
        yield
    except InvalidInputError as error:
        raise LedgerCorruptError(subject, f"is stored otherwise than it may be: {error}") from None


class QuotaError(LedgerError):
    """A quota is used up; there is room again after some time.

    `subject` is the resource name of the sender, `limit` the limit's name and `most` its value; `wait_seconds` is the
    time until there is room again.
    """

    def __init__(self, subject: str, limit: str, most: int, wait_seconds: int) -> None:
        super().__init__(subject, limit, most, wait_seconds)
        self.subject = subject
        self.limit = limit
        self.most = most
        self.wait_seconds = wait_seconds

    def __str__(self) -> str:
        return f"{self.subject}: {self.limit} is {self.most:,}, used up for another {self.wait_seconds:,} seconds"


class StoreUnavailableError(LedgerError):
    """The database, or another store, cannot be reached or closed the connection. Nothing was acknowledged.

    `reason` is what it or the way to it says, which may name hosts: for operators, not for callers.
    """

    def __init__(self, store: str = "the database", reason: str = "") -> None:
        super().__init__(store, reason)
        self.store = store
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.store} is not available{f': {self.reason}' if self.reason else ''}"


class StoreUnfitError(StoreUnavailableError):
    """The database answers, but lacks a privilege or a table that every call of this kind needs, until that is mended.

    `reason` is what it says.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the database", reason)

    def __str__(self) -> str:
        return f"{self.store} lacks what is needed: {self.reason}; `moiety db check` says what to mend"


class ProofError(LedgerError):
    """A Merkle proof is invalid. `reason` says which check failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"invalid proof: {self.reason}"


class FormatError(LedgerError):
    """Bytes are not in the format that they should have. `subject` is which part, `reason` the broken rule."""

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(subject, reason)
        self.subject = subject
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


class SignatureError(LedgerError):
    """The signature of a known key is invalid, or no known key has signed. `keys` are their names."""

    def __init__(self, keys: Sequence[str], reason: str) -> None:
        super().__init__(keys, reason)
        self.keys = tuple(keys)
        self.reason = reason

    def __str__(self) -> str:
        return f"invalid signature: {', '.join(self.keys)} {self.reason}"
