"""The books beside the bank: positions at each statement, what was announced and never stated, and late details."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

import sqlalchemy as sa

from ledger.acts.entries import BankFileContent
from ledger.log.leaves import Leaf
from ledger.money import MAX_AMOUNT_MINOR, MAX_BALANCE_MINOR, require_sum
from ledger.payments import Booking, BookingKind
from ledger.store.money import income
from ledger.store.pools.pools import pool_ref
from payout.banking import BESIDE, MAX_NOTIFICATIONS
from payout.payments.bank_messages import Message
from payout.payments.lines import BookedLine
from payout.payments.matching import Debt
from payout.payments.notifications import told_beside, unstated
from payout.store import bank_accounts, bank_files
from payout.store.bookings import bookings_of

_MAX_BOOKS_MINOR: Final = MAX_BALANCE_MINOR - MAX_AMOUNT_MINOR
"""The difference from what the bank has is a figure too."""


@dataclass(frozen=True, slots=True)
class Position:
    """An account at the end of a statement: what the bank says, what the books say, and what has no partner.

    `books_minor` is None as long as a pool has not booked the statement.
    """

    statement: Leaf[BankFileContent]
    books_minor: int | None
    without_partner: tuple[Booking, ...]

    @property
    def difference_minor(self) -> int | None:
        """What the bank has more than the books."""
        closing = self.statement.content.closing_minor
        return None if self.books_minor is None or closing is None else closing - self.books_minor


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """An account beside the bank.

    Attributes:
        positions: at the end of each statement, oldest first.
        announced: what notifications told of and no statement has, oldest first.
    """

    positions: tuple[Position, ...]
    announced: tuple[Booking, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """A part of a line that a notification tells of after its statement; `debt` is the report that it names, if any."""

    booking: Booking
    debt: Debt | None


def reconcile(connection: sa.Connection, bank_account: str) -> Reconciliation:
    """Returns an account beside the bank.

    Raises:
        NotFoundError: there is no such account.
        StateError: its pools have more than a figure can say.
    """
    account = bank_accounts.get_bank_account(connection, bank_account)
    pools = [pool_ref(connection, name) for name in account.content.pools]
    positions, stated = list[Position](), list[Sequence[Booking]]()
    for statement in bank_files.list_files(connection, bank_account=bank_account, statements=True):
        places = [(pool, bank_files.booked_at(connection, pool, statement.index)) for pool in pools]
        books = None
        if all(place is not None for _, place in places):
            books = sum(
                bank_files.at_the_bank(connection, pool, place + 1) for pool, place in places if place is not None
            )
            require_sum(abs(books), f"bankAccounts/{bank_account}", _MAX_BOOKS_MINOR)
        bookings = bookings_of(connection, statement.content).bookings
        alone = tuple(each for each in bookings if each.kind in (BookingKind.UNKNOWN, BookingKind.UNMATCHED))
        positions.append(Position(statement, books, alone))
        stated.append(bookings)
    told = [
        bookings_of(connection, each.content).bookings for each in reversed(_notifications(connection, bank_account))
    ]
    return Reconciliation(tuple(positions), tuple(unstated(stated, told)))


def told_of(
    connection: sa.Connection, bank_account: str, lines: Iterable[BookedLine]
) -> Mapping[str, tuple[Told, ...]]:
    """Returns what notifications tell of lines that their statement only sums up and that are nobody's yet, by line.

    Nothing of it is booked: an operator says what a line is of.
    """
    wanted = [line for line in lines if line.open_minor == line.amount_minor != 0]
    if not wanted:
        return {}
    files: dict[int, Sequence[Booking]] = {}
    leaves = {_place(line)[0] for line in wanted}
    for leaf in bank_files.list_files(connection, bank_account=bank_account, statements=True):
        if leaf.index in leaves:
            files[leaf.index] = bookings_of(connection, leaf.content).bookings
    days = sorted(date.fromisoformat(line.day) for line in wanted)
    notified = [
        bookings_of(connection, leaf.content).bookings
        for leaf in _notifications(connection, bank_account)
        if days[0] - BESIDE <= date.fromisoformat(leaf.content.day) <= days[-1] + BESIDE
    ]
    details = {index: told_beside(bookings, notified) for index, bookings in files.items()}
    found = {line.name: details[leaf].get(place, ()) for line in wanted for leaf, place in [_place(line)]}
    debts = _debts(connection, bank_account, {each.payment_reference for told in found.values() for each in told})
    return {name: tuple(Told(each, debts.get(each.payment_reference)) for each in told) for name, told in found.items()}


def _place(line: BookedLine) -> tuple[int, int]:
    leaf, _, place = line.name.partition("-")
    return int(leaf), int(place)


def _notifications(connection: sa.Connection, bank_account: str) -> list[Leaf[BankFileContent]]:
    return bank_files.list_files(
        connection, bank_account=bank_account, message=Message.NOTIFICATION, newest=True, limit=MAX_NOTIFICATIONS
    )


def _debts(connection: sa.Connection, bank_account: str, references: Iterable[str]) -> dict[str, Debt]:
    named = sorted(filter(None, references))
    if not named:
        return {}
    account = bank_accounts.get_bank_account(connection, bank_account)
    return {
        reference: Debt(pool.name, report.platform, report.left_minor)
        for pool in (pool_ref(connection, name) for name in account.content.pools)
        for reference, report in income.reports_of_references(connection, pool, named).items()
    }
