"""The report of a check of the database: each row that does not follow from the log, and how much was checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from audit.findings import Finding, Where

LISTED_MAX: Final = 100
"""Findings that are listed; the others are only counted."""

_SHOWN_BYTES_MAX: Final = 64
_SHOWN_TEXT_MAX: Final = 200


@dataclass(slots=True)
class CheckReport:
    """What was found in a pool, or in the tables as a whole if `pool` is empty."""

    pool: str = ""
    leaves: int = 0
    events: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    """Rows that were read, by table."""
    findings: list[Finding] = field(default_factory=list)
    """The first LISTED_MAX of them."""
    finding_count: int = 0
    unfollowed_from: int | None = None
    """The first leaf for which it could not be told what follows: its rows and later ones were not checked."""
    _found: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, table: str, key: str, figure: str, claimed: object, expected: object, *, count: int = 1) -> None:
        """Add a finding, once for each figure of a row; `count` if it represents several rows.

        `figure` is the column, or `row` where the row is missing or should not be there.
        """
        place = (table, key, figure)
        if place in self._found:
            return
        self.finding_count += count
        if len(self.findings) < LISTED_MAX:
            self._found.add(place)
            self.findings.append(Finding(Where(table=table, key=key), figure, shown(claimed), shown(expected)))

    def has(self, table: str, key: str, figure: str) -> bool:
        """Returns whether this is among the findings that are listed."""
        return (table, key, figure) in self._found

    def count(self, table: str, rows: int = 1) -> None:
        """Count rows that were read."""
        self.rows[table] = self.rows.get(table, 0) + rows


def shown(value: object) -> str:
    """Returns a value in readable form: bytes in hexadecimal, or their length and hash if they are long."""
    if value is None:
        return "null"
    if isinstance(value, bytes):
        long = len(value) > _SHOWN_BYTES_MAX
        return f"{len(value)} bytes, SHA-256 {sha256(value).hexdigest()}" if long else value.hex() or "no bytes"
    text = str(value)
    return text if len(text) <= _SHOWN_TEXT_MAX else f"{text[:_SHOWN_TEXT_MAX]}..."


def shown_row(row: dict[str, Any], columns: list[str] | None = None) -> str:
    """Returns columns with their values, such as `leaf_index=3 ordinal=0`."""
    return " ".join(f"{name}={shown(row[name])}" for name in (row if columns is None else columns))
