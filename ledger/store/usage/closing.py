"""Closing a pool to usage; and deleting the rows of its events, once nothing can refer to them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.errors import StateError
from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.database import Database
from ledger.store.registry.acts import Effect, append_act
from ledger.usage.entries import ClosingContent
from ledger.usage.pages import IDS_MAX

_DELETED_AT_ONCE: Final = 100_000
"""Events whose rows one transaction deletes."""


def closed_at(connection: sa.Connection, pool: PoolRef) -> datetime | None:
    """Since when the pool takes no usage; None while it does."""
    query = sa.select(t.closing.c.closed_at).where(t.closing.c.pool_id == pool.pool_id)
    return connection.execute(query).scalar()


def closing_leaf(connection: sa.Connection, pool: PoolRef) -> int | None:
    """The leaf that closed the pool; None while it is open."""
    query = sa.select(t.closing.c.leaf_index).where(t.closing.c.pool_id == pool.pool_id)
    return connection.execute(query).scalar()


def _close(connection: sa.Connection, pool: PoolRef, content: ClosingContent, now: datetime) -> datetime:
    leaf_index = append_act(connection, pool, content, now)
    row = {"pool_id": pool.pool_id, "closed_at": now, "events_dropped": False, "leaf_index": leaf_index}
    connection.execute(sa.insert(t.closing).values(row))
    return now


def _standing_closing(connection: sa.Connection, pool: PoolRef, _: ClosingContent) -> datetime | None:
    return closed_at(connection, pool)


CLOSE_POOL: Final = Effect(ClosingContent, _close, _standing_closing)
"""Closes a pool to usage. Gives since when."""


def require_events_kept(connection: sa.Connection, pool: PoolRef) -> None:
    """Check that the rows of the pool's events are there.

    Raises:
        StateError: they were dropped.
    """
    gone = (t.closing.c.pool_id == pool.pool_id) & t.closing.c.events_dropped
    if connection.execute(sa.select(sa.exists().where(gone))).scalar_one():
        detail = "is closed, and the rows of its events were dropped; its log and batches are still here"
        raise StateError(f"pools/{pool.name}", "EVENTS_DROPPED", detail)


def drop_events(database: Database, pool: PoolRef) -> Iterator[int]:
    """Delete the rows of a closed pool's events; gives how many, a part at a time. What was cut off goes on when
    repeated.

    As the schema's owner: the service may not delete.

    Raises:
        StateError: the pool is open.
    """
    with database.transaction() as connection:
        dropped = sa.update(t.closing).where(t.closing.c.pool_id == pool.pool_id).values(events_dropped=True)
        if not connection.execute(dropped).rowcount:
            raise StateError(f"pools/{pool.name}", "POOL_OPEN", "takes usage; close it first: moiety pool close")
    for table, at_once in ((t.event, _DELETED_AT_ONCE), (t.claim_page, _DELETED_AT_ONCE // IDS_MAX)):
        yield from _deleted(database, pool, table, at_once)


def _deleted(database: Database, pool: PoolRef, table: sa.Table, at_once: int) -> Iterator[int]:
    """Delete a pool's rows of events, or of pages of them; gives how many events, so many rows at a time."""
    _, *key = table.primary_key.columns
    of_pool = table.c.pool_id == pool.pool_id
    events = sa.func.octet_length(t.claim_page.c.ids) / t.claim_page.c.width if table is t.claim_page else sa.literal(1)
    first = sa.select(*key).where(of_pool).order_by(*key).limit(at_once).subquery()
    last = sa.select(*first.c).order_by(*(column.desc() for column in first.c)).limit(1)
    while True:
        with database.transaction() as connection:
            found = connection.execute(last).first()
            if found is None:
                return
            up_to = sa.tuple_(*key) <= sa.tuple_(*map(sa.literal, found))
            gone = sa.delete(table).where(of_pool, up_to).returning(events.label("events")).cte("gone")
            deleted = connection.execute(sa.select(sa.func.sum(gone.c.events))).scalar_one()
        yield int(deleted)
