"""The demo's clock: the one stand-in for something real, so that nobody has to wait three months."""

from __future__ import annotations

from datetime import UTC, datetime
from threading import Lock


class DemoClock:
    """A clock that stands still until it is moved. Safe to read from any thread; gives UTC."""

    def __init__(self, start: datetime) -> None:
        self._lock = Lock()
        self._now = start.astimezone(UTC)

    def __call__(self) -> datetime:
        with self._lock:
            return self._now

    def move_to(self, moment: datetime) -> None:
        """Go on to a moment.

        Raises:
            ValueError: the moment is past: time does not run backwards.
        """
        with self._lock:
            if moment < self._now:
                raise ValueError(f"{moment} is before {self._now}")
            self._now = moment.astimezone(UTC)
