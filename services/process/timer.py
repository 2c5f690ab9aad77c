"""Calls functions again and again, each independently, until it is stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread, current_thread
from typing import Final

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from ledger.errors import LedgerError

logger: Final = structlog.get_logger("moiety.timer")
logging.getLogger("apscheduler").setLevel(logging.ERROR)  # it warns of each turn that waits for the last one


@contextmanager
def every(seconds: float, *looks: Callable[[], object]) -> Iterator[None]:
    """Call each of these at once and then every so many seconds; none waits for another.

    APScheduler computes the time of the next call from the wall clock, so setting that back by an hour would stop
    all calls for an hour. A monotonic clock watches over it: if a call is overdue according to it, the call is made.
    If a call takes longer than the interval, the next one follows it. An exception is logged, one of
    ours once for as long as it stays the same, and the calls go on. At the end, calls in progress are finished.
    """
    scheduler = BackgroundScheduler(timezone=UTC, executors={"default": ThreadPoolExecutor(max(1, len(looks)))})
    clocks = [_Look(look) for look in looks]
    jobs = [
        scheduler.add_job(
            clock,
            "interval",
            seconds=seconds,
            next_run_time=datetime.now(UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
        for clock in clocks
    ]
    stopped = Event()

    def watch() -> None:
        while not stopped.wait(seconds):
            for clock, job in zip(clocks, jobs, strict=True):
                if clock.overdue(seconds):
                    job.modify(next_run_time=datetime.now(UTC) - timedelta(seconds=seconds))

    watcher = Thread(target=watch, name="timer", daemon=True)
    scheduler.start()
    watcher.start()
    try:
        yield
    finally:
        stopped.set()
        watcher.join()
        scheduler.shutdown(wait=True)


class _Look:
    """A call, and when it last started or ended by a clock that nobody sets."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look = look
        self._seen = time.monotonic()
        self._under_way = False
        self._name: str = getattr(look, "__qualname__", repr(look))
        self._failing = ""
        """Why it failed the last time, where that is for an operator to mend."""

    def __call__(self) -> None:
        self._under_way = True
        current_thread().name = self._name
        failing = ""
        try:
            self._look()
        except LedgerError as error:
            failing = str(error)
            if failing != self._failing:
                logger.warning("a periodic call failed", call=self._name, reason=failing)
        except Exception:
            logger.exception("a periodic call failed", call=self._name)
        finally:
            self._failing = failing
            self._seen, self._under_way = time.monotonic(), False

    def overdue(self, seconds: float) -> bool:
        """Returns whether it should have started again by now."""
        return not self._under_way and time.monotonic() - self._seen > 2 * seconds
