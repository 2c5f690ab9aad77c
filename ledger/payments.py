"""What the logs keep of payments beside their entries: the bodies of pay runs and of bank files, as canonical JSON.

A body that holds what somebody is paid begins with a random salt, so that nobody can try out amounts against its hash.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict

from ledger.acts.act import Salt
from ledger.errors import LedgerCorruptError
from ledger.log.canonical import canonical, parsed
from ledger.log.leaves import AmountMinor
from ledger.log.merkle import leaf_hash, root

END_TO_END_DIGITS: Final = 7
"""Payments of one run: at most ten million."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class PoolAmount(_Part):
    """An amount of one pool."""

    pool: str
    amount_minor: AmountMinor


class PlannedPayment(_Part):
    """What a collective is to be paid in a run: from which pools, and to which account, named by its payee's leaf."""

    end_to_end_id: str
    collective: str
    payee: int
    pools: list[PoolAmount]

    @property
    def amount_minor(self) -> int:
        """The amount over all pools."""
        return sum(part.amount_minor for part in self.pools)


class LeftOut(StrEnum):
    """Why a collective that is owed something is not paid in a run."""

    NO_PAYEE = "NO_PAYEE"
    """It has no account."""
    COOLING = "COOLING"
    """Its account is newer than three days."""
    OTHER_CURRENCY = "OTHER_CURRENCY"
    """Its account takes another currency."""
    BELOW_SMALLEST = "BELOW_SMALLEST"
    """It is owed less than its smallest payment."""
    ABOVE_LARGEST = "ABOVE_LARGEST"
    """It is owed more than a bank takes as one payment."""
    ERASED = "ERASED"
    """The details of its account were erased."""
    SUSPENDED = "SUSPENDED"
    """It is suspended."""


class NotPaid(_Part):
    """A collective that is owed something and is not paid in a run."""

    collective: str
    amount_minor: AmountMinor
    why: str


class Plan(_Part):
    """Who is paid in a run, by end-to-end id, and who is not, by collective."""

    salt: Salt
    payments: list[PlannedPayment]
    not_paid: list[NotPaid]

    def of_pool(self, pool: str) -> dict[str, int]:
        """What a pool is to pay to each collective."""
        return {
            payment.collective: part.amount_minor
            for payment in self.payments
            for part in payment.pools
            if part.pool == pool
        }


class PaidPart(_Part):
    """What a pool pays a collective in a run. `short_minor` is what it no longer had of what was planned."""

    end_to_end_id: str
    collective: str
    amount_minor: AmountMinor
    short_minor: AmountMinor


class PoolPart(_Part):
    """What a pool pays in a run."""

    salt: Salt
    parts: list[PaidPart]


class BookingKind(StrEnum):
    """What a line of a bank's file means."""

    PAID = "PAID"
    """The bank paid: `paying` to `paid`."""
    REJECTED = "REJECTED"
    """The bank says that it will not pay (pain.002). Nothing moves until a statement shows that it did not."""
    UNPAID = "UNPAID"
    """A statement that covers the day has no debit for what was rejected: `paying` back to the collective."""
    RETURNED = "RETURNED"
    """The money came back: `paid` back to the collective, whole; what the bank kept of it is a cost."""
    RECEIVED = "RECEIVED"
    """A platform paid what it had reported."""
    TAKEN_BACK = "TAKEN_BACK"
    """A bank took a platform's payment back."""
    UNMATCHED = "UNMATCHED"
    """Somebody paid, and nobody knows for what."""
    CHARGE = "CHARGE"
    """The bank's own charge."""
    FREED = "FREED"
    """What a line was booked as no longer holds, because an operator said what it is of."""
    NOTIFIED = "NOTIFIED"
    """The bank tells of it before its statement, or beside it (camt.054). Nothing moves until a statement has it."""
    UNKNOWN = "UNKNOWN"
    """It has no partner in the books. Nothing moves, and the difference shows it."""


class Booking(_Part):
    """A line of a bank's file, and what it means.

    `amount_minor` is what the bank moved; `pools` what each pool moves. `subject` is the collective or the platform; it
    is empty for an unknown payer. `payment_reference` is the report's that came with a platform's money, and `line` the
    earlier line that this one takes back or frees (see `line_name`); both are empty otherwise. `entry` is what the bank
    calls the entry that the line is of, in statements and notifications alike; empty for none.
    """

    kind: str
    amount_minor: AmountMinor
    end_to_end_id: str
    subject: str
    day: str
    reference: str
    reason: str
    pools: list[PoolAmount]
    payment_reference: str = ""
    line: str = ""
    entry: str = ""

    def of_pool(self, pool: str) -> int:
        """What a pool moves."""
        return sum(part.amount_minor for part in self.pools if part.pool == pool)


class Bookings(_Part):
    """The lines of a bank's file in its order, payments before returns."""

    salt: Salt
    bookings: list[Booking]


class PoolBooking(_Part):
    """What a line of a bank's file moves in one pool. `cost_minor` is what the bank kept."""

    kind: str
    subject: str
    end_to_end_id: str
    amount_minor: AmountMinor
    cost_minor: AmountMinor
    day: str
    reason: str


class PoolBookings(_Part):
    """What a bank's file moves in one pool.

    Its lines are the leaves of a tree too, each with a salt of its own, so that a collective can be shown its own.
    """

    salt: Salt
    bookings: list[PoolBooking]

    def salt_at(self, position: int) -> bytes:
        """Returns the salt of a line's leaf: `HMAC-SHA256(the body's salt, its position in decimal)`."""
        return hmac.digest(bytes.fromhex(self.salt), str(position).encode(), "sha256")

    def leaves(self) -> list[bytes]:
        """Returns the hashes of the leaves, in order."""
        return [booking_leaf(self.salt_at(position), render(booking)) for position, booking in enumerate(self.bookings)]

    def root(self) -> str:
        """Returns the tree's root in hexadecimal."""
        return root(self.leaves()).hex()


def booking_leaf(salt: bytes, document: bytes) -> bytes:
    """Returns the hash of a line's leaf."""
    return leaf_hash(salt + document)


B = TypeVar("B", Plan, PoolPart, Bookings, PoolBookings)


def render(body: BaseModel) -> bytes:
    """The body's bytes: canonical JSON."""
    return canonical(body.model_dump(mode="json"))


def parse_plan(body: bytes) -> Plan:
    """Returns the plan of a run.

    Raises:
        LedgerCorruptError: it is not one, or not in canonical form.
    """
    return _parse(Plan, body)


def parse_part(body: bytes) -> PoolPart:
    """Returns what a pool pays in a run; raises as `parse_plan` does."""
    return _parse(PoolPart, body)


def parse_bookings(body: bytes) -> Bookings:
    """Returns the lines of a bank's file; raises as `parse_plan` does."""
    return _parse(Bookings, body)


def parse_pool_bookings(body: bytes) -> PoolBookings:
    """Returns what a bank's file moves in a pool; raises as `parse_plan` does."""
    return _parse(PoolBookings, body)


def _parse(kind: type[B], body: bytes) -> B:
    try:
        found = kind.model_validate(parsed(body))
    except ValueError:
        raise LedgerCorruptError(f"a body of {kind.__name__}", "is not one") from None
    if render(found) != body:
        raise LedgerCorruptError(f"a body of {kind.__name__}", "is not in canonical form")
    return found


def end_to_end_id(pay_run: str, place: int) -> str:
    """The id by which a payment comes back: the run's, and its place in it; at most 35 characters, as banks take."""
    return f"{pay_run}-{place:0{END_TO_END_DIGITS}d}"


def line_name(leaf_index: int, place: int) -> str:
    """The id of a line of a bank's file: the leaf of the file, and the line's place among its bookings, from 0."""
    return f"{leaf_index}-{place}"


def run_of(end_to_end: str) -> str:
    """The run that an end-to-end id would be of."""
    return end_to_end.rpartition("-")[0]


def pool_part(plan: Plan, pool: str, balances: Mapping[str, int], salt: str) -> PoolPart:
    """What a pool pays in a run: what was planned, as far as its collectives are still owed it.

    Args:
        plan: who is to be paid what.
        pool: the pool.
        balances: what it owes each collective now.
        salt: 32 random bytes in hexadecimal.
    """
    return PoolPart(salt=salt, parts=list(_paid_parts(plan, pool, balances)))


def _paid_parts(plan: Plan, pool: str, balances: Mapping[str, int]) -> Iterable[PaidPart]:
    for payment in plan.payments:
        for part in payment.pools:
            if part.pool == pool:
                paid = max(0, min(part.amount_minor, balances.get(payment.collective, 0)))
                yield PaidPart(
                    end_to_end_id=payment.end_to_end_id,
                    collective=payment.collective,
                    amount_minor=paid,
                    short_minor=part.amount_minor - paid,
                )


def pool_bookings(bookings: Bookings, pool: str, salt: str) -> PoolBookings:
    """What a bank's file moves in a pool.

    Args:
        bookings: the lines of the file.
        pool: the pool.
        salt: 32 random bytes in hexadecimal.
    """
    return PoolBookings(salt=salt, bookings=list(_pool_bookings(bookings, pool)))


def _pool_bookings(bookings: Bookings, pool: str) -> Iterable[PoolBooking]:
    for booking in bookings.bookings:
        moved = booking.of_pool(pool)
        kept = sum(part.amount_minor for part in booking.pools) - booking.amount_minor
        # The first of the pools that paid bears what the bank kept.
        bears = booking.kind == BookingKind.RETURNED and pool == booking.pools[0].pool
        cost = kept if bears else 0
        if moved or cost:
            yield PoolBooking(
                kind=booking.kind,
                subject=booking.subject,
                end_to_end_id=booking.end_to_end_id,
                amount_minor=moved,
                cost_minor=cost,
                day=booking.day,
                reason=booking.reason,
            )
