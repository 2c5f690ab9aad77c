"""Pools with their policies, and their schedules, in Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.errors import AlreadyExistsError, NotFoundError
from ledger.log.leaves import decode
from ledger.store import log, registry
from ledger.store import tables as lt
from ledger.store.log import PoolRef
from payout.entries import PolicyContent, PoolContent
from payout.policy import Policy
from payout.store import tables as t


@dataclass(frozen=True, slots=True)
class LoggedPolicy:
    """A policy at its place in the log."""

    leaf_index: int
    version: int
    policy: Policy


@dataclass(frozen=True, slots=True)
class PoolSchedule:
    """When a pool's rounds are cut. `answered_until` is the last fire time that a round records, if any."""

    pool: PoolRef
    cron: str
    time_zone: str
    paused: bool
    updated_at: datetime
    answered_until: datetime | None


def create_pool(connection: sa.Connection, name: str, content: PoolContent, now: datetime) -> registry.PoolRecord:
    """Open a pool. The same again is a no-op.

    Raises:
        AlreadyExistsError: the pool exists with another display name, currency or policy.
    """
    pool = registry.insert_pool(connection, name, content.display_name, content.currency, now)
    if pool is None:
        existing = registry.get_pool(connection, name)
        first = log.read_leaf(connection, existing.ref, 0)
        if decode(first.entry, {PoolContent.type: PoolContent}).content != content:
            raise AlreadyExistsError(f"pools/{name}")
        return existing
    (leaf,) = log.append(connection, pool, [content], now)
    connection.execute(sa.insert(t.policy).values(pool_id=pool.pool_id, version=1, leaf_index=leaf.index))
    return registry.get_pool(connection, name)


def create_policy(connection: sa.Connection, pool: PoolRef, policy: Policy, now: datetime) -> LoggedPolicy:
    """Log the pool's next policy; the same terms as the latest are a no-op."""
    log.lock_head(connection, pool)
    latest = list_policies(connection, pool)[-1]
    if latest.policy == policy:
        return latest
    content = PolicyContent(version=latest.version + 1, policy=policy)
    (leaf,) = log.append(connection, pool, [content], now)
    row = {"pool_id": pool.pool_id, "version": content.version, "leaf_index": leaf.index}
    connection.execute(sa.insert(t.policy).values(row))
    return LoggedPolicy(leaf.index, content.version, policy)


def list_policies(
    connection: sa.Connection, pool: PoolRef, *, after: int = 0, limit: int | None = None
) -> list[LoggedPolicy]:
    """The pool's policies from beyond the version `after`, oldest first."""
    on = (lt.leaf.c.pool_id == t.policy.c.pool_id) & (lt.leaf.c.leaf_index == t.policy.c.leaf_index)
    query = (
        sa.select(t.policy.c.version, lt.leaf.c.entry)
        .join_from(t.policy, lt.leaf, on)
        .where(t.policy.c.pool_id == pool.pool_id, t.policy.c.version > sa.literal(after, sa.BigInteger))
        .order_by(t.policy.c.version)
        .limit(limit)
    )
    return [_logged(row) for row in connection.execute(query)]


def _logged(row: Any) -> LoggedPolicy:
    kinds: dict[str, type[PoolContent | PolicyContent]] = {kind.type: kind for kind in (PoolContent, PolicyContent)}
    leaf = decode(bytes(row.entry), kinds)
    return LoggedPolicy(leaf.index, row.version, leaf.content.policy)


def put_schedule(
    connection: sa.Connection, pool: PoolRef, cron: str, time_zone: str, paused: bool, now: datetime
) -> PoolSchedule:
    """Set when a pool's rounds are cut. Fire times count from `now` where the times change."""
    values = {"cron": cron, "time_zone": time_zone, "paused": paused, "updated_at": now}
    try:
        existing = get_schedule(connection, pool)
        if (existing.cron, existing.time_zone) == (cron, time_zone):
            values["updated_at"] = existing.updated_at
    except NotFoundError:
        pass
    connection.execute(
        insert(t.schedule)
        .values(pool_id=pool.pool_id, **values)
        .on_conflict_do_update(index_elements=["pool_id"], set_=values)
    )
    return get_schedule(connection, pool)


def get_schedule(connection: sa.Connection, pool: PoolRef) -> PoolSchedule:
    """The pool's schedule.

    Raises:
        NotFoundError: the pool has no schedule.
    """
    for found in list_schedules(connection, only=pool.pool_id):
        return found
    raise NotFoundError(f"pools/{pool.name}/schedule")


def list_schedules(connection: sa.Connection, *, only: int | None = None) -> list[PoolSchedule]:
    """Every pool's schedule, in the order of the pools."""
    answered = (
        sa.select(sa.func.max(t.round_.c.last_fire_time))
        .where(t.round_.c.pool_id == t.schedule.c.pool_id)
        .scalar_subquery()
    )
    query = (
        sa.select(t.schedule, lt.pool.c.name, lt.pool.c.currency, answered.label("answered_until"))
        .join(lt.pool, lt.pool.c.pool_id == t.schedule.c.pool_id)
        .order_by(t.schedule.c.pool_id)
    )
    if only is not None:
        query = query.where(t.schedule.c.pool_id == only)
    return [
        PoolSchedule(
            PoolRef(row.pool_id, row.name, row.currency),
            row.cron,
            row.time_zone,
            row.paused,
            row.updated_at,
            row.answered_until,
        )
        for row in connection.execute(query)
    ]
