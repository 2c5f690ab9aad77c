"""Looking again and again, in a thread of its own, until told to stop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from apscheduler.schedulers.background import BackgroundScheduler


@contextmanager
def every(seconds: float, *looks: Callable[[], object]) -> Iterator[None]:
    """Call each of these at once and then at this interval; none waits for another. Those under way are finished."""
    timer = BackgroundScheduler(timezone=UTC)
    for look in looks:
        timer.add_job(
            look,
            "interval",
            seconds=seconds,
            next_run_time=datetime.now(UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
    timer.start()
    try:
        yield
    finally:
        timer.shutdown(wait=True)
