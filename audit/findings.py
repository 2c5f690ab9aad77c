"""What an audit finds, in the one form that replay, verification and the check of the database share.

`at(leaf_index)` compares a leaf's figures, and raises what differs.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.steps import Step


@dataclass(frozen=True, slots=True)
class Where:
    """The place of a finding. What does not apply is empty, the leaf -1, the line 0.

    Attributes:
        leaf_index: The leaf, counting from 0.
        file: The static file that it was found in.
        body: The SHA-256 of a body, in hexadecimal.
        line: The line of the statement, file or body, counting from 1.
        table: The table of the database.
        key: The primary key of the row, for people: `account=revenue leaf_index=3`.
    """

    leaf_index: int = -1
    file: str = ""
    body: str = ""
    line: int = 0
    table: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure that is not what it must be: what was claimed of it, and what was expected.

    Where it is not one value that was expected, `expected` says it in words. `step` is the step of a verification that
    it fails; other audits have none.
    """

    where: Where
    figure: str
    claimed: str
    expected: str
    step: Step | None = None

    def __str__(self) -> str:
        return f"{self.figure}: expected {self.expected}, got {self.claimed}"


class FoundError(Exception):
    """Something is not what it must be."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class At:
    """A place in the log whose figures are compared."""

    leaf_index: int
    line: int = 0
    step: Step | None = None

    def same(self, figure: str, claimed: object, expected: object) -> None:
        """Check that a figure is the expected one.

        Raises:
            FoundError: it is not.
        """
        if claimed != expected:
            raise self.error(figure, claimed, expected)

    def holds(self, condition: bool, figure: str, claimed: object, expected: str) -> None:
        """Check a condition on a figure; `expected` says in words what the figure must be.

        Raises:
            FoundError: the condition does not hold.
        """
        if not condition:
            raise self.error(figure, claimed, expected)

    def error(self, figure: str, claimed: object, expected: object) -> FoundError:
        """The error that says what differs, to be raised."""
        where = Where(self.leaf_index, line=self.line)
        return FoundError(Finding(where, figure, str(claimed), str(expected), self.step))


def at(leaf_index: int, *, line: int = 0, step: Step | None = None) -> At:
    """A leaf whose figures are compared: all of them, or those of a line of its statement, counting from 1.

    `step` is the step of a verification that compares them, where it does not follow from the leaf and the figure.
    """
    return At(leaf_index, line, step)
