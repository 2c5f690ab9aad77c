"""The entries of a pool's log that operators move money by, except for rounds and for money in (`ledger.income`)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from typing import ClassVar, Final

from ledger.acts.act import SaltedContent
from ledger.acts.controls import Kind
from ledger.journal import (
    COMMONS,
    COSTS,
    OUTSIDE,
    REVENUE,
    UNMATCHED,
    WITHDRAWN,
    Purpose,
    Transfer,
    collective_account,
    credit_account,
    due_account,
    fold,
    held_account,
    paid_account,
    paying_account,
)
from ledger.log.leaves import AmountMinor, Content, Past, Sha256Hex
from ledger.payments import BookingKind, PoolBooking, parse_part, parse_pool_bookings


class Movement(SaltedContent):
    """Money that an operator moves by hand. All such movements of a pool share one set of request ids."""

    kind: ClassVar[Kind | None] = Kind.MONEY

    request_id: str
    amount_minor: AmountMinor

    @property
    def identity(self) -> tuple[str, ...]:
        """The id of the request."""
        return "request_id", "movement", self.request_id


class CollectiveMovement(Movement):
    """One that a collective takes part in."""

    collective: str


class ReleaseContent(CollectiveMovement):
    """An operator released what was held for a collective to it, or returned it to the commons fund."""

    type: ClassVar[str] = "release.v1"

    to_commons: bool
    reason: str

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From the held amount to the collective, or to the commons fund."""
        held = held_account(self.collective)
        if self.to_commons:
            return (Transfer(held, COMMONS, self.amount_minor, Purpose.RETURN),)
        return (Transfer(held, collective_account(self.collective), self.amount_minor, Purpose.RELEASE),)


class GrantContent(CollectiveMovement):
    """An operator granted a collective an amount from the commons fund."""

    type: ClassVar[str] = "grant.v1"

    reason: str

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From the commons fund to the collective."""
        return (Transfer(COMMONS, collective_account(self.collective), self.amount_minor, Purpose.GRANT),)


class PaymentContent(CollectiveMovement):
    """A collective was paid outside the system."""

    type: ClassVar[str] = "payment.v1"

    reference: str

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From what the collective is owed to what it was paid."""
        owed, paid = collective_account(self.collective), paid_account(self.collective)
        return (Transfer(owed, paid, self.amount_minor, Purpose.PAYMENT),)


class FollowingContent(Content):
    """What a pool does because the registry's log says so; nobody acts. It names the registry's size it was made at."""

    registry_size: int


class PayingContent(FollowingContent):
    """A pool's part of a pay run, which is at this leaf of the registry's log."""

    type: ClassVar[str] = "paying.v1"

    pay_run: str
    pay_run_leaf: int
    parts_sha256: Sha256Hex

    @property
    def key(self) -> Hashable:
        """The run's id."""
        return self.pay_run

    @property
    def identity(self) -> tuple[str, ...]:
        """The run's id."""
        return "pay_run", self.pay_run

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """From what the collectives are owed to what they are being paid."""
        return tuple(
            Transfer(
                collective_account(part.collective),
                paying_account(part.collective),
                part.amount_minor,
                Purpose.PAY_RUN,
            )
            for part in past.parsed(self.parts_sha256, parse_part).parts
            if part.amount_minor
        )


class BookingContent(FollowingContent):
    """A pool's part of a bank's statement, or of what an operator said of a line of one.

    `bank_file_leaf` is the leaf of either in the registry's log.
    """

    type: ClassVar[str] = "booking.v1"

    bank_file_leaf: int
    bookings_sha256: Sha256Hex
    lines: int
    lines_root: Sha256Hex
    """The root of the tree of the body's lines."""

    @property
    def identity(self) -> tuple[str, ...]:
        """The registry's leaf."""
        return "bank_file", str(self.bank_file_leaf)

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """What the lines of the statement move in this pool, each after those before it."""
        moved: list[Transfer] = []
        changes: dict[str, int] = {}
        before = cache(past.balance)

        def balance(account: str) -> int:
            return before(account) + changes.get(account, 0)

        for booking in past.parsed(self.bookings_sha256, parse_pool_bookings).bookings:
            new = list(_booked(booking, balance))
            changes |= fold(changes, new)
            moved += new
        return tuple(moved)


def _booked(booking: PoolBooking, balance: Callable[[str], int]) -> Iterator[Transfer]:
    if booking.kind in _OF_PAYERS:
        yield from _of_payer(booking, balance)
    else:
        yield from _of_payment(booking)


_OF_PAYERS: Final = (BookingKind.RECEIVED, BookingKind.UNMATCHED, BookingKind.TAKEN_BACK, BookingKind.FREED)


def _of_payer(booking: PoolBooking, balance: Callable[[str], int]) -> Iterator[Transfer]:
    """What came in or goes back: as of a receipt, and as of its reversal."""
    payer, amount_minor = booking.subject, booking.amount_minor
    comes = booking.kind in (BookingKind.RECEIVED, BookingKind.UNMATCHED)
    back = Purpose.MATCH if booking.kind == BookingKind.FREED else Purpose.CHARGEBACK
    if not payer:
        if comes:
            yield Transfer(OUTSIDE, UNMATCHED, amount_minor, Purpose.RECEIPT)
        else:
            yield Transfer(UNMATCHED, OUTSIDE, amount_minor, back)
        return
    due, credit = due_account(payer), credit_account(payer)
    first = min(balance(due if comes else credit), amount_minor)
    if comes:
        moves = ((due, REVENUE, first, Purpose.RECEIPT), (OUTSIDE, credit, amount_minor - first, Purpose.CREDIT))
    else:
        moves = ((credit, OUTSIDE, first, back), (REVENUE, due, amount_minor - first, back))
    yield from (Transfer(*move) for move in moves if move[2])


def _of_payment(booking: PoolBooking) -> Iterator[Transfer]:
    subject, amount_minor = booking.subject, booking.amount_minor
    owed, paying, paid = collective_account(subject), paying_account(subject), paid_account(subject)
    moves = {
        BookingKind.PAID: (paying, paid, Purpose.PAYMENT),
        BookingKind.UNPAID: (paying, owed, Purpose.UNPAID),
        BookingKind.RETURNED: (paid, owed, Purpose.RETURNED),
        BookingKind.CHARGE: (COSTS, WITHDRAWN, Purpose.CHARGE),
    }
    if amount_minor and booking.kind in moves:
        from_account, to_account, purpose = moves[BookingKind(booking.kind)]
        yield Transfer(from_account, to_account, amount_minor, purpose)
    if booking.cost_minor:
        yield Transfer(COSTS, WITHDRAWN, booking.cost_minor, Purpose.CHARGE)
