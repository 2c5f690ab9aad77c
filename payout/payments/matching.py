"""What a bank's file means for the books: each of its lines with the payment that it is of.

A payment moves from `paying` to `paid` when a statement has its debit, and back when a statement has its return. What a
status report rejects moves nothing by itself: a forged report would otherwise have it paid twice. It is owed again once
a statement that covers the day has no debit for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Final

from ledger.payments import Booking, BookingKind, PoolAmount
from payout.payments.bank_messages import Line, Statement, StatusReport
from payout.payments.lines import BookedLine, Part, bookings_back, opened_by, taken_back


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


@dataclass(frozen=True, slots=True)
class Debt:
    """A platform's report: the pool, the platform, and what of it was not reversed."""

    pool: str
    platform: str
    amount_minor: int


@dataclass(slots=True)
class Books:
    """What a bank account's pools know.

    Attributes:
        first_pool: which pool's money it is as long as nobody knows.
        sent: payments by end-to-end id.
        debts: reports by payment reference.
        lines: earlier lines by id.
    """

    first_pool: str
    sent: dict[str, Sent]
    debts: Mapping[str, Debt] = field(default_factory=dict)
    lines: dict[str, BookedLine] = field(default_factory=dict)


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
    for line in rest:
        for booking in _other(line, books):
            if opened := opened_by(0, len(bookings), booking):
                name = f"-{len(bookings)}"  # the file has no leaf yet
                books.lines[name] = replace(opened, name=name)
            bookings.append(booking)
    lacking = [each for each in books.sent.values() if each.state is State.REJECTED and each.day <= statement.day]
    for each in lacking:
        bookings.append(_of(each, BookingKind.UNPAID, 0, statement.day, reason=each.reason))
        _move_on(books, each, State.UNPAID)
    return bookings


def paid_by(line: BookedLine, payments: Sequence[Sent]) -> list[Booking]:
    """Returns the bookings by which a debit paid these payments, which sum to it."""
    about = {"day": line.day, "reference": line.reference}
    return [
        _of(each, BookingKind.PAID, each.amount_minor, date.fromisoformat(line.day)).model_copy(update=about)
        for each in payments
    ]


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
        yield _of(each, BookingKind.PAID, each.amount_minor, line.day, line)
        _move_on(books, each, State.PAID)


def _other(line: Line, books: Books) -> list[Booking]:
    if line.amount_minor > 0:
        one = books.sent.get(line.end_to_end_id)
        return _from_payer(line, books) if one is None else [_returned(line, one, books)]
    if line.amount_minor and line.is_charge:
        part = Part(books.first_pool, "", -line.amount_minor)
        return [_booking(BookingKind.CHARGE, line, part)]
    return _taken_back(line, books) or [_unknown(line, "")]


def _returned(line: Line, one: Sent, books: Books) -> Booking:
    if one.state is not State.PAID or line.amount_minor > one.amount_minor:
        return _unknown(line, one.collective)
    _move_on(books, one, State.RETURNED)
    reason = line.reason or "the bank gives no reason"
    return _of(one, BookingKind.RETURNED, line.amount_minor, line.day, line, reason=reason)


_REFERENCE: Final = re.compile("(?=(RF[0-9]{2}[0-9A-Z]{16}))")
"""As long as those of reports are, anywhere in a text."""


def references_of(line: Line) -> list[str]:
    """Returns all in a line that may be a report's payment reference, each once."""
    return list(dict.fromkeys(found for text in line.references for found in _REFERENCE.findall(text)))


def _from_payer(line: Line, books: Books) -> list[Booking]:
    """What somebody paid in. It is a platform's if the references that came with it are of one platform and pool, or if
    they are of several whose reports sum to the amount; else nobody knows.
    """
    owed = {each: books.debts[each] for each in references_of(line) if each in books.debts}
    whose = {(debt.pool, debt.platform) for debt in owed.values()}
    if len(whose) == 1:
        ((pool, platform),) = whose
        part = Part(pool, platform, line.amount_minor)
        return [_booking(BookingKind.RECEIVED, line, part, payment_reference=next(iter(owed)))]
    if owed and sum(debt.amount_minor for debt in owed.values()) == line.amount_minor:
        return [
            _booking(
                BookingKind.RECEIVED,
                line,
                Part(debt.pool, debt.platform, debt.amount_minor),
                payment_reference=reference,
            )
            for reference, debt in owed.items()
            if debt.amount_minor
        ]
    return [_booking(BookingKind.UNMATCHED, line, Part(books.first_pool, "", line.amount_minor))]


def _taken_back(line: Line, books: Books) -> list[Booking]:
    """What the bank takes back of an earlier credit: of the latest with its reference, best of the same amount."""
    amount, references = -line.amount_minor, references_of(line)
    if not line.is_return or not amount:
        return []
    candidates = [
        name
        for name, each in books.lines.items()
        if each.amount_minor >= amount
        and sum(part.amount_minor for part in each.parts) == each.amount_minor
        and (each.payment_reference in references or (each.reference and each.reference == line.bank_reference))
    ]
    if not candidates:
        return []
    exact = [name for name in candidates if books.lines[name].amount_minor == amount]
    name = (exact or candidates)[-1]
    day, reference = line.day.isoformat(), line.bank_reference
    reason = line.reason or "the bank gives no reason"
    about = {"day": day, "reference": reference, "reason": reason, "entry": line.entry}
    made = bookings_back(books.lines[name], amount, BookingKind.TAKEN_BACK, **about)
    for booking in made:
        books.lines[name] = taken_back(books.lines[name], booking)
    return made


def _booking(kind: BookingKind, line: Line, part: Part, *, payment_reference: str = "") -> Booking:
    return Booking(
        kind=kind.value,
        amount_minor=part.amount_minor,
        end_to_end_id="",
        subject=part.platform,
        day=line.day.isoformat(),
        reference=line.bank_reference,
        reason=line.reason,
        pools=[PoolAmount(pool=part.pool, amount_minor=part.amount_minor)],
        payment_reference=payment_reference,
        entry=line.entry,
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
        entry=line.entry,
    )


def _of(
    sent: Sent, kind: BookingKind, amount_minor: int, day: date, line: Line | None = None, *, reason: str = ""
) -> Booking:
    return Booking(
        kind=kind.value,
        amount_minor=amount_minor,
        end_to_end_id=sent.end_to_end_id,
        subject=sent.collective,
        day=day.isoformat(),
        reference=line.bank_reference if line else "",
        reason=reason,
        pools=[] if kind is BookingKind.REJECTED else list(sent.pools),
        entry=line.entry if line else "",
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
    return sum(at_the_bank(each) for each in bookings)


def at_the_bank(booking: Booking) -> int:
    """What a booking moves at the bank, in minor units; below zero for a debit."""
    return _SIGNS.get(BookingKind(booking.kind), 0) * booking.amount_minor
