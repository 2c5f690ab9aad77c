"""Schedules: when rounds are cut, and the one that cuts them.

The schedule says when; the log says what. A round answers fire times by recording them. Fire times that passed while
the service was down or a round was open are answered together by the next round.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from importlib import resources
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from ledger.errors import (
    InvalidInputError,
    LedgerCorruptError,
    LedgerError,
    StateError,
    StoreUnavailableError,
)
from ledger.store.logs.log import PoolRef, clock_ahead
from ledger.store.pools.each_pool import ask_each
from ledger.store.postgres.database import Database
from ledger.store.postgres.faults import FAILED_READING
from ledger.store.postgres.transactions import read_time
from payout.store.rounds import RoundRecord
from payout.store.schedules import PoolSchedule, list_schedules

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
    if time_zone not in _zones():
        raise InvalidInputError.of("schedule.time_zone", "is not an IANA time zone: %(got)r", got=time_zone[:80])
    zone = ZoneInfo(time_zone)
    if len(cron) > MAX_CRON_CHARACTERS or len(cron.split()) != CRON_FIELDS:
        raise InvalidInputError.of("schedule.cron", "must have five fields, as in crontab(5)")
    try:
        next(CronSim(cron, datetime(2024, 1, 1, tzinfo=zone)))
    except (CronSimError, StopIteration) as error:
        raise InvalidInputError.of(
            "schedule.cron", "must be a cron expression that fires: %(why)s", why=str(error)
        ) from None


@cache
def _zones() -> frozenset[str]:
    """The zones that every server knows, by the package that comes with it.

    A machine's own files have others, such as `localtime`, which mean something else or nothing on the next machine.
    """
    return frozenset(resources.files("tzdata").joinpath("zones").read_text("utf-8").split())


def due_fire_times(schedule: PoolSchedule, now: datetime) -> DueFireTimes | None:
    """Returns what is due at `now`: every fire time after the last one answered, or after the schedule was set."""
    first, last, count = None, None, 0
    for fire_time in CronSim(schedule.cron, _answered_until(schedule)):
        if fire_time > now:
            break
        first, last, count = first or fire_time, fire_time, count + 1
    return DueFireTimes(first, last, count) if first and last else None


def next_fire_time(schedule: PoolSchedule) -> datetime:
    """Returns the first fire time that no round has answered; it may be in the past.

    Raises:
        LedgerCorruptError: the schedule is not one that `require_cron` takes, so it was changed since.
    """
    try:
        return _first_after(schedule.cron, schedule.time_zone, _answered_until(schedule).astimezone(UTC))
    except (CronSimError, StopIteration, OSError, *FAILED_READING) as error:
        raise LedgerCorruptError(f"pools/{schedule.pool.name}/schedule", "has no times at which it fires") from error


# Every look at the schedules asks it of each pool, and the answer changes once a round. The moment is in UTC: of two
# local times that the clocks repeat, Python says that they are the same.
@lru_cache(maxsize=65_536)
def _first_after(cron: str, time_zone: str, moment: datetime) -> datetime:
    return next(CronSim(cron, moment.astimezone(ZoneInfo(time_zone)))).astimezone(UTC)


def _answered_until(schedule: PoolSchedule) -> datetime:
    moment = max(schedule.updated_at, schedule.answered_until or schedule.updated_at)
    return moment.astimezone(ZoneInfo(schedule.time_zone))


_Step = Callable[[PoolRef], RoundRecord | None]

_THREADS: Final = 4
"""While Postgres works for one pool's round, another's is calculated."""


class CalculatesDueRounds(Protocol):
    """What the scheduler needs from settlement."""

    def calculate_due(self, pool: PoolRef, now: datetime) -> RoundRecord | None:
        """Calculate the round that is due, if any."""

    def post_unopposed(self, pool: PoolRef) -> RoundRecord | None:
        """Post the open round where its policy takes silence for consent, if its time has come."""


class Scheduler:
    """Checks every schedule when asked to, and has rounds calculated and posted when they are due.

    Any number of processes may run one: the pool's lock and the round's keys let one round answer each fire time.
    """

    def __init__(self, database: Database, settlement: CalculatesDueRounds) -> None:
        self._database = database
        self._settlement = settlement

    def run_once(self) -> list[RoundRecord]:
        """Check every schedule once, and return the rounds calculated or posted. A pool that fails affects no other.

        The database's clock decides what is due, as it times the leaves: machines' clocks may differ.
        """
        try:
            with self._database.reading() as connection:
                clock_ahead(connection)  # of years, all the minutes would be counted before nothing is logged
                now = read_time(connection)
            schedules = ask_each(self._database, list_schedules)
        except LedgerError as error:
            logger.warning("cannot read schedules: %s", error)
            return []
        for pool in schedules.missed:
            logger.warning("cannot read the schedule of pool %s: its database node is unavailable", pool.name)
        # Only what is due goes to threads: this looks every second, and hardly ever at anything that is.
        due = [(schedule.pool, steps) for schedule in schedules.found if (steps := self._steps(schedule, now))]
        with ThreadPoolExecutor(_THREADS, "schedule") as threads:
            return [record for records in threads.map(self._take_all, due) for record in records]

    def _steps(self, schedule: PoolSchedule, now: datetime) -> list[_Step]:
        steps: list[_Step] = []
        if schedule.paused:
            return steps
        if schedule.open_round:
            steps.append(self._settlement.post_unopposed)
        try:
            # The first one alone: what is due may be months of minutes, and a round that is open answers none of it.
            if next_fire_time(schedule) <= now:
                steps.append(partial(self._settlement.calculate_due, now=now))
        except LedgerCorruptError as error:
            logger.warning("cannot tell when the round of pool %s is due: %s", schedule.pool.name, error)
        return steps

    def _take_all(self, due: tuple[PoolRef, Sequence[_Step]]) -> list[RoundRecord]:
        pool, steps = due
        return [record for step in steps if (record := self._take(step, pool))]

    @staticmethod
    def _take(step: _Step, pool: PoolRef) -> RoundRecord | None:
        try:
            record = step(pool)
        except (StateError, StoreUnavailableError) as error:
            logger.warning("cannot calculate or post the round of pool %s: %s", pool.name, error)
            return None
        except Exception:
            logger.exception("cannot calculate or post the round of pool %s", pool.name)
            return None
        if record:
            logger.info("round %d of pool %s is now %s", record.content.number, pool.name, record.state.value)
        return record
