"""What a bank's file means for the books: each of its lines with the payment that it is of.

A payment moves from `paying` to `paid` when a statement has its debit, and back when a statement has its return. What a
status report rejects moves nothing by itself: a forged report would otherwise have it paid twice. It is owed again once
a statement that covers the day has no debit for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final

from ledger.payments import Booking, BookingKind, PoolAmount
from payout.payments.bank_messages import Line, Statement, StatusReport


class State(StrEnum):
    """Where a payment is."""

    PAYING = "PAYING"
    """Given to the bank, which has not confirmed it."""
    REJECTED = "REJECTED"
    """The bank says that it will not pay; no statement confirms it yet."""
    PAID = "PAID"
    """A statement has the debit."""
    UNPAID = "UNPAID"
    """It was rejected, and a statement confirms it: owed again."""
    RETURNED = "RETURNED"
    """It came back: owed again."""


AFTER: Final = {
    BookingKind.PAID: State.PAID,
    BookingKind.REJECTED: State.REJECTED,
    BookingKind.UNPAID: State.UNPAID,
    BookingKind.RETURNED: State.RETURNED,
}
"""The state after a line of a file."""

BEFORE: Final[Mapping[BookingKind, tuple[State, ...]]] = {
    BookingKind.PAID: (State.PAYING, State.REJECTED),
    BookingKind.REJECTED: (State.PAYING,),
    BookingKind.UNPAID: (State.REJECTED,),
    BookingKind.RETURNED: (State.PAID,),
}
"""The states in which a line can be of a payment."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A payment that was given to the bank.

    Attributes:
        run: the id of its pay run.
        day: when the bank was to pay; after a rejection, the later of that day and the rejection's.
        pools: what each pool pays of it.
        reason: of the rejection.
    """

    end_to_end_id: str
    run: str
    collective: str
    day: date
    pools: tuple[PoolAmount, ...]
    state: State
    reason: str = ""

    @property
    def amount_minor(self) -> int:
        """The amount over all pools."""
        return sum(part.amount_minor for part in self.pools)


@dataclass(slots=True)
class Books:
    """What a bank account's pools know: its first pool, its payments, and who owes under which reference."""

    first_pool: str
    sent: dict[str, Sent]
    debts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """By payment reference: the pool, and the platform that reported."""


def match_statement(statement: Statement, books: Books) -> list[Booking]:
    """Returns what a statement's lines mean: payments first, then the rest in its order, then what it has no debit of.

    Args:
        statement: the statement.
        books: what is known; its payments' states are moved on.
    """
    bookings, rest = [], []
    for line in statement.lines:
        found = list(_paid(line, books)) if line.amount_minor < 0 else []
        bookings += found
        if not found:
            rest.append(line)
    bookings += [_other(line, books) for line in rest]
    lacking = [each for each in books.sent.values() if each.state is State.REJECTED and each.day <= statement.day]
    for each in lacking:
        bookings.append(_of(each, BookingKind.UNPAID, 0, statement.day, reason=each.reason))
        _move_on(books, each, State.UNPAID)
    return bookings


def match_status(report: StatusReport, books: Books) -> list[Booking]:
    """Returns the payments that a status report rejects; of one that is paid already it changes nothing."""
    bookings = []
    for status in report.statuses:
        if not status.rejected:
            continue
        if status.end_to_end_id:
            named: Iterable[Sent] = filter(None, [books.sent.get(status.end_to_end_id)])
        else:
            named = [each for each in books.sent.values() if each.run == report.original]
        for each in list(named):
            if each.run == report.original and books.sent[each.end_to_end_id].state is State.PAYING:
                bookings.append(_of(each, BookingKind.REJECTED, 0, report.day, reason=status.reason))
                _move_on(books, each, State.REJECTED)
    return bookings


def _paid(line: Line, books: Books) -> Iterator[Booking]:
    """What a debit pays: one payment, or a whole run that the bank booked as one."""
    open_states = BEFORE[BookingKind.PAID]
    one = books.sent.get(line.end_to_end_id)
    if one is not None:
        paid = [one] if one.state in open_states else []
    else:
        paid = [each for each in books.sent.values() if line.batch and each.run == line.batch]
        paid = [each for each in paid if each.state is State.PAYING] if line.batch else []
    if not paid or sum(each.amount_minor for each in paid) != -line.amount_minor:
        return
    for each in paid:
        yield _of(each, BookingKind.PAID, each.amount_minor, line.day, reference=line.bank_reference)
        _move_on(books, each, State.PAID)


def _other(line: Line, books: Books) -> Booking:
    amount, first = abs(line.amount_minor), books.first_pool
    one = books.sent.get(line.end_to_end_id)
    if line.amount_minor > 0 and one is not None:
        if one.state is State.PAID and amount <= one.amount_minor:
            _move_on(books, one, State.RETURNED)
            reason = line.reason or "the bank gives no reason"
            return _of(one, BookingKind.RETURNED, amount, line.day, reference=line.bank_reference, reason=reason)
        return _unknown(line, one.collective)
    owed = next((books.debts[each] for each in line.references if each in books.debts), None)
    if owed is not None and (line.amount_minor > 0 or line.is_return):
        kind = BookingKind.RECEIVED if line.amount_minor > 0 else BookingKind.TAKEN_BACK
        return _booking(kind, line, owed[0], subject=owed[1])
    if line.amount_minor > 0:
        return _booking(BookingKind.UNMATCHED, line, first)
    return _booking(BookingKind.CHARGE, line, first) if line.is_charge and amount else _unknown(line, "")


def _booking(kind: BookingKind, line: Line, pool: str, *, subject: str = "") -> Booking:
    amount = abs(line.amount_minor)
    return Booking(
        kind=kind.value,
        amount_minor=amount,
        end_to_end_id="",
        subject=subject,
        day=line.day.isoformat(),
        reference=line.bank_reference,
        reason=line.reason,
        pools=[PoolAmount(pool=pool, amount_minor=amount)],
    )


def _unknown(line: Line, subject: str) -> Booking:
    """A line without a partner. Its sign is kept, since it is nobody's: below zero for a debit."""
    return Booking(
        kind=BookingKind.UNKNOWN.value,
        amount_minor=line.amount_minor,
        end_to_end_id=line.end_to_end_id,
        subject=subject,
        day=line.day.isoformat(),
        reference=line.bank_reference,
        reason=line.reason,
        pools=[],
    )


def _of(
    sent: Sent, kind: BookingKind, amount_minor: int, day: date, *, reference: str = "", reason: str = ""
) -> Booking:
    return Booking(
        kind=kind.value,
        amount_minor=amount_minor,
        end_to_end_id=sent.end_to_end_id,
        subject=sent.collective,
        day=day.isoformat(),
        reference=reference,
        reason=reason,
        pools=[] if kind is BookingKind.REJECTED else list(sent.pools),
    )


def _move_on(books: Books, sent: Sent, state: State) -> None:
    books.sent[sent.end_to_end_id] = Sent(
        sent.end_to_end_id, sent.run, sent.collective, sent.day, sent.pools, state, sent.reason
    )


_SIGNS: Final = {
    BookingKind.PAID: -1, BookingKind.CHARGE: -1, BookingKind.TAKEN_BACK: -1,
    BookingKind.RETURNED: 1, BookingKind.RECEIVED: 1, BookingKind.UNMATCHED: 1, BookingKind.UNKNOWN: 1,
}  # fmt: skip


def bank_movement(bookings: Iterable[Booking]) -> int:
    """What bookings move at the bank, in minor units: the difference of a statement's balances."""
    return sum(_SIGNS.get(BookingKind(each.kind), 0) * each.amount_minor for each in bookings)
