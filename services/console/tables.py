"""Rounds' tables, read and compared: statements, weights and registry snapshots."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from moiety.v1 import rounds_pb2
from services.console.visit import Visit

MOVERS: Final = 10
"""How many of those whose amount grew or fell the most are shown."""

CHANGES: Final = 50
"""How many changes of the registry are shown."""


def lines_of(visit: Visit, found: Any, part: Any = rounds_pb2.STATEMENT_PART_LINES, collective: str = "") -> bytes:
    """Returns a round's statement, or another of its tables: canonical CSV; a collective has its own lines."""
    request = rounds_pb2.GetStatementRequest(name=found.name, part=part, collective=collective)
    return b"".join(each.chunk for each in visit.call("RoundsService/GetStatement", request))


def adjusted_csv(rows: Iterable[Any]) -> bytes:
    """Returns lines of adjustments as CSV, amounts in minor units.

    A reason that a spreadsheet would take for a formula gets an apostrophe before it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("leaf", "account", "old_minor", "new_minor", "difference_minor", "reason"))
    for row in rows:
        reason = f"'{row.reason}" if row.reason.startswith(("=", "+", "-", "@", "\t", "\r")) else row.reason
        writer.writerow((row.leaf_index, row.account, row.old_minor, row.new_minor, row.difference_minor, reason))
    return out.getvalue().encode()


def rows_of(content: bytes) -> Iterator[dict[str, str]]:
    """Yields the lines of a table by their columns."""
    return iter(csv.DictReader(io.StringIO(content.decode())))


@dataclass(frozen=True, slots=True)
class Move:
    """What a collective gets, and what it got before: minor units; before is None where it had no line."""

    collective: str
    before: int | None
    now: int

    @property
    def change(self) -> int:
        """By how much it grew."""
        return self.now - (self.before or 0)


def movers(now: dict[str, int], before: dict[str, int]) -> list[Move]:
    """Returns those whose amount changed the most, by the size of the change."""
    moves = [Move(name, before.get(name), amount) for name, amount in now.items() if amount != before.get(name, 0)]
    moves += [Move(name, amount, 0) for name, amount in before.items() if amount and name not in now]
    return sorted(moves, key=lambda each: (-abs(each.change), each.collective))[: 2 * MOVERS]


def amounts_of(statement: bytes) -> dict[str, int]:
    """Returns what a statement gives each collective, in minor units."""
    header, *rows = csv.reader(io.StringIO(statement.decode()))
    name, amount = header.index("collective"), header.index("amount_minor")
    return {row[name]: int(row[amount]) for row in rows}


@dataclass(frozen=True, slots=True)
class RegistryChange:
    """What changed of a collective in the registry that rounds use; empty texts where it was not, or is no more."""

    collective: str
    field: str
    before: str
    now: str


def registry_changes(now: bytes, before: bytes) -> list[RegistryChange]:
    """Returns what changed between two registry snapshots."""
    new, old = ({row["collective"]: row for row in rows_of(each)} for each in _without_common_lines(now, before))
    found = []
    for name in sorted(new.keys() | old.keys()):
        if name not in old or name not in new:
            found.append(RegistryChange(name, "", "" if name not in old else name, "" if name not in new else name))
            continue
        fields = (field for field in new[name] if new[name][field] != old[name].get(field))
        found += [RegistryChange(name, field, old[name].get(field, ""), new[name][field]) for field in fields]
    return found


def _without_common_lines(*tables: bytes) -> list[bytes]:
    """Returns two tables without the lines that both have, below their headers."""
    one, other = (table.split(b"\n") for table in tables)
    common = set(one[1:]) & set(other[1:])
    return [b"\n".join([header, *(line for line in lines if line not in common)]) for header, *lines in (one, other)]
