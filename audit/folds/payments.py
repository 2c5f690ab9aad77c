"""Bank accounts, pay runs and banks' files as the registry's log has them, each checked before it is used.

What pools do because of them is checked against this, by recomputing it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final

from audit.findings import At
from ledger.acts.entries import BankAccountContent, BankFileContent, BankMatchContent, PayeeContent, PayRunContent
from ledger.errors import InvalidInputError
from ledger.log.leaves import Leaf
from ledger.payments import (
    Booking,
    BookingKind,
    Bookings,
    Plan,
    end_to_end_id,
    parse_bookings,
    parse_plan,
    run_of,
)
from payout.payments.bank_messages import Message
from payout.payments.lines import BookedLine, changed_by, lines_of_file

COOLING: Final = timedelta(days=3)
"""As long as a new account waits before anything is paid to it."""

_BEFORE: Final = {
    BookingKind.PAID: ("", BookingKind.REJECTED),
    BookingKind.REJECTED: ("",),
    BookingKind.UNPAID: (BookingKind.REJECTED,),
    BookingKind.RETURNED: (BookingKind.PAID,),
}
"""What a bank may have said of a payment before each of these; nothing is the empty text."""

_SIGNS: Final = {
    BookingKind.PAID: -1, BookingKind.CHARGE: -1, BookingKind.TAKEN_BACK: -1, BookingKind.RETURNED: 1,
    BookingKind.RECEIVED: 1, BookingKind.UNMATCHED: 1, BookingKind.UNKNOWN: 1,
}  # fmt: skip

Body = Callable[[str, str], bytes]
"""Gives the body that a field names by a digest, checked."""


@dataclass(slots=True)
class PaymentsFold:
    """What is known of payments so far."""

    payees: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    """The leaf and time of each collective's latest account."""
    accounts: dict[str, BankAccountContent] = field(default_factory=dict)
    runs: dict[str, tuple[int, PayRunContent, Plan]] = field(default_factory=dict)
    files: dict[int, tuple[BankFileContent, Bookings]] = field(default_factory=dict)
    """By leaf."""
    booked: dict[int, Bookings] = field(default_factory=dict)
    """What pools book, by the leaf of a statement or of a match."""
    lines: dict[str, dict[str, BookedLine]] = field(default_factory=dict)
    """Lines of statements that are of payers or of nobody, by account and id."""
    changed: list[BookedLine] = field(default_factory=list)
    """Those that the last leaf changed."""
    _messages: set[tuple[str, str, str]] = field(default_factory=set)
    _last: dict[str, tuple[int, str]] = field(default_factory=dict)
    """The closing balance and day of each account's last statement."""
    _said: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What banks said last of each payment, and of which day."""

    def take_in(self, leaf: Leaf[Any], here: At, body: Body, collectives: Collection[str]) -> None:
        """Take in a leaf of the registry's log, if it is about payments.

        Raises:
            FoundError: it says what the service never would.
            InvalidInputError, LedgerCorruptError, ValueError: a value or a body is not sound.
        """
        self.changed = []
        match leaf.content:
            case PayeeContent(collective=name):
                here.holds(name in collectives, "collective", name, "one that is registered")
                self.payees[name] = (leaf.index, leaf.time)
            case BankAccountContent() as content:
                self._account(content, here)
            case PayRunContent() as content:
                plan = parse_plan(body("plan_sha256", content.plan_sha256))
                self._run(leaf, content, plan, here)
                self.runs[content.pay_run] = (leaf.index, content, plan)
            case BankFileContent() as content:
                bookings = parse_bookings(body("bookings_sha256", content.bookings_sha256))
                self._file(content, bookings, here)
                self.files[leaf.index] = (content, bookings)
                if content.is_statement:
                    self._book(leaf.index, content.bank_account, bookings)
            case BankMatchContent() as content:
                bookings = parse_bookings(body("bookings_sha256", content.bookings_sha256))
                self._match(leaf.index, content, bookings, here)

    def _book(self, leaf_index: int, bank_account: str, bookings: Bookings) -> None:
        changed = lines_of_file(leaf_index, bookings, self.lines.get(bank_account, {}))
        self._take_lines(leaf_index, bank_account, bookings, changed)

    def _match(self, leaf_index: int, content: BankMatchContent, bookings: Bookings, here: At) -> None:
        name = content.line
        lines = self.lines.get(content.bank_account, {})
        here.holds(name in lines, "line", name, "one of the account")
        changed = changed_by(name, bookings, lines)
        pools = {part.pool for booking in bookings.bookings for part in booking.pools}
        account = self.accounts[content.bank_account]
        here.holds(pools <= {*account.pools}, "pools", ", ".join(sorted(pools)), "those of the account")
        for booking in bookings.bookings:
            if booking.kind == BookingKind.PAID:
                whole = sum(part.amount_minor for part in booking.pools)
                here.same(f"amount of {booking.end_to_end_id}", whole, booking.amount_minor)
                self._payment(content, booking, BookingKind.PAID, booking.day, here)
        self._take_lines(leaf_index, content.bank_account, bookings, changed)

    def _take_lines(
        self, leaf_index: int, bank_account: str, bookings: Bookings, changed: dict[str, BookedLine]
    ) -> None:
        self.booked[leaf_index] = bookings
        self.lines.setdefault(bank_account, {}).update(changed)
        self.changed = list(changed.values())

    def _account(self, content: BankAccountContent, here: At) -> None:
        name, pools = content.bank_account, {*content.pools}
        here.same("pools", content.pools, sorted(pools))
        before = self.accounts.get(name)
        if before is not None:
            fixed = (content.currency, content.opening_minor)
            here.same("account", fixed, (before.currency, before.opening_minor))
            here.holds(pools >= {*before.pools}, "pools", content.pools, "those that it had, and more")
        for other, known in self.accounts.items():
            shared = pools & {*known.pools} if other != name else set()
            here.holds(not shared, "pools", ", ".join(sorted(shared)), f"none of {other}")
        self.accounts[name] = content
        self._last.setdefault(name, (content.opening_minor, ""))

    def _run(self, leaf: Leaf[Any], content: PayRunContent, plan: Plan, here: At) -> None:
        account = self.accounts.get(content.bank_account)
        here.holds(content.pay_run not in self.runs, "pay_run", content.pay_run, "one that is not there yet")
        here.holds(account is not None, "bank_account", content.bank_account, "one that is registered")
        assert account is not None  # noqa: S101  # it was just checked
        here.same("currency", content.currency, account.currency)
        here.same("payments", content.payments, len(plan.payments))
        here.same("amount_minor", content.amount_minor, sum(each.amount_minor for each in plan.payments))
        date.fromisoformat(content.day)
        names = [payment.collective for payment in plan.payments]
        here.same("collectives", names, sorted(set(names)))
        for place, payment in enumerate(plan.payments, 1):
            here.same("end_to_end_id", payment.end_to_end_id, end_to_end_id(content.pay_run, place))
            payee, since = self.payees.get(payment.collective, (None, leaf.time))
            here.same(f"payee of {payment.collective}", payment.payee, payee)
            waited = leaf.time >= since + COOLING
            here.holds(waited, f"payee of {payment.collective}", since.isoformat(), "an account of three days or more")
            sound = all(part.pool in account.pools and part.amount_minor > 0 for part in payment.pools)
            pools = [part.pool for part in payment.pools]
            here.holds(sound and pools == sorted(set(pools)), "pools", pools, "amounts of pools of the account")

    def _file(self, content: BankFileContent, bookings: Bookings, here: At) -> None:
        name = content.bank_account
        here.holds(name in self.accounts, "bank_account", name, "one that is registered")
        message = (name, content.message, content.message_id)
        here.holds(message not in self._messages, "message_id", content.message_id, "one that was not taken in yet")
        self._messages.add(message)
        day = date.fromisoformat(content.day).isoformat()
        for booking in bookings.bookings:
            self._booking(content, booking, day, here)
        if content.opening_minor is None or content.closing_minor is None:
            self._without_balances(content, bookings, here)
            return
        told = any(booking.kind == BookingKind.NOTIFIED for booking in bookings.bookings)
        here.holds(not told, "bookings", BookingKind.NOTIFIED.value, "what a statement can say")
        closing, last_day = self._last[name]
        here.same("opening_minor", content.opening_minor, closing)
        here.holds(day >= last_day, "day", day, f"{last_day} or later")
        moved = sum(_SIGNS.get(BookingKind(each.kind), 0) * each.amount_minor for each in bookings.bookings)
        here.same("closing_minor", content.closing_minor, content.opening_minor + moved)
        self._last[name] = (content.closing_minor, day)

    @staticmethod
    def _without_balances(content: BankFileContent, bookings: Bookings, here: At) -> None:
        """A file without balances moves nothing: it rejects, or it tells of what a statement will have."""
        kinds = {booking.kind for booking in bookings.bookings}
        is_notification = content.message == Message.NOTIFICATION
        may = BookingKind.NOTIFIED if is_notification else BookingKind.REJECTED
        here.holds(kinds <= {may}, "bookings", ", ".join(sorted(kinds)), f"{may.value} alone")

    def _booking(self, content: BankFileContent, booking: Booking, day: str, here: At) -> None:
        try:
            kind = BookingKind(booking.kind)
        except ValueError:
            raise InvalidInputError.of("kind", f"is not one of a booking: {booking.kind[:20]!r}") from None
        account = self.accounts[content.bank_account]
        pools = [part.pool for part in booking.pools]
        sound = {*pools} <= {*account.pools} and all(part.amount_minor > 0 for part in booking.pools)
        here.holds(sound and len({*pools}) == len(pools), "pools", pools, "amounts of pools of the account")
        whole = sum(part.amount_minor for part in booking.pools)
        here.holds(kind is not BookingKind.FREED, "kind", kind.value, "what a bank's file can say")
        if kind in _BEFORE:
            self._payment(content, booking, kind, day, here)
        expected = {
            BookingKind.UNKNOWN: 0, BookingKind.NOTIFIED: 0, BookingKind.REJECTED: 0, BookingKind.UNPAID: whole,
            BookingKind.RETURNED: whole,
        }.get(kind, booking.amount_minor)  # fmt: skip
        here.same(f"amount of {booking.end_to_end_id or booking.reference}", whole, expected)
        if kind is BookingKind.RETURNED:
            here.holds(0 < booking.amount_minor <= whole, "amount_minor", booking.amount_minor, f"at most {whole}")
        if kind in (BookingKind.UNPAID, BookingKind.REJECTED):
            here.same("amount_minor", booking.amount_minor, 0)

    def _payment(
        self, content: BankFileContent | BankMatchContent, booking: Booking, kind: BookingKind, day: str, here: At
    ) -> None:
        identity = booking.end_to_end_id
        run = self.runs.get(run_of(identity))
        planned = {each.end_to_end_id: each.collective for each in run[2].payments} if run else {}
        here.same(f"subject of {identity}", booking.subject, planned.get(identity))
        assert run is not None  # noqa: S101  # the payment is one of its
        here.same(f"bank_account of {identity}", content.bank_account, run[1].bank_account)
        said, of_day = self._said.get(identity, ("", ""))
        here.holds(said in _BEFORE[kind], f"{kind.value} of {identity}", said or "nothing", "what may precede it")
        if kind is BookingKind.UNPAID:
            due = max(of_day, run[1].day)
            here.holds(day >= due, f"UNPAID of {identity}", day, f"a statement of {due} or later")
        self._said[identity] = (kind.value, date.fromisoformat(booking.day).isoformat())
