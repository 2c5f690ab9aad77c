"""Paying: planning pay runs, their files, taking in what banks send, and comparing the books with the bank.

What an operator decides is a leaf of the registry's log. Each pool then does its part in a transaction of its own.
After a crash whoever comes next goes on: `run_once` does whatever is open, and nothing twice.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa

from ledger.acts.entries import BankFileContent, BankMatchContent, PayRunContent
from ledger.errors import IdentityReusedError, InvalidInputError, LedgerCorruptError, LedgerError, StateError
from ledger.log.leaves import Leaf
from ledger.payments import (
    Booking,
    BookingKind,
    LeftOut,
    NotPaid,
    Plan,
    PlannedPayment,
    PoolAmount,
    end_to_end_id,
    render,
)
from ledger.registry import CollectiveStatus
from ledger.store import desk, income, log, registry
from ledger.store.acts import REGISTRY
from ledger.store.database import Database, read_time
from ledger.store.log import PoolRef
from ledger.store.vault import Vault
from payout.payments.bank_messages import (
    BankMessage,
    Message,
    Notification,
    Statement,
    StatusReport,
    read_message,
)
from payout.payments.credit_transfer import Payment, PaymentFile
from payout.payments.details import AccountDetails
from payout.payments.lines import Part, bookings_back, charged, matched
from payout.payments.matching import (
    AFTER,
    Books,
    Debt,
    Sent,
    State,
    bank_movement,
    match_statement,
    match_status,
    references_of,
)
from payout.payments.notifications import notified, summed_up, with_details
from payout.store import bank_accounts, bank_files, bank_lines, pay_runs, payees, rounds, unpaid
from payout.store.bank_accounts import BankAccount
from payout.store.bookings import SALT_BYTES, bookings_of, put_bookings
from payout.store.pay_runs import Event, PayRun
from payout.store.payees import Payee
from payout.store.unpaid import Owed

logger: Final = logging.getLogger("moiety.paying")

MAX_TEXT: Final = 140
"""Of what a payee reads beside its payment."""

MAX_DAYS_AHEAD: Final = 90
"""How far ahead a bank can be asked to pay."""

BESIDE: Final = timedelta(days=10)
"""How long before or after an entry a bank makes the notification that has its details."""

MAX_NOTIFICATIONS: Final = 1_000
"""The newest that are looked through for details: three years of one each working day."""


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
class Unpaid:
    """Something that a pool owes and has not paid: why, and what the bank said where a payment came back."""

    owed: Owed
    why: str
    bank_reason: str = ""


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

    def unpaid(self, connection: sa.Connection, pool: PoolRef, *, after: tuple[str, int], limit: int) -> list[Unpaid]:
        """Returns what a pool owes and has not paid, by account and round, after an account and a leaf."""
        found = unpaid.list_owed(connection, pool, after=after, limit=limit)
        accounts = bank_accounts.list_bank_accounts(connection)
        account = next((each for each in accounts if pool.name in each.content.pools), None)
        if account is None:
            return [Unpaid(each, "HELD" if each.is_held else "NO_BANK_ACCOUNT") for each in found]
        pools = [registry.pool_ref(connection, name) for name in account.content.pools]
        owed = pay_runs.owed_in(connection, pools)
        plan = self._planned(connection, pool.name, account, owed, read_time(connection))
        why = {each.collective: each.why for each in plan.not_paid}
        said = pay_runs.last_said(connection, account.name, (each.collective for each in found))
        return [_unpaid(each, why.get(each.collective, ""), said.get(each.collective, ())) for each in found]

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
        if problem and (kept := desk.find_problem(connection, bank_account, message.kind, message.message_id)):
            self._require_same(connection, kept.file_hash, message.message_id, content)
            return kept
        salt = secrets.token_bytes(SALT_BYTES)
        digest, now = sha256(salt + content).digest(), read_time(connection)
        row = desk.KeptFile(digest, bank_account, name, message.kind, message.message_id, problem, now)
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
        where = f", which waits as {waits_as}: reject that one if the bank sent this one" if waits_as else ""
        self._require_same(connection, bytes.fromhex(known.file_hash), known.message_id, content, where)

    def _require_same(
        self, connection: sa.Connection, file_hash: bytes, message_id: str, content: bytes, where: str = ""
    ) -> None:
        known = self._kept_content(connection, file_hash, message_id)
        if known is not None and known != content:
            raise IdentityReusedError.of("content", f"has the id of another message: {message_id}{where}")

    def _kept_content(self, connection: sa.Connection, file_hash: bytes, message_id: str) -> bytes | None:
        """A file as the bank sent it; None if it was erased, so that its message is known and nothing more."""
        sealed = desk.sealed_file(connection, file_hash)
        if sealed is None:
            return None
        subject = f"the file of message {message_id}"
        salted = self._vault.open(sealed, subject)
        if sha256(salted).digest() != file_hash:
            raise LedgerCorruptError(subject, "is not the one that was taken in")
        return salted[SALT_BYTES:]

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
        return ""

    def _meaning(
        self, connection: sa.Connection, message: BankMessage, account: BankAccount, file_hash: str
    ) -> BankFileContent:
        opening = closing = None
        match message:
            case Statement():
                opening, closing = message.opening_minor, message.closing_minor
                bookings = self._stated(connection, account, message)
            case StatusReport():
                bookings = match_status(message, self._books(connection, account))
            case Notification():
                bookings = notified(message)
        content = BankFileContent(
            bank_account=account.name,
            message=message.kind,
            message_id=message.message_id,
            file_hash=file_hash,
            day=message.day.isoformat(),
            opening_minor=opening,
            closing_minor=closing,
            bookings_sha256=put_bookings(connection, bookings),
        )
        bank_files.require_following(connection, content)
        return content

    def _stated(self, connection: sa.Connection, account: BankAccount, statement: Statement) -> list[Booking]:
        books, detailed = self._books(connection, account), self._detailed(connection, account, statement)
        self._add_payers(connection, account, detailed, books)
        bookings = match_statement(detailed, books)
        if bank_movement(bookings) != statement.closing_minor - statement.opening_minor:
            raise InvalidInputError.of("content", "has bookings that do not sum to the difference of its balances")
        return bookings

    def _detailed(self, connection: sa.Connection, account: BankAccount, statement: Statement) -> Statement:
        """A statement with the details that notifications tell of the entries which it only sums up."""
        bare = summed_up(statement)
        if not bare:
            return statement
        days = sorted(day for _, day in bare)
        first, last = (date.fromisoformat(day) for day in (days[0], days[-1]))
        told = bank_files.list_files(
            connection, bank_account=account.name, message=Message.NOTIFICATION, newest=True, limit=MAX_NOTIFICATIONS
        )
        found = []
        for leaf in told:
            if not first - BESIDE <= date.fromisoformat(leaf.content.day) <= last + BESIDE:
                continue
            entries = {(each.reference, each.day) for each in bookings_of(connection, leaf.content).bookings}
            if entries.isdisjoint(bare):
                continue
            file_hash = bytes.fromhex(leaf.content.file_hash)
            content = self._kept_content(connection, file_hash, leaf.content.message_id)
            notification = read_message(content) if content else None
            if isinstance(notification, Notification):
                found.append(notification)
        return with_details(statement, found)

    def _books(self, connection: sa.Connection, account: BankAccount) -> Books:
        sent: dict[str, Sent] = {}
        for leaf in pay_runs.list_leaves(connection, bank_account=account.name):
            run = pay_runs.pay_run_of(connection, leaf)
            if not run.waiting:  # the bank cannot know of it before its file is there
                sent |= pay_runs.sent_of(connection, run)
        return Books(account.content.pools[0], sent)

    def _add_payers(self, connection: sa.Connection, account: BankAccount, statement: Statement, books: Books) -> None:
        """Look up the reports and the earlier lines that lines of a statement name."""
        references = sorted({each for line in statement.lines for each in references_of(line)})
        pools = [registry.pool_ref(connection, pool) for pool in account.content.pools]
        books.debts = {
            reference: Debt(pool.name, found.platform, found.left_minor)
            for pool in pools
            for reference, found in income.reports_of_references(connection, pool, references).items()
        }
        returned = [line for line in statement.lines if line.is_return and line.amount_minor < 0]
        named = {each for line in returned for each in (*references_of(line), line.bank_reference) if each}
        if named:
            earlier = bank_lines.list_lines(connection, account.name, references=sorted(named))
            books.lines = {line.name: line for line, _ in earlier}

    # What operators say of lines.

    def match(
        self, connection: sa.Connection, bank_account: str, name: str, parts: Sequence[Part]
    ) -> BankMatchContent | None:
        """Returns the act by which a credit is split over pools and platforms; None if it is split like this already.

        Args:
            connection: a transaction's.
            bank_account: the account.
            name: the line's id.
            parts: whose it is; a part without a platform is of an unknown payer. Their amounts sum to the line's.

        Raises:
            NotFoundError: there is no such account, line or platform.
            InvalidInputError: the parts are not of the account's pools, or do not sum to the line.
            StateError: the line is a debit or was taken back, or a round has reserved money that it was booked as.
        """
        account = bank_accounts.get_bank_account(connection, bank_account)
        line, _ = bank_lines.get_line(connection, bank_account, name)
        if line.amount_minor <= 0:
            raise StateError(_line_name(bank_account, name), "NO_CREDIT", "is no credit, or was taken back")
        if len({(part.pool, part.platform) for part in parts}) != len(parts):
            raise InvalidInputError.of("parts", "must name each pool and platform once")
        for part in parts:
            if part.pool not in account.content.pools:
                raise InvalidInputError.of("parts", f"name pools/{part.pool}, whose money the account does not hold")
            if part.platform:
                registry.platform_number(connection, part.platform)
        total = sum(part.amount_minor for part in parts)
        if total != line.amount_minor:
            raise InvalidInputError.of("parts", f"must sum to {line.amount_minor:,} minor units, got {total:,}")
        if tuple(parts) == line.parts:
            return None
        for pool in {part.pool for part in line.parts if part.platform}:
            self._require_no_round(connection, pool)
        return self._word(connection, bank_account, name, matched(line, parts))

    def settle_debit(
        self, connection: sa.Connection, bank_account: str, name: str, *, takes_back: str = "", charge_of: str = ""
    ) -> BankMatchContent | None:
        """Returns the act by which a debit without a partner takes back a credit, or is a charge of the bank's; None if
        it was said already.

        Args:
            connection: a transaction's.
            bank_account: the account.
            name: the line's id.
            takes_back: the id of the line whose money went back.
            charge_of: else the pool that bears the charge.

        Raises:
            NotFoundError: there is no such account or line.
            InvalidInputError: the account does not hold the pool's money.
            StateError: the line is no debit, or has a partner, or the other has less left than it took.
        """
        account = bank_accounts.get_bank_account(connection, bank_account)
        line, leaf_index = bank_lines.get_line(connection, bank_account, name)
        if not line.amount_minor and self._said(connection, bank_account, leaf_index, takes_back, charge_of):
            return None
        if line.amount_minor >= 0:
            raise StateError(_line_name(bank_account, name), "NO_DEBIT", "is no debit, or has a partner already")
        if not takes_back:
            if charge_of not in account.content.pools:
                raise InvalidInputError.of("charge_of", f"is pools/{charge_of}, whose money the account does not hold")
            return self._word(connection, bank_account, name, charged(line, charge_of))
        other, _ = bank_lines.get_line(connection, bank_account, takes_back)
        booked = sum(part.amount_minor for part in other.parts)
        if booked < -line.amount_minor:
            detail = f"has {booked:,} minor units left, fewer than the {-line.amount_minor:,} that went back"
            raise StateError(_line_name(bank_account, takes_back), "TOO_LITTLE", detail)
        about = {"day": line.day, "reference": line.reference, "reason": "an operator says so"}
        back = bookings_back(other, -line.amount_minor, BookingKind.TAKEN_BACK, **about)
        return self._word(connection, bank_account, name, back)

    def _said(
        self, connection: sa.Connection, bank_account: str, leaf_index: int, takes_back: str, charge_of: str
    ) -> bool:
        for match in bank_lines.list_matches(connection, bank_account, after=leaf_index - 1)[:1]:
            made = bookings_of(connection, match.content).bookings
            if takes_back:
                return all(each.line == takes_back for each in made)
            return all(each.kind == BookingKind.CHARGE and each.of_pool(charge_of) for each in made)
        return False

    def _word(
        self, connection: sa.Connection, bank_account: str, name: str, bookings: list[Booking]
    ) -> BankMatchContent:
        return BankMatchContent(
            bank_account=bank_account, line=name, bookings_sha256=put_bookings(connection, bookings)
        )

    def _require_no_round(self, connection: sa.Connection, pool: str) -> None:
        """Money that was booked may be in the pot of a round that is not posted yet."""
        open_round = rounds.open_round(connection, registry.pool_ref(connection, pool))
        if open_round is not None:
            detail = f"round {open_round.content.number} may have reserved this money; wait until it is decided"
            raise StateError(f"pools/{pool}", "MONEY_RESERVED", detail)

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
            bookings = bookings_of(connection, statement.content).bookings
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
            done = {pool: bank_files.last_booked(connection, pool) for pool in pools}
            first = min(done.values(), default=-1)
            runs = pay_runs.list_leaves(connection, bank_account=bank_account, after=first)
            files = bank_files.list_files(connection, bank_account=bank_account, statements=True, after=first)
            matches = bank_lines.list_matches(connection, bank_account, after=first)
        decided = sorted([*runs, *files, *matches], key=lambda each: each.index)
        return sum(self._settle_pool(pool, [leaf for leaf in decided if leaf.index > done[pool]]) for pool in pools)

    def _settle_pool(self, pool: PoolRef, decided: Sequence[Leaf[Any]]) -> int:
        """Have a pool do its parts in their order, up to the first that it cannot do.

        So what it has booked last says how far it is.
        """
        done = 0
        for leaf in decided:
            try:
                done += self._do(pool, leaf)
            except LedgerError as error:
                logger.warning("pool %s cannot do its part of leaf %d: %s", pool.name, leaf.index, error)
                break
        return done

    def _do(self, pool: PoolRef, leaf: Leaf[Any]) -> bool:
        with self._database.transaction() as connection:
            salt = secrets.token_hex(SALT_BYTES)
            if isinstance(leaf.content, PayRunContent):
                return pay_runs.answer(connection, pool, pay_runs.pay_run_of(connection, leaf), salt)
            bookings = bookings_of(connection, leaf.content)
            return bank_files.book(connection, pool, leaf.index, bookings, salt)


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


def _line_name(bank_account: str, line: str) -> str:
    return f"bankAccounts/{bank_account}/lines/{line}"


def _payees_of(plan: Plan) -> list[int]:
    return [payment.payee for payment in plan.payments]


def _present(details: dict[bytes, AccountDetails], digest: bytes, subject: str) -> AccountDetails:
    if digest not in details:
        raise StateError(subject, "DETAILS_ERASED", "has no account any more: its details were erased")
    return details[digest]


def _unpaid(owed: Owed, left_out: str, said: Sequence[Event]) -> Unpaid:
    """What a bank said of the last payment counts for what is owed, not for what is held."""
    if owed.is_held:
        return Unpaid(owed, "HELD")
    back = bool(said) and AFTER[BookingKind(said[-1].kind)] in (State.RETURNED, State.UNPAID)
    reasons = [event.reason for event in said if event.reason] if back else []
    return Unpaid(owed, left_out or ("RETURNED" if back else "PAYABLE"), reasons[-1] if reasons else "")
