"""Pools' schedules in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.errors import NotFoundError
from ledger.store import tables as lt
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.transactions import ask
from ledger.store.registry.acts import Effect, append_act
from payout.entries import PauseContent, ScheduleContent
from payout.rounds import Nothing
from payout.store import tables as t


@dataclass(frozen=True, slots=True)
class PoolSchedule:
    """When a pool's rounds are cut.

    `answered_until` is the last fire time that a round records or that was skipped, if any; `open_round` says whether
    a round waits for its decision. `skipped_at` is the last fire time that cut no round; `skipped_because` says why.
    """

    pool: PoolRef
    cron: str
    time_zone: str
    paused: bool
    leaf_index: int
    updated_at: datetime
    answered_until: datetime | None
    open_round: bool
    skipped_at: datetime | None = None
    skipped_because: Nothing | None = None


def schedule_act(
    connection: sa.Connection, pool: PoolRef, cron: str, time_zone: str, *, paused: bool
) -> ScheduleContent | PauseContent:
    """Returns the act that sets a pool's schedule: `PauseContent` if it pauses and changes nothing else."""
    existing = _find_schedule(connection, pool)
    if paused and existing and (existing.cron, existing.time_zone) == (cron, time_zone):
        return PauseContent()
    return ScheduleContent(cron=cron, time_zone=time_zone, paused=paused)


def _find_schedule(connection: sa.Connection, pool: PoolRef) -> PoolSchedule | None:
    row = connection.execute(_SCHEDULE, {"pool_id": pool.pool_id}).first()
    return _schedule(pool, row) if row else None


def _set_schedule(connection: sa.Connection, pool: PoolRef, content: ScheduleContent, now: datetime) -> PoolSchedule:
    existing = _find_schedule(connection, pool)
    same_times = existing and (existing.cron, existing.time_zone) == (content.cron, content.time_zone)
    values = {
        "cron": content.cron,
        "time_zone": content.time_zone,
        "paused": content.paused,
        "leaf_index": append_act(connection, pool, content, now),
        "updated_at": existing.updated_at if existing and same_times else now,
        "skipped_at": existing.skipped_at if existing and same_times else None,
        "skipped_because": existing.skipped_because if existing and same_times else None,
    }
    added = insert(t.schedule).values(pool_id=pool.pool_id, **values)
    connection.execute(added.on_conflict_do_update(index_elements=["pool_id"], set_=values))
    return get_schedule(connection, pool)


def _standing_schedule(connection: sa.Connection, pool: PoolRef, content: ScheduleContent) -> PoolSchedule | None:
    found = _find_schedule(connection, pool)
    wanted = (content.cron, content.time_zone, content.paused)
    return found if found and (found.cron, found.time_zone, found.paused) == wanted else None


def _schedule_version(connection: sa.Connection, pool: PoolRef, _: ScheduleContent) -> dict[str, str]:
    found = _find_schedule(connection, pool)
    return {"schedule": str(found.leaf_index if found else None)}


SET_SCHEDULE: Final = Effect(ScheduleContent, _set_schedule, _standing_schedule, rests_on=_schedule_version)
"""Sets when a pool's rounds are cut. Returns a `PoolSchedule`."""


def _pause(connection: sa.Connection, pool: PoolRef, content: PauseContent, now: datetime) -> PoolSchedule:
    values = {"paused": True, "leaf_index": append_act(connection, pool, content, now)}
    connection.execute(sa.update(t.schedule).where(t.schedule.c.pool_id == pool.pool_id).values(values))
    return get_schedule(connection, pool)


def _standing_pause(connection: sa.Connection, pool: PoolRef, _: PauseContent) -> PoolSchedule | None:
    found = get_schedule(connection, pool)
    return found if found.paused else None


PAUSE: Final = Effect(PauseContent, _pause, _standing_pause)
"""Pauses a pool's schedule. Returns a `PoolSchedule`; raises NotFoundError if the pool has none."""


def get_schedule(connection: sa.Connection, pool: PoolRef) -> PoolSchedule:
    """The pool's schedule.

    Raises:
        NotFoundError: the pool has no schedule.
    """
    found = _find_schedule(connection, pool)
    if found is None:
        raise NotFoundError(f"pools/{pool.name}/schedule")
    return found


_STANDS: Final = "SELECT FROM schedule WHERE pool_id = %s AND leaf_index = %s"


def still_stands(connection: sa.Connection, schedule: PoolSchedule) -> bool:
    """Whether a schedule was neither paused nor changed since it was read: each is a leaf, which the row names."""
    stands = (schedule.pool.pool_id, schedule.leaf_index)
    return bool(ask(connection, _STANDS, stands).rowcount)


def skip(connection: sa.Connection, pool: PoolRef, last_fire_time: datetime, because: Nothing) -> None:
    """Records that the fire times up to this one cut no round, so that they are not due any more."""
    values = {"skipped_at": last_fire_time, "skipped_because": because.value}
    connection.execute(sa.update(t.schedule).where(t.schedule.c.pool_id == pool.pool_id).values(values))


def list_schedules(connection: sa.Connection, pools: Sequence[PoolRef]) -> list[PoolSchedule]:
    """Returns the schedules of the pools that have one, in the order of the pools' numbers."""
    query = _SCHEDULES.where(log.of_pools(t.schedule, pools)).order_by(t.schedule.c.pool_id)
    refs = {pool.pool_id: pool for pool in pools}
    return [_schedule(refs[row.pool_id], row) for row in connection.execute(query)]


def _schedule(pool: PoolRef, row: Any) -> PoolSchedule:
    return PoolSchedule(
        pool,
        row.cron,
        row.time_zone,
        row.paused,
        row.leaf_index,
        row.updated_at,
        row.answered_until,
        row.open_round,
        row.skipped_at,
        Nothing(row.skipped_because) if row.skipped_because else None,
    )


def _with_rounds() -> sa.Select[Any]:
    answered = (
        sa.select(sa.func.max(t.round_.c.last_fire_time))
        .where(t.round_.c.pool_id == t.schedule.c.pool_id)
        .scalar_subquery()
    )
    decided = sa.exists().where(
        lt.decision.c.pool_id == t.round_.c.pool_id, lt.decision.c.subject == t.round_.c.leaf_index
    )
    waits = sa.exists().where(t.round_.c.pool_id == t.schedule.c.pool_id, ~decided)
    return sa.select(
        t.schedule,
        sa.func.greatest(answered, t.schedule.c.skipped_at).label("answered_until"),
        waits.label("open_round"),
    )


_SCHEDULES: Final = _with_rounds()
_SCHEDULE: Final = _SCHEDULES.where(t.schedule.c.pool_id == sa.bindparam("pool_id"))
"""Every schedule, and a pool's. Made once: making one takes longer than Postgres takes to run it."""
