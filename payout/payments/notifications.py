"""What notifications (camt.054) are for: they tell what the entries consist of that a statement only sums up.

A notification has no balances that it could be checked against, so it moves nothing. A statement does, and where it has
an entry without details, the details of the notification take its place: of the same entry, and of the same sum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from ledger.payments import Booking, BookingKind
from payout.payments.bank_messages import Line, Notification, Statement
from payout.payments.matching import at_the_bank, references_of

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
            entry=line.entry,
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


def unstated(statements: Iterable[Sequence[Booking]], notifications: Iterable[Sequence[Booking]]) -> list[Booking]:
    """Returns what notifications tell of and no statement has, each entry once.

    An entry is known by what the bank calls it, and by its day. A line without such a name is the statement's that has
    its amount and its day.
    """
    stated = [booking for bookings in statements for booking in bookings]
    entries, unnamed = {(each.entry, each.day) for each in stated if each.entry}, Counter(map(_moved, stated))
    found: list[Booking] = []
    for bookings in notifications:
        told = set[Entry]()
        for each in bookings:
            if each.entry:
                if (each.entry, each.day) not in entries:
                    found.append(each)
                    told.add((each.entry, each.day))
            elif unnamed[_moved(each)]:
                unnamed[_moved(each)] -= 1
            else:
                found.append(each)
        entries |= told  # a second notification of it tells nothing new
    return found


def _moved(booking: Booking) -> tuple[int, str]:
    amount = booking.amount_minor if booking.kind == BookingKind.NOTIFIED else at_the_bank(booking)
    return amount, booking.day


def told_beside(
    statement: Sequence[Booking], notifications: Iterable[Sequence[Booking]]
) -> dict[int, tuple[Booking, ...]]:
    """Returns what notifications tell of a statement's lines that are nobody's, by their place in it.

    As in `with_details`: a line is the only one of its entry, what is told sums to it and goes one way, and where two
    notifications differ, neither counts.
    """
    alone = Counter((each.entry, each.day) for each in statement)
    known: dict[Entry, list[tuple[Booking, ...]]] = {}
    for bookings in notifications:
        entries: dict[Entry, list[Booking]] = {}
        for each in bookings:
            entries.setdefault((each.entry, each.day), []).append(each)
        for entry, told in entries.items():
            known.setdefault(entry, []).append(tuple(told))
    return {
        place: first
        for place, each in enumerate(statement)
        if each.kind in _NOBODYS and each.entry and alone[each.entry, each.day] == 1
        for first, *more in [known.get((each.entry, each.day), [()])]
        if _tells(each, first) and all(_alike(other) == _alike(first) for other in more)
    }


_NOBODYS: Final = (BookingKind.UNMATCHED, BookingKind.UNKNOWN)


def _tells(whole: Booking, told: Sequence[Booking]) -> bool:
    one_way = len({each.amount_minor > 0 for each in told}) == 1
    new = any(each.end_to_end_id or each.payment_reference for each in told)
    return one_way and new and sum(each.amount_minor for each in told) == at_the_bank(whole)


def _alike(told: Sequence[Booking]) -> Counter[tuple[object, ...]]:
    return Counter((each.amount_minor, each.end_to_end_id, each.payment_reference) for each in told)


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
