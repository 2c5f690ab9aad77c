"""Reads the logs for what people must be told, and leaves notices of it: each leaf once, whoever writes it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, Final

import sqlalchemy as sa
import structlog

from ledger.acts.act import COLLECTIVES, OPERATORS
from ledger.acts.entries import (
    REGISTRY_CONTENTS,
    BankFileContent,
    BankMatchContent,
    ContactContent,
    PayeeContent,
    PrincipalStatus,
    ProposalContent,
)
from ledger.entries import PaymentContent
from ledger.errors import LedgerCorruptError, LedgerError
from ledger.income import ReceiptContent
from ledger.log.leaves import Leaf, decode
from ledger.payments import Booking, BookingKind
from ledger.store import tables as t
from ledger.store.desk import notices
from ledger.store.desk.contacts import with_contacts
from ledger.store.desk.notices import Notice
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.pools.pools import get_pool, list_pools
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import read_time
from ledger.store.registry.people import read_people
from payout.entries import CONTENTS, RoundContent
from payout.objections import AnswerContent, ObjectionContent, review_ends
from payout.schedule import next_fire_time
from payout.statement import parse_statement
from payout.store import bookings, payees
from payout.store.policies import get_policy
from payout.store.schedules import list_schedules
from services.mail import letters

logger: Final = structlog.get_logger("moiety.mail")

TOLD_FOR: Final = timedelta(days=3)
"""What was logged longer ago is no news: so old is all of a log when mail is set up for the first time."""

GATHERED: Final = timedelta(hours=1)
"""Operators hear at most so often that something waits for them."""

LATE: Final = timedelta(minutes=15)
"""After this a round is late: schedules are looked at every few seconds, and a large round takes minutes."""

LOOKS_EVERY_SECONDS: Final = 60.0
"""How often schedules are looked at."""

_LEAVES: Final = 1_000
_IS_NOT_USAGE: Final = sa.literal_column('position(\'"type":"usage.v1"\'::bytea IN entry)') == 0
"""Most leaves are usage, of which nobody hears. In canonical JSON no value contains this: its quotes are escaped."""

_OF_BOOKINGS: Final = {
    BookingKind.PAID: letters.PAID,
    BookingKind.UNPAID: letters.NOT_PAID,
    BookingKind.RETURNED: letters.RETURNED,
}


_NOBODYS: Final = frozenset({BookingKind.UNMATCHED, BookingKind.UNKNOWN})
"""Lines of a bank of which an operator has to say whose they are."""


class Herald:
    """Leaves notices of what is new in the logs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._looked_at = -LOOKS_EVERY_SECONDS

    def run_once(self) -> None:
        """Read what is new in every log, and look for late rounds. A log that cannot be read holds up no other."""
        with self._database.transaction() as connection:
            logs = [REGISTRY, *(record.ref for record in list_pools(connection))]
            heads = log.read_heads(connection, logs)
            known = notices.cursors(connection)
        for pool, size, _ in heads:
            if known.get(pool.pool_id) == size:
                continue
            try:
                while self._advance(pool):
                    pass
            except LedgerError as error:
                logger.warning("a log could not be read for notices", log=pool.name, reason=str(error))
        if time.monotonic() >= self._looked_at + LOOKS_EVERY_SECONDS:
            self._looked_at = time.monotonic()
            self._tell_late(logs)

    def _tell_late(self, among: list[PoolRef]) -> None:
        """Tell operators once of each fire time that should have been answered and was not."""
        with self._database.transaction() as connection:
            # Whoever has the registry's cursor looks, so that two that look at once do not both tell of it.
            if REGISTRY.pool_id not in notices.cursors(connection):
                return
            if notices.lock_cursor(connection, REGISTRY, 0) is None:
                return
            now = read_time(connection)
            for schedule in list_schedules(connection, among):
                try:
                    due = next_fire_time(schedule)
                except LedgerCorruptError as error:
                    logger.warning("a schedule cannot be read", pool=schedule.pool.name, reason=str(error))
                    continue
                # The round that waits is answered first, and has told of itself.
                if schedule.paused or schedule.open_round or due + LATE > now:
                    continue
                facts = {"until": due.isoformat(), **_pool_facts(connection, schedule.pool)}
                late = Notice(letters.LATE, _operators(connection), facts, is_once=True)
                notices.leave_notices(connection, [late], now)

    def _advance(self, pool: PoolRef) -> bool:
        """Read the next leaves of a log, and leave notices of them. Returns whether there are more."""
        with self._database.transaction() as connection:
            size, now = log.read_head(connection, pool).size, read_time(connection)
            begin = 0
            if pool.pool_id not in notices.cursors(connection):
                begin = log.first_since(connection, pool, now - TOLD_FOR)
            start = notices.lock_cursor(connection, pool, begin)
            if start is None or start == size:
                return False
            # After a failover that lost leaves, a log may be shorter than what was read of it.
            start = min(start, size)
            end = min(start + _LEAVES, size)
            found = [
                each for leaf in _told(connection, pool, start, end) for each in self._notices(connection, pool, leaf)
            ]
            notices.leave_notices(connection, found, now)
            notices.move_cursor(connection, pool, end)
        return end < size

    def _notices(self, connection: sa.Connection, pool: PoolRef, leaf: Leaf[Any]) -> Iterator[Notice]:
        """What a leaf has people told."""
        match leaf.content:
            case RoundContent() as content:
                yield from _of_round(connection, pool, leaf, content)
            case ObjectionContent():
                yield _inbox(connection)
            case ProposalContent() as content:
                yield _inbox(connection, but=content.by)
            case AnswerContent(collective=name, round=number):
                facts = {"round": number, **_pool_facts(connection, pool)}
                yield Notice(letters.ANSWER, (COLLECTIVES + name,), facts)
            case PaymentContent(collective=name):
                yield Notice(letters.PAID, (COLLECTIVES + name,))
            case BankFileContent() | BankMatchContent() as content:
                yield from _of_bookings(connection, bookings.bookings_of(connection, content).bookings)
            case ReceiptContent(platform="", by=by):
                yield _inbox(connection, but=by)
            case PayeeContent(collective=name, by=by):
                principal = COLLECTIVES + name
                facts = {"principal": principal, "by": by, "days": payees.COOLING.days}
                yield Notice(letters.PAYEE, (principal,), facts, is_required=True)
            case ContactContent(principal=principal, by=by):
                yield Notice(letters.CONTACT, (principal,), {"principal": principal, "by": by}, is_required=True)


def _of_round(connection: sa.Connection, pool: PoolRef, leaf: Leaf[Any], content: RoundContent) -> Iterator[Notice]:
    policy = get_policy(connection, pool, content.policy_version).policy
    if policy.review_seconds:
        body = log.checked_body(connection, pool, bytes.fromhex(content.statement_sha256))
        told = tuple(COLLECTIVES + line.collective for line in parse_statement(body))
        until = review_ends(leaf.time, policy).isoformat()
        yield Notice(letters.ROUND, told, {"round": content.number, "until": until, **_pool_facts(connection, pool)})
    yield _inbox(connection, but=content.by)


def _of_bookings(connection: sa.Connection, found: Iterable[Booking]) -> Iterator[Notice]:
    """What a bank's lines have collectives told, and operators of what is nobody's."""
    for booking in found:
        kind = BookingKind(booking.kind)
        if kind in _NOBODYS:
            yield _inbox(connection)
        elif kind in _OF_BOOKINGS and booking.subject:
            yield Notice(_OF_BOOKINGS[kind], (COLLECTIVES + booking.subject,))


def _inbox(connection: sa.Connection, but: str = "") -> Notice:
    """What tells operators that something waits for them."""
    return Notice(letters.INBOX, _operators(connection, but), gathered=GATHERED)


def _operators(connection: sa.Connection, but: str = "") -> tuple[str, ...]:
    """Returns the operators who are not suspended and have a contact."""
    active = {
        name for name, person in read_people(connection).persons.items() if person.status is PrincipalStatus.ACTIVE
    }
    return tuple(name for name in with_contacts(connection, OPERATORS) if name in active and name != but)


def _pool_facts(connection: sa.Connection, pool: PoolRef) -> dict[str, str | int]:
    return {"id": pool.name, "pool": get_pool(connection, pool.name).display_name}


def _told(connection: sa.Connection, pool: PoolRef, start: int, end: int) -> Iterator[Leaf[Any]]:
    """The leaves in [start, end) that may be about somebody."""
    query = (
        sa.select(t.leaf.c.entry)
        .where(t.leaf.c.pool_id == pool.pool_id, t.leaf.c.leaf_index >= start, t.leaf.c.leaf_index < end)
        .where(_IS_NOT_USAGE)
        .order_by(t.leaf.c.leaf_index)
    )
    kinds = REGISTRY_CONTENTS if pool == REGISTRY else CONTENTS
    for row in connection.execute(query).all():
        yield decode(bytes(row.entry), kinds)
