"""Statements: a round explained line by line, as canonical CSV; and the registry snapshot that it used.

Canonical means that there is one spelling: UTF-8, a header, a line feed after every line, no quotes (ids and integers
need none), one line per collective, sorted by the bytes of its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.registry import NANO, Collective, CollectiveStatus, require_resource_id
from payout.amounts import Carried
from payout.rounds import Deficits, Line
from payout.weights import UsageKey, UsageSum

STATEMENT_COLUMNS: Final = (
    "collective",
    "status",
    "events",
    "weight_ai_only",
    "weight_human_ai",
    "deficit_before",
    "weight",
    "deficit_after",
    "attributed_minor",
    "commons_minor",
    "amount_minor",
    "attributed_before_nano",
    "attributed_after_nano",
    "commons_before_nano",
    "commons_after_nano",
)
WEIGHTS_COLUMNS: Final = ("collective", "method", "method_version", "mode", "events", "weight")
REGISTRY_COLUMNS: Final = ("collective", "status", "members", "equity_ppm")


def render_statement(lines: Iterable[Line]) -> bytes:
    """The statement's bytes."""
    return _render(
        STATEMENT_COLUMNS,
        (
            (
                line.collective,
                line.status.value,
                line.events,
                line.weight_ai_only,
                line.weight_human_ai,
                line.deficit_before,
                line.weight,
                line.deficit_after,
                line.attributed_minor,
                line.commons_minor,
                line.amount_minor,
                line.attributed_before_nano,
                line.attributed_after_nano,
                line.commons_before_nano,
                line.commons_after_nano,
            )
            for line in lines
        ),
    )


def parse_statement(statement: bytes) -> list[Line]:
    """Returns the lines of a statement.

    Raises:
        LedgerCorruptError: the statement is not canonical, or an amount is not its parts' sum.
    """
    rows = _parse(statement, STATEMENT_COLUMNS, "statement")
    try:
        lines = [
            Line(
                require_resource_id(row[0], "collective"),
                CollectiveStatus(row[1]),
                *map(_integer, row[2:5]),
                *map(_natural, row[5:10]),
                *map(_fraction, row[11:15]),
            )
            for row in rows
        ]
    except (ValueError, InvalidInputError) as error:
        raise LedgerCorruptError("statement", str(error)) from None
    names = [line.collective for line in lines]
    if render_statement(lines) != statement or names != sorted(set(names)):
        raise LedgerCorruptError("statement", "is not canonical")
    return lines


def deficits_of(lines: Iterable[Line], unattributed: int) -> Deficits:
    """Returns what a posted round leaves for the next one to subtract."""
    return Deficits(unattributed, {line.collective: line.deficit_after for line in lines if line.deficit_after})


def carried_of(lines: Iterable[Line], kept_nano: int) -> Carried:
    """The fractions that a posted round carries to the next one."""
    attributed, commons = {}, {}
    for line in lines:
        if line.attributed_after_nano:
            attributed[line.collective] = line.attributed_after_nano
        if line.commons_after_nano:
            commons[line.collective] = line.commons_after_nano
    return Carried(kept_nano, attributed, commons)


def render_weights(usage: Mapping[UsageKey, UsageSum]) -> bytes:
    """Returns where the statement's weights come from: a line per collective, method version and mode.

    A line with an empty collective has the unattributed weight and all events of that method version and mode.
    """
    rows: list[tuple[str, str, int, int, int, int]] = []
    for key, total in usage.items():
        rows.append(("", *key, total.events - total.retracted, total.unattributed))
        rows += [(name, *key, total.counts[name], weight) for name, weight in total.attributed.items()]
    return _render(WEIGHTS_COLUMNS, sorted(rows))


def parse_weights(table: bytes) -> dict[UsageKey, UsageSum]:
    """Returns the usage that a round's weights are of. What was retracted is not told apart: it is subtracted.

    Raises:
        LedgerCorruptError: the table is not canonical.
    """
    unattributed: dict[UsageKey, tuple[int, int]] = {}
    attributed: dict[UsageKey, dict[str, int]] = {}
    counts: dict[UsageKey, dict[str, int]] = {}
    try:
        for name, method, version, mode, events, weight in _parse(table, WEIGHTS_COLUMNS, "weights"):
            key = UsageKey(method, _natural(version), _natural(mode))
            if name:
                attributed.setdefault(key, {})[name] = _integer(weight)
                counts.setdefault(key, {})[name] = _integer(events)
            else:
                unattributed[key] = _integer(events), _integer(weight)
    except ValueError as error:
        raise LedgerCorruptError("weights", str(error)) from None
    usage = {
        key: UsageSum(events, 0, weight, attributed.pop(key, {}), counts.pop(key, {}))
        for key, (events, weight) in sorted(unattributed.items())
    }
    if attributed or render_weights(usage) != table:
        raise LedgerCorruptError("weights", "are not canonical")
    return usage


def render_registry(collectives: Iterable[Collective]) -> bytes:
    """Returns the snapshot of the registry that a round commits to: whatever of it can affect an amount."""
    rows = ((c.name, c.status.value, c.members, c.equity_ppm) for c in collectives)
    return _render(REGISTRY_COLUMNS, rows)


def parse_registry(snapshot: bytes) -> list[Collective]:
    """Returns the collectives of a snapshot, which has no display names.

    Raises:
        LedgerCorruptError: the snapshot is not canonical.
    """
    rows = _parse(snapshot, REGISTRY_COLUMNS, "registry snapshot")
    try:
        collectives = [
            Collective(name, name, _natural(members), _natural(equity_ppm), CollectiveStatus(status))
            for name, status, members, equity_ppm in rows
        ]
    except (ValueError, InvalidInputError) as error:
        raise LedgerCorruptError("registry snapshot", str(error)) from None
    names = [collective.name for collective in collectives]
    if render_registry(collectives) != snapshot or names != sorted(set(names)):
        raise LedgerCorruptError("registry snapshot", "is not canonical")
    return collectives


def lines_of(table: bytes, collective: str) -> bytes:
    """Returns the header of one of a round's tables, and its lines for one collective; these lie together."""
    header = table[: table.index(b"\n") + 1]
    prefix = f"\n{collective},".encode()
    begin = end = table.find(prefix)
    while end >= 0 and table.startswith(prefix, end):
        end = table.find(b"\n", end + 1)
    return header + table[begin + 1 : end + 1] if begin >= 0 else header


def page_of_lines(table: bytes, after: int, limit: int) -> bytes:
    """Returns the header of one of a round's tables, and up to `limit` lines after the first `after`."""
    header, *lines = table.splitlines(keepends=True)
    return header + b"".join(lines[after : after + limit])


def _render(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    text = [",".join(columns)]
    text += [",".join(map(str, row)) for row in rows]
    return ("\n".join(text) + "\n").encode()


def _integer(text: str) -> int:
    return -_natural(text[1:]) if text.startswith("-") else _natural(text)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{text[:40]!r} is not a count")
    return int(text)


def _fraction(text: str) -> int:
    nano = _natural(text)
    if nano >= NANO:
        raise ValueError(f"{text[:40]!r} is not below a unit")
    return nano


def _parse(content: bytes, columns: Sequence[str], subject: str) -> list[list[str]]:
    try:
        header, *rows = content.decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise LedgerCorruptError(subject, "is not UTF-8") from None
    fields = [row.split(",") for row in rows]
    if header != ",".join(columns) or any(len(row) != len(columns) for row in fields):
        raise LedgerCorruptError(subject, f"does not have the columns {','.join(columns)}")
    return fields
