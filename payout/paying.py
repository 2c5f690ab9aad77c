"""Paying: planning pay runs, their files, and what pools do because of them and of what banks send.

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

from ledger.acts.entries import PayRunContent
from ledger.errors import InvalidInputError, LedgerError, Sentence, StateError
from ledger.log.leaves import Leaf
from ledger.money import MAX_AMOUNT_MINOR, require_sum
from ledger.payments import (
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
from ledger.store.desk.vault import Vault
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import read_time
from ledger.store.registry.collectives import list_collectives
from payout.payments.credit_transfer import Payment, PaymentFile, largest_minor
from payout.payments.details import AccountDetails
from payout.payments.matching import (
    AFTER,
    Sent,
    State,
)
from payout.store import bank_accounts, bank_files, bank_lines, pay_runs, payees, unpaid
from payout.store.bank_accounts import BankAccount
from payout.store.bookings import SALT_BYTES, bookings_of
from payout.store.pay_runs import Event, PayRun
from payout.store.payees import Payee
from payout.store.unpaid import Owed

logger: Final = logging.getLogger("moiety.paying")

MAX_TEXT: Final = 140
"""Of what a payee reads beside its payment."""

MAX_DAYS_AHEAD: Final = 90
"""How far ahead a bank can be asked to pay."""


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
    """What operators do with pay runs, and what pools do because of that and of banks' files."""

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
            StateError: nobody would be paid, or more than a bank's statement may say; or no key for payees is set, or
                the account's details were erased.
        """
        account, now = bank_accounts.get_bank_account(connection, bank_account), read_time(connection)
        if not now.date() <= day <= now.date() + timedelta(days=MAX_DAYS_AHEAD):
            raise InvalidInputError.of(
                "day", "must be today or within %(most)s days, got %(got)s", most=MAX_DAYS_AHEAD, got=day
            )
        ours = payees.read_details(connection, self._vault, [account.details_hash])
        payees.require_details(ours, account.details_hash, f"bankAccounts/{bank_account}")
        pools = [pool_ref(connection, pool) for pool in account.content.pools]
        plan = self._planned(connection, name, account, pay_runs.owed_in(connection, pools), now)
        if not plan.payments:
            reasons = sorted({each.why for each in plan.not_paid})
            detail = Sentence("owes nobody anything that can be paid now")
            if reasons:
                detail = Sentence("owes nobody anything that can be paid now (%(whys)s)", whys=", ".join(reasons))
            raise StateError(f"bankAccounts/{bank_account}", "NOTHING_TO_PAY", detail)
        # A bank may book a run as one line, and no statement with a larger one could be taken in.
        paid = sum(payment.amount_minor for payment in plan.payments)
        amount = require_sum(paid, f"bankAccounts/{bank_account}", MAX_AMOUNT_MINOR)
        body = render(plan)
        log.put_body(connection, REGISTRY, body)
        return PayRunContent(
            pay_run=name,
            bank_account=bank_account,
            currency=account.content.currency,
            day=day.isoformat(),
            payments=len(plan.payments),
            amount_minor=amount,
            plan_sha256=sha256(body).hexdigest(),
        )

    def _planned(
        self, connection: sa.Connection, name: str, account: BankAccount, owed: dict[str, dict[str, int]], now: datetime
    ) -> Plan:
        latest = {payee.collective: payee for payee in payees.list_payees(connection) if payee.collective in owed}
        details = payees.read_details(connection, self._vault, [payee.details_hash for payee in latest.values()])
        collectives = list_collectives(connection)
        suspended = {each.name for each in collectives if each.status is CollectiveStatus.SUSPENDED}
        payments: list[PlannedPayment] = []
        not_paid: list[NotPaid] = []
        for collective, by_pool in sorted(owed.items()):
            payee, amount = latest.get(collective), require_sum(sum(by_pool.values()), f"collectives/{collective}")
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
        """Returns the file of a run, from the account as it was when the run was decided; the same at any time.

        Raises:
            NotFoundError: there is no such run.
            StateError: a pool has not answered, nothing is left to pay, or an account's details were erased.
        """
        run = pay_runs.get_pay_run(connection, name)
        if run.waiting:
            detail = Sentence("waits for %(waiting)s, which answer within seconds", waiting=", ".join(run.waiting))
            raise StateError(f"payRuns/{name}", "NOT_READY", detail)
        account = bank_accounts.get_bank_account(connection, run.content.bank_account, before=run.leaf.index)
        amounts = {identity: sum(part.amount_minor for part in parts) for identity, parts in run.paid_by().items()}
        if not amounts:
            raise StateError(f"payRuns/{name}", "NOTHING_LEFT", "has nothing to pay: all of it was paid otherwise")
        hashes = {payee.leaf_index: payee.details_hash for payee in payees.at_leaves(connection, _payees_of(run.plan))}
        details = payees.read_details(connection, self._vault, [account.details_hash, *hashes.values()])
        payments = [
            Payment(
                planned.end_to_end_id,
                amounts[planned.end_to_end_id],
                payees.require_details(details, hashes[planned.payee], f"collectives/{planned.collective}"),
                f"{account.content.display_name} {planned.end_to_end_id}"[:MAX_TEXT],
            )
            for planned in run.plan.payments
            if planned.end_to_end_id in amounts
        ]
        debtor = payees.require_details(details, account.details_hash, f"bankAccounts/{account.name}")
        day = date.fromisoformat(run.content.day)
        return PaymentFile(name, run.leaf.time, day, debtor, payments)

    def payments_of(self, connection: sa.Connection, collective: str) -> list[KnownPayment]:
        """Returns a collective's payments, oldest first, with what banks said of each."""
        found = []
        runs: dict[int, PayRun] = {}
        planned = pay_runs.payments_of(connection, collective)  # first: every payment has its run
        leaves = {leaf.index: leaf for leaf in pay_runs.list_leaves(connection)}
        for identity, leaf_index in planned:
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
        pools = [pool_ref(connection, name) for name in account.content.pools]
        owed = pay_runs.owed_in(connection, pools)
        plan = self._planned(connection, pool.name, account, owed, read_time(connection))
        why = {each.collective: each.why for each in plan.not_paid}
        said = pay_runs.last_said(connection, account.name, (each.collective for each in found))
        return [_unpaid(each, why.get(each.collective, ""), said.get(each.collective, ())) for each in found]

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

        In the order of the registry's log, since a statement may be of a run that a pool has not answered yet. All is
        looked for as of one moment: of what is decided meanwhile, the later must not be seen without the earlier.
        """
        with self._database.snapshot() as connection:
            account = bank_accounts.get_bank_account(connection, bank_account)
            pools = [pool_ref(connection, name) for name in account.content.pools]
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
    if amount_minor < details.smallest_minor:
        return LeftOut.BELOW_SMALLEST
    return LeftOut.ABOVE_LARGEST if amount_minor > largest_minor(details) else None


def _payees_of(plan: Plan) -> list[int]:
    return [payment.payee for payment in plan.payments]


def _unpaid(owed: Owed, left_out: str, said: Sequence[Event]) -> Unpaid:
    """What a bank said of the last payment counts for what is owed, not for what is held."""
    if owed.is_held:
        return Unpaid(owed, "HELD")
    back = bool(said) and AFTER[BookingKind(said[-1].kind)] in (State.RETURNED, State.UNPAID)
    reasons = [event.reason for event in said if event.reason] if back else []
    return Unpaid(owed, left_out or ("RETURNED" if back else "PAYABLE"), reasons[-1] if reasons else "")
