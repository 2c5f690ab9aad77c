"""What an audit finds, in the one form shared by replay, verification and the check of the database.

`at(leaf_index)` compares a leaf's figures and raises an error at the first difference.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, NamedTuple

from audit.steps import Step
from ledger.errors import FormatError, InvalidInputError, LedgerCorruptError, NotFoundError
from ledger.files.layout import ARCHIVE, JOURNAL, digest_at


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a finding. Fields that do not apply are empty, the leaf is -1, the line 0.

    Attributes:
        leaf_index: The leaf, counting from 0.
        file: The static file that it was found in.
        body: The SHA-256 of a body, in hexadecimal.
        line: The line of the statement, file or body, counting from 1.
        table: The table of the database.
        key: The primary key of the row, in readable form: `account=revenue leaf_index=3`.
        log: `registry` if the leaf is in the registry's log and not in the pool's.
    """

    leaf_index: int = -1
    file: str = ""
    body: str = ""
    line: int = 0
    table: str = ""
    key: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure that is wrong: the value that was claimed, and the value that was expected.

    If more than one value would do, `expected` describes them in words. `step` is the failed step of a verification;
    other audits have none.
    """

    where: Where
    figure: str
    claimed: str
    expected: str
    step: Step | None = None

    def __str__(self) -> str:
        return f"{self.figure}: expected {self.expected}, got {self.claimed}"


UNSOUND: Final = (ArithmeticError, LookupError, ValueError, RecursionError, InvalidInputError, LedgerCorruptError)
"""What an entry can make raise that is canonical and says what the service never would: a rate above one, a time after
which there is no date, a number that no text has. Whoever takes in an entry makes a finding of it, at its leaf."""


class FoundError(Exception):
    """A figure is wrong."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


def raise_finding(finding: Finding) -> None:
    """Raises a finding: what folds do with one, unless they are to go on.

    Raises:
        FoundError: always.
    """
    raise FoundError(finding)


class noting(AbstractContextManager[None]):  # noqa: N801  # used as a function would be, in a third of the time
    """Note the finding that ends what is in here, and go on after it, unless `note` raises."""

    __slots__ = ("_note",)

    def __init__(self, note: Callable[[Finding], object]) -> None:
        self._note = note

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, FoundError):
            return False
        self._note(error.finding)
        return True


class At(NamedTuple):
    """A place in the log whose figures are compared. One is made for almost every check, so it is a tuple."""

    leaf_index: int
    line: int = 0
    step: Step | None = None
    log: str = ""

    def same(self, figure: str, claimed: object, expected: object) -> None:
        """Check that a figure has the expected value.

        Raises:
            FoundError: it has not.
        """
        if claimed != expected:
            raise self.error(figure, claimed, expected)

    def holds(self, condition: bool, figure: str, claimed: object, expected: str) -> None:
        """Check a condition on a figure; `expected` describes what the figure must be.

        Raises:
            FoundError: the condition does not hold.
        """
        if not condition:
            raise self.error(figure, claimed, expected)

    def error(self, figure: str, claimed: object, expected: object) -> FoundError:
        """Returns the error for this difference, for the caller to raise."""
        where = Where(self.leaf_index, line=self.line, log=self.log)
        return FoundError(Finding(where, figure, str(claimed), str(expected), self.step))


def at(leaf_index: int, *, line: int = 0, step: Step | None = None, log: str = "") -> At:
    """Returns the place of a leaf, or of one line of its statement (counting from 1), to compare figures at.

    `step` is the step of the verification, if leaf and figure do not already imply it. `log` is `registry` if the leaf
    is in the registry's log.
    """
    return tuple.__new__(At, (leaf_index, line, step, log))  # as At does, in half of the time


def file_finding(error: FormatError | NotFoundError, reading: Step) -> Finding:
    """Returns the finding for a malformed or missing file; `reading` is the step if the file does not tell it."""
    if isinstance(error, NotFoundError):
        return Finding(Where(file=error.resource), "file", "missing", "there", reading)
    file, _, line = error.subject.partition(" line ")
    if file == JOURNAL:
        reading = Step.BALANCES
    elif file == ARCHIVE:
        reading = Step.FILES
    elif digest_at(file) is not None:
        reading = Step.BODIES
    where = Where(file=file, line=int(line) if line else 0)
    return Finding(where, "form", error.reason, "as it is specified", reading)
