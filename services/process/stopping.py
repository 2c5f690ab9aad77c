"""What ends a process: SIGINT and SIGTERM, and a limit on how long it may take to end after them."""

from __future__ import annotations

import concurrent.futures.thread
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType
from typing import Final

import structlog

logger: Final = structlog.get_logger("moiety.stopping")

LAST_SECONDS: Final = 5.0
"""How long a process may take to end beyond the time that calls in progress have: to roll back, and to close."""

CUT_OFF: Final = 5
"""The exit status of a process that was ended with work in progress; the same as the command's for a service that does
not answer, because that is what holds it up."""

_LOOK_SECONDS: Final = 0.5

_NUMBER: Final = re.compile(r"_\d+$")
"""What a pool adds to the names of its threads."""


class _Stopped(Event):
    """An event that a signal may set while the main thread waits for it."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the event, by default without a limit."""
        if timeout is not None:
            return super().wait(timeout)
        # Python notices a signal that arrives just before its main thread sleeps only when the thread wakes up.
        while not super().wait(_LOOK_SECONDS):
            pass
        return True


@contextmanager
def until_stopped(drain_seconds: float) -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set; after either, another one of them ends the process at once.

    When the event is set, the body of the `with` statement has to end. If it has not `LAST_SECONDS` after the time to
    drain, the process ends with `CUT_OFF`, and says in its log what was in progress: Postgres may be silent, and
    whatever waits for it then waits without end. Nothing that was acknowledged is lost, since only what is committed
    is acknowledged, and Postgres rolls back what a closed connection had begun.
    """
    stopped, over = _Stopped(), Event()
    before: dict[signal.Signals, object] = {}

    def stop(_: int, __: FrameType | None) -> None:
        # By the kernel alone: Python handles no signal while its main thread waits for some locks.
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        # Not here: this may have interrupted the main thread while it holds the event's own lock.
        Thread(target=stopped.set).start()

    def limit() -> None:
        stopped.wait()
        if not over.wait(drain_seconds + LAST_SECONDS):
            logger.error("ended with work in progress", cut_off=_in_progress(), exit_status=CUT_OFF)
            os._exit(CUT_OFF)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, stop)
    Thread(target=limit, name="limit", daemon=True).start()
    try:
        yield stopped
    finally:
        over.set()
        stopped.set()
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # it is what signal.signal gave us


def _in_progress() -> dict[str, int]:
    """How many threads of each pool do something."""
    frames = sys._current_frames()  # noqa: SLF001  # nothing else says what other threads do
    busy = Counter(
        _NUMBER.sub("", thread.name)
        for thread in threading.enumerate()
        if thread.ident in frames and _is_busy(frames[thread.ident])
    )
    return dict(sorted(busy.items()))


def _is_busy(frame: FrameType) -> bool:
    """Whether a thread is one of a pool and does not wait there for more to do."""
    code = concurrent.futures.thread._worker.__code__  # noqa: SLF001  # nothing else tells them apart
    below = frame.f_back
    while below and below.f_code is not code:
        below = below.f_back
    return below is not None
