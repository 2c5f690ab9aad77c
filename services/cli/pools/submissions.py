"""The messages about a failed submission: what is wrong in which row, and what was recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from moiety.errors import BatchRefusedError, InvalidUsageError, MoietyError, ServiceError, UsageFileError
from moiety.v1.usage_pb2 import Receipt
from services.cli.base.output import counted

REASONS_SHOWN_MAX: Final = 20
"""How many wrong rows are shown; `--json` has the first hundred of each batch."""

_EVENT_FIELD: Final = re.compile(r"events\[(\d+)\]\.?(.*)")

_Rows = tuple[int, int]
"""Rows by their places: the first, counting from 0, and the one after the last."""


def failure_lines(error: MoietyError, unit: str) -> list[str]:
    """Returns the lines about a failed submission. `unit` is what the file has: a row, or a turn."""
    lines = [*_reasons(error, unit)] or [f"error: {error}"]
    more = len(lines) - REASONS_SHOWN_MAX
    if more > 0:
        lines = [*lines[:REASONS_SHOWN_MAX], f"... and {more:,} more"]
    return [*lines, *_outcome(error, unit)]


def _reasons(error: MoietyError, unit: str) -> Iterator[str]:
    if isinstance(error, InvalidUsageError):
        where = "" if error.position is None else f"{unit} {error.position + 1:,}, "
        yield f"{where}{error.field}: {error.reason}"
    elif isinstance(error, UsageFileError):
        yield str(error)
    elif isinstance(error, ServiceError):
        yield from (f"{item.field}: {item.description}" for item in error.violations)
    for refusal in error.refusals:
        first = refusal.first_position
        for violation in refusal.error.violations:
            if match := _EVENT_FIELD.fullmatch(violation.field):
                yield f"{unit} {first + int(match[1]) + 1:,}, {match[2] or 'event'}: {violation.description}"
            else:
                rows = _in_words([(first, first + refusal.event_count)], unit)
                yield f"{rows}, {violation.field}: {violation.description}"


def _outcome(error: MoietyError, unit: str) -> Iterator[str]:
    if not error.receipts and not error.refusals:
        if not isinstance(error, BatchRefusedError | ServiceError):
            yield "Nothing was recorded."
        return
    recorded, refused, end = _rows_of(error)
    dry = bool(error.receipts) and not error.receipts[0].leaf_hash
    if recorded:
        yield f"{_capital(_in_words(recorded, unit))} {_verb(recorded, dry)} ({_totals(error.receipts)})."
    if refused and not recorded:
        yield f"Nothing was recorded: one wrong {unit} is enough to refuse a batch."
    elif refused:
        alone = "is" if _count(refused) == 1 else "are"
        yield f"{_capital(_in_words(refused, unit))} {alone} not: one wrong {unit} is enough to refuse a batch."
    if isinstance(error, ServiceError):
        yield f"Whether the {unit}s from {end + 1:,} on are recorded is not known."
    elif not isinstance(error, BatchRefusedError):
        yield f"The {unit}s from {end + 1:,} on are not."
    if not dry:
        yield "Correct the file and submit all of it again: what is recorded is not recorded twice."


def _rows_of(error: MoietyError) -> tuple[list[_Rows], list[_Rows], int]:
    """The rows that are recorded, those that were refused, and where the answered ones end."""
    refusals = {refusal.batch_index: refusal for refusal in error.refusals}
    receipts = iter(error.receipts)
    recorded: list[_Rows] = []
    refused: list[_Rows] = []
    at = 0
    for index in range(len(error.receipts) + len(refusals)):
        if refusal := refusals.get(index):
            at = _extend(refused, at, refusal.event_count)
        else:
            receipt = next(receipts)
            at = _extend(recorded, at, receipt.accepted_count + receipt.duplicate_count)
    return recorded, refused, at


def _extend(rows: list[_Rows], start: int, count: int) -> int:
    if rows and rows[-1][1] == start:
        rows[-1] = (rows[-1][0], start + count)
    else:
        rows.append((start, start + count))
    return start + count


def _in_words(rows: Sequence[_Rows], unit: str) -> str:
    parts = [f"{start + 1:,}" if end - start == 1 else f"{start + 1:,} to {end:,}" for start, end in rows]
    listed = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    return f"{unit if _count(rows) == 1 else unit + 's'} {listed}"


def _count(rows: Sequence[_Rows]) -> int:
    return sum(end - start for start, end in rows)


def _verb(rows: Sequence[_Rows], dry: bool) -> str:
    if dry:
        return "would be recorded"
    return "is recorded" if _count(rows) == 1 else "are recorded"


def _totals(receipts: Sequence[Receipt]) -> str:
    accepted = sum(receipt.accepted_count for receipt in receipts)
    duplicates = sum(receipt.duplicate_count for receipt in receipts)
    return f"{counted(accepted, 'event')} accepted, {counted(duplicates, 'duplicate')} left out"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
