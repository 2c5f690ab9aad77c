"""What notifications (camt.054) are for: they tell what the entries consist of that a statement only sums up.

A notification has no balances that it could be checked against, so it moves nothing. A statement does, and where it has
an entry without details, the details of the notification take its place: of the same entry, and of the same sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ledger.payments import Booking, BookingKind
from payout.payments.bank_messages import Line, Notification, Statement
from payout.payments.matching import references_of

Entry = tuple[str, str]
"""What the bank calls an entry, and its day."""


def notified(notification: Notification) -> list[Booking]:
    """Returns what a notification tells of, line by line. Nothing of it moves; a debit is below zero."""
    return [
        Booking(
            kind=BookingKind.NOTIFIED.value,
            amount_minor=line.amount_minor,
            end_to_end_id=line.end_to_end_id,
            subject="",
            day=line.day.isoformat(),
            reference=line.entry,
            reason=line.reason,
            pools=[],
            payment_reference=next(iter(references_of(line)), ""),
        )
        for line in notification.lines
    ]


def summed_up(statement: Statement) -> dict[Entry, Line]:
    """Returns the entries of a statement that have a reference and no details."""
    lines: dict[Entry, list[Line]] = {}
    for line in statement.lines:
        if line.entry:
            lines.setdefault(_entry(line), []).append(line)
    return {
        entry: line for entry, (line, *more) in lines.items() if not (more or line.end_to_end_id or line.references)
    }


def with_details(statement: Statement, notifications: Iterable[Notification]) -> Statement:
    """Returns a statement whose entries without details have those that notifications tell of.

    The details must sum to the entry, and all be credits or all debits: a return that is not in the statement could
    otherwise be hidden beside a charge. Where two notifications tell of one entry in different ways, neither counts.
    """
    bare = summed_up(statement)
    known: dict[Entry, list[tuple[Line, ...]]] = {}
    for notification in notifications:
        for entry, lines in _entries(notification):
            known.setdefault(entry, []).append(lines)
    found = {
        entry: first
        for entry, (first, *more) in known.items()
        if entry in bare and _fits(bare[entry], first) and all(Counter(other) == Counter(first) for other in more)
    }
    return replace(statement, lines=tuple(_expanded(statement, bare, found)))


def _expanded(statement: Statement, bare: dict[Entry, Line], found: dict[Entry, tuple[Line, ...]]) -> Iterator[Line]:
    for line in statement.lines:
        if bare.get(_entry(line)) is line and _entry(line) in found:
            yield from found[_entry(line)]
        else:
            yield line


def _entries(notification: Notification) -> Iterator[tuple[Entry, tuple[Line, ...]]]:
    lines: dict[Entry, list[Line]] = {}
    for line in notification.lines:
        if line.entry:
            lines.setdefault(_entry(line), []).append(line)
    for entry, each in lines.items():
        yield entry, tuple(each)


def _fits(whole: Line, lines: tuple[Line, ...]) -> bool:
    one_way = len({line.amount_minor > 0 for line in lines}) == 1
    told = any(line.end_to_end_id or line.references for line in lines)
    return one_way and told and sum(line.amount_minor for line in lines) == whole.amount_minor


def _entry(line: Line) -> Entry:
    return line.entry, line.day.isoformat()
