"""Threads that wait for another one to wake them."""

from __future__ import annotations

from threading import Lock


class Sleeper:
    """What one thread waits by until another one wakes it: a lock that is held until then, far less than an event."""

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
