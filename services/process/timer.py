"""Calling something again and again, in a thread of its own, until told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

import structlog

logger: Final = structlog.get_logger("moiety.timer")


@contextmanager
def every(seconds: float, *looks: Callable[[], object]) -> Iterator[None]:
    """Call each of these at once and then every so many seconds; none waits for another.

    An interval is measured by a clock that nobody sets, so a wall clock that jumps stops nothing. A call that takes
    longer than the interval is followed by the next one at once. An exception is logged, and the next call comes all
    the same. At the end, calls under way are finished.
    """
    stopped = Event()
    threads = [Thread(target=_repeat, args=(look, seconds, stopped), name="timer", daemon=True) for look in looks]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _repeat(look: Callable[[], object], seconds: float, stopped: Event) -> None:
    while not stopped.is_set():
        next_look = time.monotonic() + seconds
        try:
            look()
        except Exception:
            logger.exception("a periodic call failed", call=getattr(look, "__qualname__", repr(look)))
        stopped.wait(max(0.0, next_look - time.monotonic()))
