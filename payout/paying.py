"""Paying: planning pay runs, their files, taking in what banks send, and comparing the books with the bank.

What an operator decides is a leaf of the registry's log. Each pool then does its part in a transaction of its own.
After a crash whoever comes next goes on: `run_once` does whatever is open, and nothing twice.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from ledger.acts.entries import BankFileContent, PayRunContent
from ledger.errors import IdentityReusedError, InvalidInputError, LedgerError, StateError
from ledger.log.leaves import Leaf
from ledger.payments import (
    Booking,
    BookingKind,
    Bookings,
    LeftOut,
    NotPaid,
    Plan,
    PlannedPayment,
    PoolAmount,
    end_to_end_id,
    render,
)
from ledger.registry import CollectiveStatus
from ledger.store import desk, log, registry
from ledger.store.acts import REGISTRY
from ledger.store.database import Database, read_time
from ledger.store.log import PoolRef
from ledger.store.vault import Vault
from payout.payments.bank_messages import BankMessage, Notification, Statement, StatusReport
from payout.payments.credit_transfer import Payment, PaymentFile
from payout.payments.details import AccountDetails
from payout.payments.matching import Books, Sent, State, bank_movement, match_statement, match_status
from payout.store import bank_accounts, bank_files, pay_runs, payees
from payout.store.bank_accounts import BankAccount
from payout.store.pay_runs import PayRun
from payout.store.payees import Payee

logger: Final = logging.getLogger("moiety.paying")

SALT_BYTES: Final = 32

MAX_TEXT: Final = 140
"""Of what a payee reads beside its payment."""

MAX_DAYS_AHEAD: Final = 90
"""How far ahead a bank can be asked to pay."""


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
class KnownPayment:
    """A payment of a collective, as it sees it."""

    sent: Sent
    run: Leaf[PayRunContent]
    events: tuple[pay_runs.Event, ...]


class Paying:
    """What operators do with pay runs and banks' files, and what pools do because of it."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database, self._vault = database, vault

    # Pay runs.

    def plan(self, connection: sa.Connection, name: str, bank_account: str, day: date) -> PayRunContent:
        """Plan a pay run, and keep its plan; the content is then to be done or proposed.

        Args:
            connection: a transaction's.
            name: the run's id.
            bank_account: the account that pays.
            day: when the bank is to pay.

        Raises:
            NotFoundError: there is no such account.
            InvalidInputError: the day is past, or too far ahead.
            StateError: nobody would be paid, or no key for payees is set.
        """
        account, now = bank_accounts.get_bank_account(connection, bank_account), read_time(connection)
        if not now.date() <= day <= now.date() + timedelta(days=MAX_DAYS_AHEAD):
            raise InvalidInputError.of("day", f"must be today or within {MAX_DAYS_AHEAD} days, got {day}")
        pools = [registry.pool_ref(connection, pool) for pool in account.content.pools]
        plan = self._planned(connection, name, account, pay_runs.owed_in(connection, pools), now)
        if not plan.payments:
            reasons = sorted({each.why for each in plan.not_paid})
            because = f" ({', '.join(reasons)})" if reasons else ""
            detail = f"owes nobody anything that can be paid now{because}"
            raise StateError(f"bankAccounts/{bank_account}", "NOTHING_TO_PAY", detail)
        body = render(plan)
        log.put_body(connection, REGISTRY, body)
        return PayRunContent(
            pay_run=name,
            bank_account=bank_account,
            currency=account.content.currency,
            day=day.isoformat(),
            payments=len(plan.payments),
            amount_minor=sum(payment.amount_minor for payment in plan.payments),
            plan_sha256=sha256(body).hexdigest(),
        )

    def _planned(
        self, connection: sa.Connection, name: str, account: BankAccount, owed: dict[str, dict[str, int]], now: datetime
    ) -> Plan:
        latest = {payee.collective: payee for payee in payees.list_payees(connection) if payee.collective in owed}
        details = payees.read_details(connection, self._vault, [payee.details_hash for payee in latest.values()])
        collectives = registry.list_collectives(connection)
        suspended = {each.name for each in collectives if each.status is CollectiveStatus.SUSPENDED}
        payments: list[PlannedPayment] = []
        not_paid: list[NotPaid] = []
        for collective, by_pool in sorted(owed.items()):
            payee, amount = latest.get(collective), sum(by_pool.values())
            known = details.get(payee.details_hash) if payee else None
            why = LeftOut.SUSPENDED if collective in suspended else _why_not(payee, known, amount, account, now)
            if why is not None or payee is None:
                not_paid.append(NotPaid(collective=collective, amount_minor=amount, why=why or LeftOut.NO_PAYEE))
                continue
            parts = [PoolAmount(pool=pool, amount_minor=part) for pool, part in sorted(by_pool.items())]
            identity = end_to_end_id(name, len(payments) + 1)
            payments.append(
                PlannedPayment(end_to_end_id=identity, collective=collective, payee=payee.leaf_index, pools=parts)
            )
        return Plan(salt=secrets.token_hex(SALT_BYTES), payments=payments, not_paid=not_paid)

    def file(self, connection: sa.Connection, name: str) -> PaymentFile:
        """Returns the file of a run; the same at any time.

        Raises:
            NotFoundError: there is no such run.
            StateError: a pool has not answered, nothing is left to pay, or an account's details were erased.
        """
        run = pay_runs.get_pay_run(connection, name)
        if run.waiting:
            detail = f"waits for {', '.join(run.waiting)}, which answer within seconds"
            raise StateError(f"payRuns/{name}", "NOT_READY", detail)
        account = bank_accounts.get_bank_account(connection, run.content.bank_account)
        amounts = {identity: sum(part.amount_minor for part in parts) for identity, parts in run.paid_by().items()}
        if not amounts:
            raise StateError(f"payRuns/{name}", "NOTHING_LEFT", "has nothing to pay: all of it was paid otherwise")
        hashes = {payee.leaf_index: payee.details_hash for payee in payees.at_leaves(connection, _payees_of(run.plan))}
        details = payees.read_details(connection, self._vault, [account.details_hash, *hashes.values()])
        payments = [
            Payment(
                planned.end_to_end_id,
                amounts[planned.end_to_end_id],
                _present(details, hashes[planned.payee], f"collectives/{planned.collective}"),
                f"{account.content.display_name} {planned.end_to_end_id}"[:MAX_TEXT],
            )
            for planned in run.plan.payments
            if planned.end_to_end_id in amounts
        ]
        debtor = _present(details, account.details_hash, f"bankAccounts/{account.name}")
        day = date.fromisoformat(run.content.day)
        return PaymentFile(name, run.leaf.time, day, debtor, payments)

    def payments_of(self, connection: sa.Connection, collective: str) -> list[KnownPayment]:
        """Returns a collective's payments, oldest first, with what banks said of each."""
        found = []
        runs: dict[int, PayRun] = {}
        leaves = {leaf.index: leaf for leaf in pay_runs.list_leaves(connection)}
        for identity, leaf_index in pay_runs.payments_of(connection, collective):
            if leaf_index not in runs:
                runs[leaf_index] = pay_runs.pay_run_of(connection, leaves[leaf_index])
            run = runs[leaf_index]
            if identity in (parts := run.paid_by()):
                day = date.fromisoformat(run.content.day)
                sent = Sent(identity, run.content.pay_run, collective, day, parts[identity], State.PAYING)
                events = pay_runs.events_of(connection, [identity])
                for event in events:
                    sent = pay_runs.moved_on(sent, event)
                found.append(KnownPayment(sent, run.leaf, tuple(events)))
        return found

    # Banks' files.

    def read(
        self, connection: sa.Connection, message: BankMessage, content: bytes, bank_account: str, name: str
    ) -> BankFileContent | Leaf[BankFileContent] | desk.KeptFile:
        """Returns the act that takes a bank's file in, the leaf by which it was, or that it is only kept.

        Args:
            connection: a transaction's.
            message: what the file says.
            content: the file.
            bank_account: the account that it is to be of.
            name: what its owner calls it.

        Raises:
            NotFoundError: there is no such account.
            InvalidInputError: it is a statement of another account.
            IdentityReusedError: another file with this message was taken in.
            StateError: no key for payees is set, or a statement does not follow the last one.
        """
        account = bank_accounts.get_bank_account(connection, bank_account)
        known = bank_files.find_message(connection, bank_account, message.kind, message.message_id)
        if known is not None:
            self.require_same(connection, known.content, content)
            return known
        problem = self._problem(connection, message, account)
        if problem and (kept := desk.find_problem(connection, message.kind, message.message_id)):
            return kept
        salt = secrets.token_bytes(SALT_BYTES)
        digest = sha256(salt + content).digest()
        row = desk.KeptFile(digest, name, message.kind, message.message_id, problem, read_time(connection))
        desk.keep_file(connection, row, self._vault.seal(salt + content))
        return row if problem else self._meaning(connection, message, account, digest.hex())

    def require_same(
        self, connection: sa.Connection, known: BankFileContent, content: bytes, *, waits_as: str = ""
    ) -> None:
        """Check that a file is the one that a message is known by.

        Args:
            connection: a transaction's.
            known: what is known of the message.
            content: the file.
            waits_as: the proposal by which the known one waits, where it waits.

        Raises:
            IdentityReusedError: it is another file.
        """
        digest = bytes.fromhex(known.file_hash)
        sealed = desk.sealed_file(connection, digest)
        if sealed is None:
            return  # it was erased: its message is known, and nothing more can be said
        salt = self._vault.open(sealed, f"the file of message {known.message_id}")[:SALT_BYTES]
        if sha256(salt + content).digest() != digest:
            where = f", which waits as {waits_as}: reject that one if the bank sent this one" if waits_as else ""
            raise IdentityReusedError.of("content", f"has the id of another message: {known.message_id}{where}")

    def _problem(self, connection: sa.Connection, message: BankMessage, account: BankAccount) -> str:
        """Why a file moves nothing; empty if it may."""
        if isinstance(message, StatusReport):
            run = pay_runs.find_leaf(connection, message.original)
            if run is None or run.content.bank_account != account.name:
                return f"is of the payment file {message.original!r}, which this account never sent"
            return ""
        details = payees.read_details(connection, self._vault, [account.details_hash])
        ours = _present(details, account.details_hash, f"bankAccounts/{account.name}")
        if (message.account, message.currency) != (ours.number, account.content.currency):
            raise InvalidInputError.of("content", f"is of another account than bankAccounts/{account.name}")
        return "tells of movements, which count once a statement has them" if isinstance(message, Notification) else ""

    def _meaning(
        self, connection: sa.Connection, message: BankMessage, account: BankAccount, file_hash: str
    ) -> BankFileContent:
        books = self._books(connection, account)
        opening = closing = None
        if isinstance(message, Statement):
            opening, closing = message.opening_minor, message.closing_minor
            bookings = match_statement(message, books)
            if bank_movement(bookings) != closing - opening:
                raise InvalidInputError.of("content", "has bookings that do not sum to the difference of its balances")
        else:
            assert isinstance(message, StatusReport)  # noqa: S101  # notifications have a problem
            bookings = match_status(message, books)
        body = render(Bookings(salt=secrets.token_hex(SALT_BYTES), bookings=bookings))
        log.put_body(connection, REGISTRY, body)
        content = BankFileContent(
            bank_account=account.name,
            message=message.kind,
            message_id=message.message_id,
            file_hash=file_hash,
            day=message.day.isoformat(),
            opening_minor=opening,
            closing_minor=closing,
            bookings_sha256=sha256(body).hexdigest(),
        )
        bank_files.require_following(connection, content)
        return content

    def _books(self, connection: sa.Connection, account: BankAccount) -> Books:
        sent: dict[str, Sent] = {}
        for leaf in pay_runs.list_leaves(connection, bank_account=account.name):
            run = pay_runs.pay_run_of(connection, leaf)
            if not run.waiting:  # the bank cannot know of it before its file is there
                sent |= pay_runs.sent_of(connection, run)
        return Books(account.content.pools[0], sent)

    def positions(self, connection: sa.Connection, bank_account: str) -> list[Position]:
        """Returns an account at the end of each statement that was taken in, oldest first.

        Raises:
            NotFoundError: there is no such account.
        """
        account = bank_accounts.get_bank_account(connection, bank_account)
        pools = [registry.pool_ref(connection, name) for name in account.content.pools]
        found = []
        for statement in bank_files.list_files(connection, bank_account=bank_account, statements=True):
            places = [(pool, bank_files.booked_at(connection, pool, statement.index)) for pool in pools]
            books = None
            if all(place is not None for _, place in places):
                books = sum(
                    bank_files.at_the_bank(connection, pool, place + 1) for pool, place in places if place is not None
                )
            bookings = bank_files.bookings_of(connection, statement.content).bookings
            alone = tuple(each for each in bookings if each.kind in (BookingKind.UNKNOWN, BookingKind.UNMATCHED))
            found.append(Position(statement, books, alone))
        return found

    # What pools do.

    def run_once(self) -> int:
        """Have every pool do its part of what was decided and is open; returns how many parts it did.

        A pool that fails affects no other, and is asked again the next time.
        """
        try:
            with self._database.transaction() as connection:
                accounts = bank_accounts.list_bank_accounts(connection)
            return sum(self.settle(account.name) for account in accounts)
        except LedgerError as error:
            logger.warning("cannot read what is to be paid: %s", error)
            return 0

    def settle(self, bank_account: str) -> int:
        """Have the pools of an account do what is open: pay their parts of runs, and book their parts of statements.

        In the order of the registry's log, since a statement may be of a run that a pool has not answered yet.
        """
        with self._database.transaction() as connection:
            account = bank_accounts.get_bank_account(connection, bank_account)
            pools = [registry.pool_ref(connection, name) for name in account.content.pools]
            runs = pay_runs.list_leaves(connection, bank_account=bank_account)
            files = bank_files.list_files(connection, bank_account=bank_account, statements=True)
        done = 0
        decided: list[Leaf[PayRunContent] | Leaf[BankFileContent]] = [*runs, *files]
        for leaf in sorted(decided, key=lambda each: each.index):
            for pool in pools:
                try:
                    done += self._do(pool, leaf)
                except LedgerError as error:
                    logger.warning("pool %s cannot do its part of leaf %d: %s", pool.name, leaf.index, error)
        return done

    def _do(self, pool: PoolRef, leaf: Leaf[PayRunContent] | Leaf[BankFileContent]) -> bool:
        with self._database.transaction() as connection:
            salt = secrets.token_hex(SALT_BYTES)
            if isinstance(leaf.content, PayRunContent):
                run_leaf = Leaf(leaf.pool, leaf.index, leaf.time, leaf.content)
                return pay_runs.answer(connection, pool, pay_runs.pay_run_of(connection, run_leaf), salt)
            file_leaf = Leaf(leaf.pool, leaf.index, leaf.time, leaf.content)
            bookings = bank_files.bookings_of(connection, leaf.content)
            return bank_files.book(connection, pool, file_leaf, bookings, salt)


def _why_not(
    payee: Payee | None, details: AccountDetails | None, amount_minor: int, account: BankAccount, now: datetime
) -> LeftOut | None:
    if payee is None:
        return LeftOut.NO_PAYEE
    if details is None:
        return LeftOut.ERASED
    if now < payee.payable_from:
        return LeftOut.COOLING
    if details.currency != account.content.currency:
        return LeftOut.OTHER_CURRENCY
    return LeftOut.BELOW_SMALLEST if amount_minor < details.smallest_minor else None


def _payees_of(plan: Plan) -> list[int]:
    return [payment.payee for payment in plan.payments]


def _present(details: dict[bytes, AccountDetails], digest: bytes, subject: str) -> AccountDetails:
    if digest not in details:
        raise StateError(subject, "DETAILS_ERASED", "has no account any more: its details were erased")
    return details[digest]
