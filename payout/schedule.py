"""Schedules: when rounds are cut, and the one that cuts them.

The schedule says when; the log says what. A fire time is answered by a round that records it. Those that nobody
answered, because the service was down or a round was open, are answered together by the next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from ledger.errors import InvalidInputError, LedgerError
from ledger.store.database import Database
from ledger.store.each_pool import ask_each
from ledger.store.log import PoolRef
from payout.store import pools
from payout.store.pools import PoolSchedule
from payout.store.rounds import RoundRecord

logger: Final = logging.getLogger(__name__)

CRON_FIELDS: Final = 5
"""Minute, hour, day of month, month, day of week."""

MAX_CRON_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class DueFireTimes:
    """Fire times that have come and that no round has answered."""

    first: datetime
    last: datetime
    count: int


def require_cron(cron: str, time_zone: str) -> None:
    """Check a schedule's expression and zone.

    Raises:
        InvalidInputError: the expression does not have the five fields of crontab(5), never fires, or the zone is
            unknown.
    """
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInputError.of("schedule.time_zone", f"{time_zone[:80]!r} is not an IANA time zone") from None
    if len(cron) > MAX_CRON_CHARACTERS or len(cron.split()) != CRON_FIELDS:
        raise InvalidInputError.of("schedule.cron", "must have five fields, as in crontab(5)")
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=zone)))
    except (CronSimError, StopIteration) as error:
        raise InvalidInputError.of("schedule.cron", f"is not a cron expression that fires: {error}") from None


def due_fire_times(schedule: PoolSchedule, now: datetime) -> DueFireTimes | None:
    """What is due at `now`: every fire time after the last one answered, or after the schedule was set."""
    first, last, count = None, None, 0
    for fire_time in CronSim(schedule.cron, _answered_until(schedule)):
        if fire_time > now:
            break
        first, last, count = first or fire_time, fire_time, count + 1
    return DueFireTimes(first, last, count) if first and last else None


def next_fire_time(schedule: PoolSchedule) -> datetime:
    """The first fire time that no round has answered; it may lie in the past."""
    return next(CronSim(schedule.cron, _answered_until(schedule))).astimezone(UTC)


def _answered_until(schedule: PoolSchedule) -> datetime:
    moment = max(schedule.updated_at, schedule.answered_until or schedule.updated_at)
    return moment.astimezone(ZoneInfo(schedule.time_zone))


class CalculatesDueRounds(Protocol):
    """What the scheduler needs of settlement."""

    def calculate_due(self, pool: PoolRef) -> RoundRecord | None:
        """Calculate the round that is due, if any."""


class Scheduler:
    """Looks at every schedule, whenever it is asked to, and has the rounds that are due calculated.

    Any number of processes may run one: the pool's lock and the round's keys let each fire time be answered once.
    """

    def __init__(self, database: Database, settlement: CalculatesDueRounds, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._settlement = settlement
        self._clock = clock

    def run_once(self) -> list[RoundRecord]:
        """Look at every schedule once, and give the rounds calculated. One pool's failure is not another's."""
        try:
            schedules = ask_each(self._database, pools.list_schedules)
        except LedgerError as error:
            logger.warning("schedules not read: %s", error)
            return []
        for pool in schedules.missed:
            logger.warning("schedule of pool %s not read: its part of the database is away", pool.name)
        calculated = []
        for schedule in schedules.found:
            # The first one alone: what is due may be months of minutes, and a round that is open answers none of it.
            if schedule.paused or next_fire_time(schedule) > self._clock():
                continue
            try:
                record = self._settlement.calculate_due(schedule.pool)
            except Exception:
                logger.exception("round of pool %s not calculated", schedule.pool.name)
                continue
            if record:
                logger.info("round %d of pool %s calculated", record.content.number, schedule.pool.name)
                calculated.append(record)
        return calculated
