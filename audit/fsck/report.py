"""The report of a check of the database: each row that does not follow from the log, and how much was checked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from audit.findings import Finding, Where

LISTED_MAX: Final = 100
"""Findings that are listed unless all are asked for, beside the first of each kind; the others are counted."""

LISTED_OF_LEAF_MAX: Final = 10
"""Findings of one kind and leaf among them, so that a leaf with very many does not crowd out those of others."""

Kind = tuple[str, str]
"""The table of a finding, and what of its rows is wrong."""

_LEAF: Final = re.compile(r"\bleaf_index=([0-9]{1,18})\b")

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
    """Those that are listed: all of them, or up to LISTED_MAX and the first of each kind."""
    finding_count: int = 0
    every: bool = False
    """Whether all findings are listed, in as much memory as that takes."""
    unfollowed_from: int | None = None
    """The first leaf for which it could not be told what follows: its rows and later ones were not checked."""
    _found: set[tuple[str, str, str]] = field(default_factory=set)
    _of_kind: dict[Kind, int] = field(default_factory=dict)
    _of_leaf: dict[tuple[Kind, int], int] = field(default_factory=dict)
    """Listed findings that have a leaf."""

    def add(
        self,
        table: str,
        key: str,
        figure: str,
        claimed: object,
        expected: object,
        *,
        count: int = 1,
        leaf_index: int | None = None,
    ) -> None:
        """Add a finding, once for a figure of a row; `count` where it stands for several rows.

        `figure` is the column, or `row` where the row is missing or should not be there. `leaf_index` is the leaf that
        it is about, where the row's key does not name it.
        """
        place = (table, key, figure)
        if place in self._found:
            return
        self.finding_count += count
        where = Where(_leaf_of(key) if leaf_index is None else leaf_index, table=table, key=key)
        found = Finding(where, figure, shown(claimed), shown(expected))
        kind = kind_of(found)
        self._of_kind[kind] = self._of_kind.get(kind, 0) + count
        if self._is_listed(kind, where.leaf_index):
            self._found.add(place)
            self.findings.append(found)

    def _is_listed(self, kind: Kind, leaf_index: int) -> bool:
        of_leaf = self._of_leaf.get((kind, leaf_index), 0)
        crowded = len(self.findings) >= LISTED_MAX or of_leaf >= LISTED_OF_LEAF_MAX
        if crowded and not self.every and kind in (kind_of(found) for found in self.findings):
            return False
        if leaf_index >= 0:
            self._of_leaf[kind, leaf_index] = of_leaf + 1
        return True

    def add_unlisted(self, table: str, figure: str, count: int) -> None:
        """Count findings that are like others and are not listed, whatever is asked for."""
        self.finding_count += count
        self._of_kind[table, figure] = self._of_kind.get((table, figure), 0) + count

    def by_kind(self) -> Iterator[tuple[list[Finding], int]]:
        """The listed findings of each kind by leaf, and how many of that kind are not listed."""
        listed: dict[Kind, list[Finding]] = {}
        for found in self.findings:
            listed.setdefault(kind_of(found), []).append(found)
        for kind, of_kind in listed.items():
            yield sorted(of_kind, key=lambda found: found.where.leaf_index), self._of_kind.get(kind, 0) - len(of_kind)

    def has(self, table: str, key: str, figure: str) -> bool:
        """Returns whether this is among the findings that are listed."""
        return (table, key, figure) in self._found

    def count(self, table: str, rows: int = 1) -> None:
        """Count rows that were read."""
        self.rows[table] = self.rows.get(table, 0) + rows


def kind_of(found: Finding) -> Kind:
    """The table and column of a finding; of a leaf's figure its first word, for others say which event it is."""
    return found.where.table, found.figure.partition(" ")[0]


def _leaf_of(key: str) -> int:
    named = _LEAF.search(key)
    return int(named[1]) if named else -1


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
