"""Pay runs in Postgres: their leaves, the payments that they plan, and what each pool pays of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

from ledger.acts.entries import PayRunContent
from ledger.entries import PayingContent
from ledger.errors import AlreadyExistsError, LostRaceError, NotFoundError, StateError
from ledger.log.leaves import Leaf, decode
from ledger.payments import BookingKind, Bookings, Plan, PoolAmount, PoolPart, parse_part, parse_plan, pool_part, render
from ledger.registry import CollectiveStatus
from ledger.store import tables as lt
from ledger.store.logs import log, signing
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.money import journal, movements
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.conflicts import taken_keys
from ledger.store.postgres.transactions import driver_connection
from ledger.store.registry.acts import Effect, append_act, begin
from ledger.store.registry.collectives import list_collectives
from payout.payments.matching import AFTER, BEFORE, Sent, State
from payout.store import payees
from payout.store import tables as t
from payout.store.bank_accounts import get_bank_account


@dataclass(frozen=True, slots=True)
class PayRun:
    """A pay run, what it planned, and what the pools that have answered pay of it."""

    leaf: Leaf[PayRunContent]
    plan: Plan
    answers: dict[str, PoolPart]
    waiting: tuple[str, ...]
    """The pools that have not answered."""

    @property
    def content(self) -> PayRunContent:
        """What its leaf says."""
        return self.leaf.content

    def paid_by(self) -> dict[str, tuple[PoolAmount, ...]]:
        """What each pool pays of each payment, by end-to-end id; without payments that come to nothing."""
        found: dict[str, list[PoolAmount]] = {}
        for pool, answer in sorted(self.answers.items()):
            for part in answer.parts:
                if part.amount_minor:
                    amount = PoolAmount(pool=pool, amount_minor=part.amount_minor)
                    found.setdefault(part.end_to_end_id, []).append(amount)
        return {identity: tuple(parts) for identity, parts in found.items()}


@dataclass(frozen=True, slots=True)
class Event:
    """What a bank said of a payment."""

    end_to_end_id: str
    leaf_index: int
    kind: str
    day: str
    reference: str
    reason: str


def _record(connection: sa.Connection, pool: PoolRef, content: PayRunContent, now: datetime) -> Leaf[PayRunContent]:
    plan = _plan_of(connection, content)
    paying = sorted({part.pool for payment in plan.payments for part in payment.pools})
    signing.require_sound(connection, *(pool_ref(connection, name) for name in paying))
    leaf_index = append_act(connection, pool, content, now)
    row = {"name": content.pay_run, "bank_account": content.bank_account, "created_at": now}
    with taken_keys(lambda _: AlreadyExistsError(f"payRuns/{content.pay_run}")):
        connection.execute(sa.insert(t.pay_run).values(leaf_index=leaf_index, **row))
    planned = [
        {"end_to_end_id": payment.end_to_end_id, "leaf_index": leaf_index, "collective": payment.collective}
        for payment in plan.payments
    ]
    connection.execute(sa.insert(t.planned_payment), planned)
    return Leaf(pool.name, leaf_index, now, content)


def _rests_on(connection: sa.Connection, _: PoolRef, content: PayRunContent) -> dict[str, str]:
    """The version of the bank account, and whether all can still be paid as the plan says: of the collectives that it
    pays none has another account by now, and none was suspended; and no account's details were erased.
    """
    account = get_bank_account(connection, content.bank_account)
    known = payees.list_payees(connection)
    here = payees.kept_details(connection, [account.details_hash, *(payee.details_hash for payee in known)])
    latest = {payee.collective: payee.leaf_index for payee in known if payee.details_hash in here}
    active = {each.name for each in list_collectives(connection) if each.status is CollectiveStatus.ACTIVE}
    changed = [
        payment.collective
        for payment in _plan_of(connection, content).payments
        if latest.get(payment.collective) != payment.payee or payment.collective not in active
    ]
    return {
        f"bankAccounts/{content.bank_account}": str(account.leaf.index if account.details_hash in here else None),
        f"payRuns/{content.pay_run}/payees": f"{len(changed)} changed",
    }


RECORD_PAY_RUN: Final = Effect(PayRunContent, _record, rests_on=_rests_on)
"""Decides a pay run, whose plan is kept already. Returns its leaf.

Raises AlreadyExistsError if there is a run of that name, StateError if the log of a pool that pays is not known to
extend what was signed.
"""


def find_leaf(connection: sa.Connection, name: str) -> Leaf[PayRunContent] | None:
    """Returns the leaf of a run; None if there is no run of that name."""
    for found in list_leaves(connection, only=name):
        return found
    return None


def list_leaves(
    connection: sa.Connection,
    *,
    after: int = -1,
    limit: int | None = None,
    only: str | None = None,
    bank_account: str | None = None,
) -> list[Leaf[PayRunContent]]:
    """Returns the leaves of runs, in the order of the log, after the leaf `after`; of one run, of an account or all."""
    on = (lt.leaf.c.pool_id == REGISTRY.pool_id) & (lt.leaf.c.leaf_index == t.pay_run.c.leaf_index)
    query = sa.select(lt.leaf.c.entry).select_from(t.pay_run.join(lt.leaf, on)).where(t.pay_run.c.leaf_index > after)
    if only is not None:
        query = query.where(t.pay_run.c.name == only)
    if bank_account is not None:
        query = query.where(t.pay_run.c.bank_account == bank_account)
    rows = connection.execute(query.order_by(t.pay_run.c.leaf_index).limit(limit))
    return [decode(bytes(row.entry), {PayRunContent.type: PayRunContent}) for row in rows]


def get_pay_run(connection: sa.Connection, name: str) -> PayRun:
    """Returns a run, with what the pools have answered.

    Raises:
        NotFoundError: there is no run of that name.
    """
    leaf = find_leaf(connection, name)
    if leaf is None:
        raise NotFoundError(f"payRuns/{name}")
    return pay_run_of(connection, leaf)


def pay_run_of(connection: sa.Connection, leaf: Leaf[PayRunContent]) -> PayRun:
    """Returns the run of a leaf, with what the pools have answered."""
    plan = _plan_of(connection, leaf.content)
    pools = sorted({part.pool for payment in plan.payments for part in payment.pools})
    answers: dict[str, PoolPart] = {}
    for pool in pools:
        answer = _answer_of(connection, pool_ref(connection, pool), leaf.content.pay_run)
        if answer is not None:
            answers[pool] = answer
    return PayRun(leaf, plan, answers, tuple(pool for pool in pools if pool not in answers))


def _plan_of(connection: sa.Connection, content: PayRunContent) -> Plan:
    return parse_plan(log.checked_body(connection, REGISTRY, bytes.fromhex(content.plan_sha256)))


def answer(connection: sa.Connection, pool: PoolRef, run: PayRun, salt: str) -> bool:
    """Have a pool pay its part of a run, once: what it still owes of what was planned. Returns whether it did now.

    Raises:
        LostRaceError: it does so at this moment.
    """
    if pool.name not in run.waiting:
        return False
    people, now = begin(connection, pool)
    if _answer_of(connection, pool, run.content.pay_run) is not None:
        return False
    planned = run.plan.of_pool(pool.name)
    owed = {f"collective/{collective}": collective for collective in planned}
    found = journal.balances_of(connection, pool, list(owed), log_size=log.read_head(connection, pool).size)
    part = render(pool_part(run.plan, pool.name, {owed[account]: amount for account, amount in found.items()}, salt))
    log.put_body(connection, pool, part)
    content = PayingContent(
        registry_size=people.size,
        pay_run=run.content.pay_run,
        pay_run_leaf=run.leaf.index,
        parts_sha256=sha256(part).hexdigest(),
    )
    recorded = movements.append_moving(connection, pool, content, now)
    row = {"pay_run": run.content.pay_run, "leaf_index": recorded.leaf.index}
    with taken_keys(lambda _: LostRaceError(f"pay run {run.content.pay_run}")):
        connection.execute(sa.insert(t.paying).values(pool_id=pool.pool_id, **row))
    return True


def _answer_of(connection: sa.Connection, pool: PoolRef, name: str) -> PoolPart | None:
    query = sa.select(t.paying.c.leaf_index).where(t.paying.c.pool_id == pool.pool_id, t.paying.c.pay_run == name)
    leaf_index = connection.execute(query).scalar()
    if leaf_index is None:
        return None
    leaf = decode(log.read_leaf(connection, pool, leaf_index).entry, {PayingContent.type: PayingContent})
    return parse_part(log.checked_body(connection, pool, bytes.fromhex(leaf.content.parts_sha256)))


def require_settled(connection: sa.Connection, owner: str) -> None:
    """Check that no payment to or from an owner's account is on its way: without the account's details its run has no
    file, and nobody in it is paid.

    Args:
        connection: a transaction's, in which no run is decided meanwhile.
        owner: `collectives/ID` or `bankAccounts/ID`.

    Raises:
        StateError: one is.
    """
    collection, _, name = owner.partition("/")
    of_account = name if collection == "bankAccounts" else None
    leaves = {leaf_index for _, leaf_index in payments_of(connection, name)}
    for leaf in list_leaves(connection, bank_account=of_account):
        if of_account is None and leaf.index not in leaves:
            continue
        run = pay_run_of(connection, leaf)
        sent = [each for each in sent_of(connection, run).values() if of_account or each.collective == name]
        if run.waiting or any(each.state in BEFORE[BookingKind.PAID] for each in sent):
            detail = "has a payment on its way in %(run)s, until a statement of the bank has it"
            raise StateError(owner, "PAYMENT_UNDER_WAY", detail, run=f"payRuns/{leaf.content.pay_run}")


def put_events(connection: sa.Connection, leaf_index: int, bookings: Bookings) -> None:
    """Keep what a leaf of the registry's log says of payments."""
    events = [
        {
            "end_to_end_id": each.end_to_end_id, "leaf_index": leaf_index, "kind": each.kind, "day": each.day,
            "reference": each.reference, "reason": each.reason,
        }
        for each in bookings.bookings
        if each.kind in AFTER
    ]  # fmt: skip
    if events:
        connection.execute(sa.insert(t.payment_event), events)


def events_of(connection: sa.Connection, identities: Sequence[str]) -> list[Event]:
    """Returns what banks said of payments, in the order of the log; within a file payments before returns."""
    among = t.payment_event.c.end_to_end_id == sa.any_(sa.literal(list(identities), sa.ARRAY(sa.Text)))
    query = sa.select(t.payment_event).where(among).order_by(t.payment_event.c.leaf_index, t.payment_event.c.kind)
    return [_event(row) for row in connection.execute(query)]


def sent_of(connection: sa.Connection, run: PayRun) -> dict[str, Sent]:
    """Returns the payments of a run that the pools have moved, with the state that banks left each in."""
    paid = run.paid_by()
    day = date.fromisoformat(run.content.day)
    collectives = {payment.end_to_end_id: payment.collective for payment in run.plan.payments}
    sent = {
        identity: Sent(identity, run.content.pay_run, collectives[identity], day, parts, State.PAYING)
        for identity, parts in paid.items()
    }
    for event in events_of(connection, list(sent)):
        sent[event.end_to_end_id] = moved_on(sent[event.end_to_end_id], event)
    return sent


def moved_on(sent: Sent, event: Event) -> Sent:
    """Returns a payment after what a bank said of it."""
    state = AFTER[BookingKind(event.kind)]
    day, reason = sent.day, sent.reason
    if state is State.REJECTED:
        day, reason = max(day, date.fromisoformat(event.day)), event.reason
    return replace(sent, state=state, day=day, reason=reason)


def payments_of(connection: sa.Connection, collective: str) -> list[tuple[str, int]]:
    """Returns the payments that runs planned for a collective: end-to-end id and the run's leaf, oldest first."""
    table = t.planned_payment
    query = sa.select(table.c.end_to_end_id, table.c.leaf_index).where(table.c.collective == collective)
    return [(row.end_to_end_id, row.leaf_index) for row in connection.execute(query.order_by(table.c.leaf_index))]


def last_said(connection: sa.Connection, bank_account: str, collectives: Iterable[str]) -> dict[str, list[Event]]:
    """Returns what banks said of the last payment that an account's runs planned for each of some collectives."""
    among = t.planned_payment.c.collective == sa.any_(sa.literal(sorted(set(collectives)), sa.ARRAY(sa.Text)))
    query = (
        sa.select(t.planned_payment.c.collective, t.planned_payment.c.end_to_end_id)
        .join_from(t.planned_payment, t.pay_run, t.pay_run.c.leaf_index == t.planned_payment.c.leaf_index)
        .where(among, t.pay_run.c.bank_account == bank_account)
        .ext(distinct_on(t.planned_payment.c.collective))
        .order_by(t.planned_payment.c.collective, t.planned_payment.c.leaf_index.desc())
    )
    whose = {row.end_to_end_id: row.collective for row in connection.execute(query)}
    said: dict[str, list[Event]] = {}
    for event in events_of(connection, list(whose)):
        said.setdefault(whose[event.end_to_end_id], []).append(event)
    return said


def owed_in(connection: sa.Connection, pools: Iterable[PoolRef]) -> dict[str, dict[str, int]]:
    """Returns what each of some pools owes to each collective, where it is more than nothing: collective, then pool."""
    owed: dict[str, dict[str, int]] = {}
    for pool in pools:
        size = log.read_head(connection, pool).size
        query = f"""
            SELECT DISTINCT ON (account COLLATE "C") account, amount_minor FROM {lt.balance.name}
            WHERE pool_id = %s AND account LIKE 'collective/%%' AND leaf_index < %s
            ORDER BY account COLLATE "C", leaf_index DESC
        """  # noqa: S608  # the name of a table of ours
        for account, amount in driver_connection(connection).execute(query, (pool.pool_id, size)).fetchall():
            if int(str(amount)) > 0:
                owed.setdefault(str(account).partition("/")[2], {})[pool.name] = int(str(amount))
    return owed


def _event(row: Any) -> Event:
    return Event(row.end_to_end_id, row.leaf_index, row.kind, row.day, row.reference, row.reason)
