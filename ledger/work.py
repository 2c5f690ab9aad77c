"""Work that is waited for: by whoever started it, in threads if the caller has them, or by whoever has their turn."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Protocol, TypeVar

T = TypeVar("T")


class Submit(Protocol):
    """Starts work, and returns what waits for its result."""

    def __call__(self, work: Callable[[], T], /) -> Callable[[], T]: ...


def at_once(work: Callable[[], T]) -> Callable[[], T]:
    """Do the work at once."""
    done = work()
    return lambda: done


class Turn:
    """What one thread waits for, until another one wakes it: a lock that is held until then, far less than an event."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = Lock()
        self._held.acquire()

    def wait(self) -> None:
        """Wait, once."""
        self._held.acquire()

    def wake(self) -> None:
        """End the wait, once."""
        self._held.release()
