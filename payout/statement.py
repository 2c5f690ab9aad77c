"""Statements: a round explained line by line, as canonical CSV; and the registry snapshot that it used.

Canonical means that there is one spelling: UTF-8, a header, a line feed after every line, no quotes (ids and integers
need none), one line per collective, sorted by the bytes of its id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from operator import itemgetter, lt
from typing import Final

from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.log.text import MAX_DIGITS
from ledger.money import require_balance
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
    return _joined(STATEMENT_COLUMNS, list(map(_row, lines)))


def _row(line: Line) -> str:
    (
        name, status, events, ai_only, human_ai, deficit_before, weight, deficit_after, attributed, commons,
        attributed_before, attributed_after, commons_before, commons_after,
    ) = line  # fmt: skip  # at once, which is faster than field by field
    return (
        f"{name},{status.value},{events},{ai_only},{human_ai},{deficit_before},{weight},{deficit_after},{attributed},"
        f"{commons},{attributed + commons},{attributed_before},{attributed_after},{commons_before},{commons_after}"
    )


def parse_statement(statement: bytes) -> list[Line]:
    """Returns the lines of a statement.

    Raises:
        LedgerCorruptError: the statement is not canonical, or an amount is not its parts' sum.
    """
    names, statuses, *written = _columns(statement, STATEMENT_COLUMNS, "statement")
    try:
        figures = [*map(_integers, written[:3]), *map(_naturals, written[3:6]), *map(_amounts, written[6:9])]
        figures += map(_fractions, written[9:])
        columns = [_ids(names), _statuses(statuses), *figures]
    except (ValueError, InvalidInputError) as error:
        raise LedgerCorruptError("statement", str(error)) from None
    amounts = columns.pop(STATEMENT_COLUMNS.index("amount_minor"))
    lines = list(map(Line._make, zip(*columns, strict=True)))
    # With one spelling of each field, all that is left to differ are the order and the sums.
    if not _ascend(names) or [line.amount_minor for line in lines] != amounts:
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
    rows: list[tuple[str, str]] = []
    for key in sorted(usage):
        total, of_key = usage[key], f",{key.method},{key.method_version},{key.mode},"
        rows.append(("", f"{of_key}{total.events - total.retracted},{total.unattributed}"))
        rows += [(name, f"{name}{of_key}{total.counts[name]},{weight}") for name, weight in total.attributed.items()]
    rows.sort(key=itemgetter(0))  # those of a name stay in the order of their keys
    return _joined(WEIGHTS_COLUMNS, [row for _, row in rows])


def parse_weights(table: bytes) -> dict[UsageKey, UsageSum]:
    """Returns the usage that a round's weights are of. What was retracted is not told apart: it is subtracted.

    Raises:
        LedgerCorruptError: the table is not canonical.
    """
    unattributed: dict[UsageKey, tuple[int, int]] = {}
    attributed: dict[UsageKey, dict[str, int]] = {}
    counts: dict[UsageKey, dict[str, int]] = {}
    names, methods, *written = _columns(table, WEIGHTS_COLUMNS, "weights")
    try:
        figures = [*map(_naturals, written[:2]), *map(_integers, written[2:])]
    except ValueError as error:
        raise LedgerCorruptError("weights", str(error)) from None
    for name, method, version, mode, events, weight in zip(names, methods, *figures, strict=True):
        key = UsageKey(method, version, mode)
        if name:
            attributed.setdefault(key, {})[name] = weight
            counts.setdefault(key, {})[name] = events
        else:
            unattributed[key] = events, weight
    usage = {
        key: UsageSum(events, 0, weight, attributed.pop(key, {}), counts.pop(key, {}))
        for key, (events, weight) in sorted(unattributed.items())
    }
    if attributed or render_weights(usage) != table:
        raise LedgerCorruptError("weights", "are not canonical")
    return usage


def render_registry(collectives: Iterable[Collective]) -> bytes:
    """Returns the snapshot of the registry that a round commits to: whatever of it can affect an amount."""
    return _joined(REGISTRY_COLUMNS, [f"{c.name},{c.status.value},{c.members},{c.equity_ppm}" for c in collectives])


def parse_registry(snapshot: bytes) -> list[Collective]:
    """Returns the collectives of a snapshot, which has no display names.

    Raises:
        LedgerCorruptError: the snapshot is not canonical.
    """
    names, statuses, members, equity_ppm = _columns(snapshot, REGISTRY_COLUMNS, "registry snapshot")
    try:
        columns = zip(names, names, _naturals(members), _naturals(equity_ppm), _statuses(statuses), strict=True)
        collectives = [Collective(*row) for row in columns]
    except (ValueError, InvalidInputError) as error:
        raise LedgerCorruptError("registry snapshot", str(error)) from None
    if not _ascend(names):
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


def _joined(columns: Sequence[str], rows: Sequence[str]) -> bytes:
    return ("\n".join([",".join(columns), *rows]) + "\n").encode()


_STATUSES: Final = {status.value: status for status in CollectiveStatus}


def _statuses(column: Sequence[str]) -> list[CollectiveStatus]:
    if unknown := set(column) - _STATUSES.keys():
        raise ValueError(f"{min(unknown)[:40]!r} is not a status")
    return [_STATUSES[text] for text in column]


def _ids(column: Sequence[str]) -> Sequence[str]:
    for name in column:
        require_resource_id(name, "collective")
    return column


def _integers(column: tuple[str, ...]) -> list[int]:
    """Returns the integers of a column, if each has the spelling that Python gives it: there is only one."""
    values = list(map(int, column))
    spelled = tuple(map(str, values))
    if spelled != column:
        other = next(text for text, canonical in zip(column, spelled, strict=True) if text != canonical)
        raise ValueError(f"{other[:40]!r} is not an integer")
    return values


def _naturals(column: tuple[str, ...]) -> list[int]:
    values = _integers(column)
    if min(values, default=0) < 0:
        raise ValueError(f"{min(values)} is not a count")
    return values


def _amounts(column: tuple[str, ...]) -> list[int]:
    values = _naturals(column)
    require_balance(max(values, default=0), "an amount")
    return values


def _fractions(column: tuple[str, ...]) -> list[int]:
    values = _naturals(column)
    if max(values, default=0) >= NANO:
        raise ValueError(f"{max(values)} is not below a unit")
    return values


def _ascend(names: Sequence[str]) -> bool:
    return all(map(lt, names, islice(names, 1, None)))


def _columns(content: bytes, columns: Sequence[str], subject: str) -> list[tuple[str, ...]]:
    """Returns the fields of a table by column.

    Raises:
        LedgerCorruptError: it does not have these columns in each line, or a line feed after each.
    """
    try:
        header, *rows = content.decode().split("\n")
    except UnicodeDecodeError:
        raise LedgerCorruptError(subject, "is not UTF-8") from None
    is_ended = bool(rows) and not rows.pop()
    if not is_ended or header != ",".join(columns) or {row.count(",") for row in rows} - {len(columns) - 1}:
        raise LedgerCorruptError(subject, f"does not have the columns {','.join(columns)}")
    # All fields by one split: a list for each line takes twice as long.
    fields = ",".join(rows).split(",") if rows else []
    if max(map(len, rows), default=0) > MAX_DIGITS and max(map(len, fields)) > MAX_DIGITS:
        raise LedgerCorruptError(subject, f"has a field of more than {MAX_DIGITS:,} characters")
    return [tuple(fields[place :: len(columns)]) for place in range(len(columns))]
