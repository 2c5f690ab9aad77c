"""What ends a process: SIGINT and SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import FrameType
from typing import Final

_LOOK_SECONDS: Final = 0.5


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
def unwound() -> Iterator[None]:
    """SIGTERM ends what is inside from within, so that it takes away what it made; a second one has its usual effect.

    Raises:
        SystemExit: with 143, the status of what SIGTERM ends.
    """

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, before)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def until_stopped() -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set; a second signal has its usual effect."""
    stopped = _Stopped()
    before: dict[signal.Signals, object] = {}

    def stop(number: int, _: FrameType | None) -> None:
        # Not here: this may have interrupted the main thread while it holds the event's own lock.
        Thread(target=stopped.set).start()
        restore(signal.Signals(number))

    def restore(number: signal.Signals) -> None:
        signal.signal(number, before[number])  # type: ignore[arg-type]  # it is what signal.signal gave us

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, stop)
    try:
        yield stopped
    finally:
        for number in before:
            restore(number)
