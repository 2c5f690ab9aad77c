"""What banks send: taking their files in, and what operators say of lines.

An operator's act takes a file in, and its leaf of the registry's log says what its lines mean. The pools book their
parts of it afterwards (`payout.paying`).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import date, timedelta
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from ledger.acts.entries import BankFileContent, BankMatchContent
from ledger.errors import IdentityReusedError, InvalidInputError, LedgerCorruptError, Sentence, StateError
from ledger.log.leaves import Leaf
from ledger.payments import Booking, BookingKind
from ledger.store.desk.bank_files import KeptFile, find_problem, keep_file, sealed_file
from ledger.store.desk.vault import Vault
from ledger.store.money import income
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.transactions import read_time
from ledger.store.registry.platforms import platform_number
from ledger.store.registry.proposals import waiting_acts
from payout.payments.bank_messages import (
    BankMessage,
    Message,
    Notification,
    Statement,
    StatusReport,
    read_message,
)
from payout.payments.lines import BookedLine, Part, bookings_back, charged, matched
from payout.payments.matching import (
    BEFORE,
    Books,
    Debt,
    Sent,
    bank_movement,
    match_statement,
    match_status,
    paid_by,
    references_of,
)
from payout.payments.notifications import notified, summed_up, with_details
from payout.store import bank_accounts, bank_files, bank_lines, pay_runs, payees, rounds
from payout.store.bank_accounts import BankAccount
from payout.store.bookings import SALT_BYTES, bookings_of, put_bookings

BESIDE: Final = timedelta(days=10)
"""How long before or after an entry a bank makes the notification that has its details."""

FIRST_DAY: Final = date(1970, 1, 1)
AHEAD: Final = timedelta(days=10)
"""Over holidays banks book on a working day that is still to come. After a statement of a day, none of an earlier one
follows: one of the year 9999 would be the last."""

MAX_NOTIFICATIONS: Final = 1_000
"""The newest that are looked through for details: three years of one each working day."""


class Banking:
    """What operators do with banks' files, and with lines of which nobody knows what they are."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def read(
        self, connection: sa.Connection, message: BankMessage, content: bytes, bank_account: str, name: str
    ) -> BankFileContent | Leaf[BankFileContent] | KeptFile:
        """Returns the act that takes a bank's file in, the leaf by which it was, or that it is only kept.

        Args:
            connection: a transaction's.
            message: what the file says.
            content: the file.
            bank_account: the account that it is to be of.
            name: what its owner calls it.

        Raises:
            NotFoundError: there is no such account.
            InvalidInputError: it is a statement of another account, or of a day that is still to come.
            IdentityReusedError: another file with this message was taken in.
            StateError: no key for payees is set, or a statement does not follow the last one.
        """
        account = bank_accounts.get_bank_account(connection, bank_account)
        known = bank_files.find_message(connection, bank_account, message.kind, message.message_id)
        if known is not None:
            self.require_same(connection, known.content, content)
            return known
        now = read_time(connection)
        _require_days(message, now.date() + AHEAD)
        problem = self._problem(connection, message, account)
        if problem and (kept := find_problem(connection, bank_account, message.kind, message.message_id)):
            self._require_same(connection, kept.file_hash, message.message_id, content)
            return kept
        salt = secrets.token_bytes(SALT_BYTES)
        digest = sha256(salt + content).digest()
        row = KeptFile(digest, bank_account, name, message.kind, message.message_id, problem, now)
        keep_file(connection, row, self._vault.seal(salt + content))
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
        self._require_same(connection, bytes.fromhex(known.file_hash), known.message_id, content, waits_as)

    def _require_same(
        self, connection: sa.Connection, file_hash: bytes, message_id: str, content: bytes, waits_as: str = ""
    ) -> None:
        known = self._kept_content(connection, file_hash, message_id)
        if known is not None and known != content:
            reason = Sentence("has the id of another message: %(message)s", message=message_id)
            if waits_as:
                reason = Sentence(
                    "has the id of another message, %(message)s, which waits as %(proposal)s: reject that one if the "
                    "bank sent this one",
                    message=message_id,
                    proposal=waits_as,
                )
            raise IdentityReusedError.of("content", reason)

    def _kept_content(self, connection: sa.Connection, file_hash: bytes, message_id: str) -> bytes | None:
        """A file as the bank sent it; None if it was erased, so that its message is known and nothing more."""
        sealed = sealed_file(connection, file_hash)
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
        ours = payees.require_details(details, account.details_hash, f"bankAccounts/{account.name}")
        if (message.account, message.currency) != (ours.number, account.content.currency):
            raise InvalidInputError.of(
                "content", "is of another account than %(account)s", account=f"bankAccounts/{account.name}"
            )
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
        pools = [pool_ref(connection, pool) for pool in account.content.pools]
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
                raise InvalidInputError.of(
                    "parts", "name %(pool)s, whose money the account does not hold", pool=f"pools/{part.pool}"
                )
            if part.platform:
                platform_number(connection, part.platform)
        total = sum(part.amount_minor for part in parts)
        if total != line.amount_minor:
            raise InvalidInputError.of(
                "parts", "must sum to %(sum_minor)s, got %(got_minor)s", sum_minor=line.amount_minor, got_minor=total
            )
        if tuple(parts) == line.parts:
            return None
        for pool in {part.pool for part in line.parts if part.platform}:
            self._require_no_round(connection, pool)
        return self._word(connection, bank_account, name, matched(line, parts))

    def settle_debit(
        self,
        connection: sa.Connection,
        bank_account: str,
        name: str,
        *,
        takes_back: str = "",
        charge_of: str = "",
        pays: Sequence[str] = (),
    ) -> BankMatchContent | None:
        """Returns the act by which a debit without a partner takes back a credit, is a charge of the bank's or paid
        payments; None if it was said already.

        Args:
            connection: a transaction's.
            bank_account: the account.
            name: the line's id.
            takes_back: the id of the line whose money went back.
            charge_of: else the pool that bears the charge.
            pays: else the end-to-end ids of the payments, which sum to it.

        Raises:
            NotFoundError: there is no such account or line.
            InvalidInputError: the account does not hold the pool's money, or the payments are none of its or do not sum
                to the debit.
            StateError: the line is no debit or has a partner, the other has too little left, or a payment is not open.
        """
        account = bank_accounts.get_bank_account(connection, bank_account)
        line, leaf_index = bank_lines.get_line(connection, bank_account, name)
        if not line.amount_minor and self._said(connection, bank_account, leaf_index, takes_back, charge_of, pays):
            return None
        if line.amount_minor >= 0:
            raise StateError(_line_name(bank_account, name), "NO_DEBIT", "is no debit, or has a partner already")
        if pays:
            return self._word(connection, bank_account, name, self._paid(connection, account, line, pays))
        if not takes_back:
            if charge_of not in account.content.pools:
                raise InvalidInputError.of(
                    "charge_of", "is %(pool)s, whose money the account does not hold", pool=f"pools/{charge_of}"
                )
            return self._word(connection, bank_account, name, charged(line, charge_of))
        other, _ = bank_lines.get_line(connection, bank_account, takes_back)
        booked = sum(part.amount_minor for part in other.parts)
        if booked < -line.amount_minor:
            detail = Sentence(
                "has %(left_minor)s left, less than the %(sum_minor)s that went back",
                left_minor=booked,
                sum_minor=-line.amount_minor,
            )
            raise StateError(_line_name(bank_account, takes_back), "TOO_LITTLE", detail)
        about = {"day": line.day, "reference": line.reference, "reason": "an operator says so"}
        back = bookings_back(other, -line.amount_minor, BookingKind.TAKEN_BACK, **about)
        return self._word(connection, bank_account, name, back)

    def _paid(
        self, connection: sa.Connection, account: BankAccount, line: BookedLine, pays: Sequence[str]
    ) -> list[Booking]:
        sent = self._books(connection, account).sent
        for identity in pays:
            if identity not in sent:
                raise InvalidInputError.of(
                    "pays", "names %(got)r, which is no payment of the account", got=identity[:40]
                )
            if sent[identity].state not in BEFORE[BookingKind.PAID]:
                raise StateError(
                    f"payment {identity}", "NOT_OPEN", "is %(state)s already", state=sent[identity].state.value
                )
        payments = [sent[identity] for identity in sorted(set(pays))]
        total = sum(each.amount_minor for each in payments)
        if total != -line.amount_minor:
            raise InvalidInputError.of(
                "pays", "must sum to %(sum_minor)s, got %(got_minor)s", sum_minor=-line.amount_minor, got_minor=total
            )
        return paid_by(line, payments)

    def _said(
        self,
        connection: sa.Connection,
        bank_account: str,
        leaf_index: int,
        takes_back: str,
        charge_of: str,
        pays: Sequence[str],
    ) -> bool:
        for match in bank_lines.list_matches(connection, bank_account, after=leaf_index - 1)[:1]:
            made = bookings_of(connection, match.content).bookings
            if pays:
                return [each.end_to_end_id for each in made] == sorted(set(pays))
            if takes_back:
                return all(each.line == takes_back for each in made)
            return all(each.kind == BookingKind.CHARGE and each.of_pool(charge_of) for each in made)
        return False

    def _word(
        self, connection: sa.Connection, bank_account: str, name: str, bookings: list[Booking]
    ) -> BankMatchContent:
        """Returns the act that says so: the same one where it is proposed already, whose bookings have their salt."""
        for found in waiting_acts(connection, BankMatchContent, bank_account=bank_account, line=name):
            proposed = BankMatchContent.model_validate(found.content.content)
            if bookings_of(connection, proposed).bookings == bookings:
                return proposed
        digest = put_bookings(connection, bookings)
        return BankMatchContent(bank_account=bank_account, line=name, bookings_sha256=digest)

    def _require_no_round(self, connection: sa.Connection, pool: str) -> None:
        """Money that was booked may be in the pot of a round that is not posted yet."""
        open_round = rounds.open_round(connection, pool_ref(connection, pool))
        if open_round is not None:
            detail = Sentence(
                "round %(round)s may have reserved this money; wait until it is decided",
                round=str(open_round.content.number),
            )
            raise StateError(f"pools/{pool}", "MONEY_RESERVED", detail)


def _line_name(bank_account: str, line: str) -> str:
    return f"bankAccounts/{bank_account}/lines/{line}"


def _require_days(message: BankMessage, last: date) -> None:
    days = [message.day]
    if not isinstance(message, StatusReport):
        days += [line.day for line in message.lines]
    if isinstance(message, Statement):
        days.append(message.from_day)
    for day in (min(days), max(days)):
        if not FIRST_DAY <= day <= last:
            raise InvalidInputError.of(
                "content",
                "is of %(got)s, which must be from %(first)s to %(last)s",
                got=day,
                first=FIRST_DAY,
                last=last,
            )
