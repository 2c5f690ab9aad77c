"""Pools in Postgres, as the registry has them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.errors import AlreadyExistsError, NotFoundError
from ledger.income import Distribute
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.pools import turns
from ledger.store.postgres.conflicts import taken_keys
from ledger.store.postgres.paging import page_by_name

_REF: Final = (t.pool.c.pool_id, t.pool.c.name, t.pool.c.currency, t.pool.c.distribute)


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """A pool as people see it."""

    ref: PoolRef
    display_name: str
    log_size: int
    created_at: datetime


def insert_pool(
    connection: sa.Connection,
    name: str,
    display_name: str,
    currency: str,
    now: datetime,
    distribute: str = Distribute.RECEIVED,
) -> PoolRef:
    """Create a pool with an empty log.

    Raises:
        AlreadyExistsError: a pool has that name, or it is the name of the registry's log.
    """
    values = {
        "name": name,
        "display_name": display_name,
        "currency": currency,
        "distribute": distribute,
        "created_at": now,
    }
    insert = sa.insert(t.pool).values(values).returning(t.pool.c.pool_id)
    # Not with ON CONFLICT: some distributed databases require rights for it that the service does not have.
    with connection.begin_nested(), taken_keys(lambda _: AlreadyExistsError(f"pools/{name}")):
        pool_id = connection.execute(insert).scalar_one()
    log.open_log(connection, pool_id)
    turns.open_turns(connection, pool_id)
    return PoolRef(pool_id, name, currency, distribute)


def get_pool(connection: sa.Connection, name: str) -> PoolRecord:
    """Returns the pool.

    Raises:
        NotFoundError: no pool has this id.
    """
    for found in list_pools(connection, only=name, limit=1):
        return found
    raise NotFoundError(f"pools/{name}")


def pool_ref(connection: sa.Connection, name: str) -> PoolRef:
    """Returns the pool as the store knows it. Connections remember it, since none of it ever changes.

    Raises:
        NotFoundError: no pool has this id.
    """
    known: dict[str, PoolRef] = connection.info.setdefault(pool_ref, {})
    if name not in known:
        # Without the log's size: this asks only the registry, whatever nodes the pools are on.
        query = sa.select(*_REF).where(t.pool.c.name == name, t.pool.c.pool_id != REGISTRY.pool_id)
        row = connection.execute(query).first()
        if row is None:
            raise NotFoundError(f"pools/{name}")
        known[name] = PoolRef(*row)
    return known[name]


def pool_refs(connection: sa.Connection) -> list[PoolRef]:
    """Returns every pool as the store knows it, and the registry, which has a log like them."""
    return [PoolRef(*row) for row in connection.execute(sa.select(*_REF).order_by(t.pool.c.pool_id))]


def list_pools(
    connection: sa.Connection,
    *,
    after: str = "",
    limit: int | None = None,
    only: str | None = None,
    among: Collection[str] | None = None,
) -> list[PoolRecord]:
    """Returns pools by name; with `among`, those alone that it names."""
    query = page_by_name(t.pool, after, limit, only).where(t.pool.c.pool_id != REGISTRY.pool_id)
    if among is not None:
        query = query.where(t.pool.c.name.in_(among))
    rows = {PoolRef(row.pool_id, row.name, row.currency, row.distribute): row for row in connection.execute(query)}
    if not rows:
        return []
    heads = log.read_heads(connection, list(rows))
    return [PoolRecord(ref, rows[ref].display_name, size, rows[ref].created_at) for ref, size, _ in heads]
