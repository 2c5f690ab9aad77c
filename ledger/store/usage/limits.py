"""Limits on usage in Postgres, and what platforms with a quota have sent each day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.pools.pools import pool_refs
from ledger.store.postgres.transactions import ask
from ledger.usage.limits import DayOfUsage, PlatformLimits, PoolLimits

# Raw SQL: runs once per batch, and SQLAlchemy takes longer to compile it than Postgres to run it.
_POOL_LIMITS: Final = """
SELECT lead_seconds_max, age_seconds_max, NULL::timestamptz FROM pool_limit WHERE pool_id = %s
UNION ALL
SELECT NULL, NULL, closed_at FROM closing WHERE pool_id = %s
"""
_PLATFORM_LIMITS: Final = """
SELECT events_per_day, bytes_per_day, open_streams FROM platform_limit WHERE platform_id = %s
"""
_DAY: Final = """
SELECT coalesce(sum(events), 0)::bigint, coalesce(sum(batch_bytes), 0)::bigint
FROM usage_day WHERE pool_id = ANY(%s) AND platform_id = %s AND day = %s
"""
_COUNT: Final = """
INSERT INTO usage_day (pool_id, platform_id, day, events, batch_bytes) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (pool_id, platform_id, day) DO UPDATE
SET events = usage_day.events + excluded.events, batch_bytes = usage_day.batch_bytes + excluded.batch_bytes
"""


def pool_limits(connection: sa.Connection, pool: PoolRef) -> PoolLimits:
    """Returns the time limits on a pool's events, the defaults if none were set, and since when the pool is closed."""
    asked = ask(connection, _POOL_LIMITS, (pool.pool_id, pool.pool_id))
    found = PoolLimits()
    for lead, age, closed_at in cast("list[tuple[int | None, int | None, datetime | None]]", asked.fetchall()):
        if lead is not None and age is not None:
            found = replace(found, lead_seconds_max=lead, age_seconds_max=age)
        if closed_at is not None:
            found = replace(found, closed_at=closed_at)
    return found


def set_pool_limits(connection: sa.Connection, pool: PoolRef, limits: PoolLimits) -> None:
    """Replace them."""
    row = {"lead_seconds_max": limits.lead_seconds_max, "age_seconds_max": limits.age_seconds_max}
    _put(connection, t.pool_limit, {"pool_id": pool.pool_id}, row)


def platform_limits(connection: sa.Connection, platform_id: int) -> PlatformLimits:
    """Returns how much a platform may send; no limits if none were set."""
    found = ask(connection, _PLATFORM_LIMITS, (platform_id,)).fetchone()
    return PlatformLimits(*cast("tuple[int | None, int | None, int | None]", found)) if found else PlatformLimits()


def set_platform_limits(connection: sa.Connection, platform_id: int, limits: PlatformLimits) -> None:
    """Replace them. Usage counts from then on."""
    row = {
        "events_per_day": limits.events_per_day,
        "bytes_per_day": limits.bytes_per_day,
        "open_streams": limits.open_streams,
    }
    _put(connection, t.platform_limit, {"platform_id": platform_id}, row)


def day_of_usage(connection: sa.Connection, platform_id: int, day: date) -> DayOfUsage:
    """Returns what a platform has sent in a day, as far as it was counted."""
    pools = [pool.pool_id for pool in pool_refs(connection)]
    found = ask(connection, _DAY, (pools, platform_id, day)).fetchone()
    return DayOfUsage(*cast("tuple[int, int]", found))


def count_usage(connection: sa.Connection, pool: PoolRef, day: date, sent: Iterable[tuple[int, DayOfUsage]]) -> None:
    """Add what platforms sent to a pool, by their numbers, ascending, so that two writers cannot deadlock."""
    for platform_id, usage in sorted(sent, key=lambda each: each[0]):
        ask(connection, _COUNT, (pool.pool_id, platform_id, day, usage.events, usage.batch_bytes))


def _put(connection: sa.Connection, table: sa.Table, key: dict[str, int], row: dict[str, Any]) -> None:
    insert = pg.insert(table).values(**key, **row)
    connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=row))
