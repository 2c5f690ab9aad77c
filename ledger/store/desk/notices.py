"""Notices at the desk: what principals must be told by mail, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.acts.contacts import Contact
from ledger.errors import LedgerCorruptError
from ledger.store.desk.contacts import TOLD_AFTER, checked_contact
from ledger.store.desk.tables import contact, mail_cursor, notice
from ledger.store.logs.log import PoolRef

_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that principals must be told.

    Attributes:
        topic: what it is about, which decides its text.
        principals: who must be told.
        facts: what its text names.
        is_required: whether it cannot be unsubscribed, and goes to replaced contacts too.
        gathered: if set, at most one goes to a contact in this time, and says that there is something new.
        is_once: whether it is left out where the same was left for a contact before.
    """

    topic: str
    principals: tuple[str, ...]
    facts: Mapping[str, str | int] = field(default_factory=dict)
    is_required: bool = False
    gathered: timedelta | None = None
    is_once: bool = False


@dataclass(frozen=True, slots=True)
class DueNotice:
    """A notice that is to be sent now, and to whom; `contact` is None if it was erased."""

    notice_id: int
    principal: str
    topic: str
    facts: Mapping[str, Any]
    created_at: datetime
    attempts: int
    contact: Contact | None
    is_unsubscribed: bool
    token: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much mail waits, since when the oldest has, and how much was given up of what is still kept."""

    count: int
    oldest: datetime | None
    given_up: int


def leave_notices(connection: sa.Connection, left: Iterable[Notice], now: datetime) -> None:
    """Leave notices for whatever delivers them, under the contacts that there are; who has none is not told."""
    rows: list[dict[str, Any]] = []
    gathered: set[tuple[str, bytes]] = set()
    for each in left:
        for row in _rows(connection, each, now):
            about = (each.topic, bytes(row["contact_hash"]))
            if each.gathered is None or about not in gathered:
                rows.append(row)
            gathered.add(about)
    for start in range(0, len(rows), _ROWS):
        connection.execute(sa.insert(notice), rows[start : start + _ROWS])


def _rows(connection: sa.Connection, left: Notice, now: datetime) -> list[dict[str, Any]]:
    among = contact.c.principal == sa.any_(sa.literal(list(left.principals), sa.ARRAY(sa.Text)))
    in_force = contact.c.leaf_index.is_not(None) & (contact.c.email != "")
    query = sa.select(contact.c.principal, contact.c.contact_hash).where(among, in_force)
    if left.is_required:
        query = query.where(sa.or_(contact.c.ended_at.is_(None), contact.c.ended_at > now - TOLD_AFTER))
    else:
        query = query.where(contact.c.ended_at.is_(None), contact.c.unsubscribed_at.is_(None))
    rows = []
    for principal, contact_hash in connection.execute(query):
        due_at = _due(connection, left, bytes(contact_hash), now)
        if due_at is not None:
            made = {"principal": principal, "contact_hash": contact_hash, "topic": left.topic, "created_at": now}
            rows.append({**made, "due_at": due_at, "facts": dict(left.facts), "attempts": 0, "problem": ""})
    return rows


def _due(connection: sa.Connection, left: Notice, contact_hash: bytes, now: datetime) -> datetime | None:
    """When a notice is to be sent; None if one that waits already says it, or one that was sent said all of it."""
    same = (notice.c.contact_hash == contact_hash) & (notice.c.topic == left.topic)
    if left.is_once:
        said = sa.select(notice.c.facts).where(same)
        return None if dict(left.facts) in connection.execute(said).scalars() else now
    if left.gathered is None:
        return now
    open_ = notice.c.delivered_at.is_(None) & notice.c.given_up_at.is_(None)
    if connection.execute(sa.select(notice.c.notice_id).where(same, open_).limit(1)).first():
        return None
    last = connection.execute(sa.select(sa.func.max(notice.c.delivered_at)).where(same)).scalar()
    return max(now, last + left.gathered) if last else now


def cursors(connection: sa.Connection) -> dict[int, int]:
    """Returns how far notices were made of each log, by the pool's number."""
    return {row.pool_id: row.next_leaf for row in connection.execute(sa.select(mail_cursor))}


def lock_cursor(connection: sa.Connection, pool: PoolRef, start: int) -> int | None:
    """Lock a log's cursor until the commit, at `start` if it is new; returns it, or None if another has the lock."""
    first = insert(mail_cursor).values(pool_id=pool.pool_id, next_leaf=start).on_conflict_do_nothing()
    connection.execute(first)
    mine = sa.select(mail_cursor.c.next_leaf).where(mail_cursor.c.pool_id == pool.pool_id)
    return connection.execute(mine.with_for_update(skip_locked=True)).scalar()


def move_cursor(connection: sa.Connection, pool: PoolRef, next_leaf: int) -> None:
    """Say how far notices were made of a log."""
    connection.execute(sa.update(mail_cursor).where(mail_cursor.c.pool_id == pool.pool_id).values(next_leaf=next_leaf))


def is_any_due(connection: sa.Connection, now: datetime) -> bool:
    """Returns whether a notice is due, which others may have locked."""
    return bool(connection.execute(sa.select(sa.exists().where(_is_due(now)))).scalar_one())


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    return notice.c.delivered_at.is_(None) & notice.c.given_up_at.is_(None) & (notice.c.due_at <= now)


def lock_due(connection: sa.Connection, now: datetime) -> DueNotice | None:
    """Returns a notice that is due, locked until the commit; None if none is, or others have them all.

    Raises:
        LedgerCorruptError: its contact is not what the registry's log has the hash of.
    """
    query = sa.select(notice).where(_is_due(now)).order_by(notice.c.due_at, notice.c.notice_id).limit(1)
    row = connection.execute(query.with_for_update(skip_locked=True)).first()
    if row is None:
        return None
    to = connection.execute(sa.select(contact).where(contact.c.contact_hash == row.contact_hash)).first()
    return DueNotice(
        row.notice_id,
        row.principal,
        row.topic,
        row.facts,
        row.created_at,
        row.attempts,
        _sound(to) if to else None,
        bool(to and to.unsubscribed_at),
        to.token if to else "",
    )


def _sound(row: Any) -> Contact | None:
    """Returns a row's contact, None if it is not what the log has the hash of: nothing is sent to such an address."""
    try:
        return checked_contact(row)
    except LedgerCorruptError:
        return None


def mark_delivered(connection: sa.Connection, notice_id: int, now: datetime) -> None:
    """Say that a notice was taken by a mail server."""
    _mark(connection, notice_id, delivered_at=now)


def mark_given_up(connection: sa.Connection, notice_id: int, now: datetime, problem: str) -> None:
    """Say that a notice will not be sent, and why."""
    _mark(connection, notice_id, given_up_at=now, problem=problem)


def mark_failed(connection: sa.Connection, notice_id: int, attempts: int, due_at: datetime, problem: str) -> None:
    """Say that a notice could not be sent, and when to try again."""
    _mark(connection, notice_id, attempts=attempts, due_at=due_at, problem=problem)


def give_up_before(connection: sa.Connection, before: datetime, now: datetime, problem: str) -> int:
    """Say of all notices that waited since a time that they will not be sent; returns how many."""
    waits = notice.c.delivered_at.is_(None) & notice.c.given_up_at.is_(None) & (notice.c.created_at < before)
    return connection.execute(sa.update(notice).where(waits).values(given_up_at=now, problem=problem)).rowcount


def _mark(connection: sa.Connection, notice_id: int, **values: Any) -> None:
    connection.execute(sa.update(notice).where(notice.c.notice_id == notice_id).values(**values))


def waiting(connection: sa.Connection) -> Waiting:
    """Returns how much mail waits."""
    waits = notice.c.delivered_at.is_(None) & notice.c.given_up_at.is_(None)
    counted = sa.select(
        sa.func.count().filter(waits),
        sa.func.min(notice.c.created_at).filter(waits),
        sa.func.count().filter(notice.c.given_up_at.is_not(None)),
    )
    return Waiting(*connection.execute(counted).one())
