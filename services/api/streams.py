"""Open streams, counted: each holds one of the threads that calls are handled on for as long as its caller likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from ledger.errors import LedgerError

ANYONE: Final = "anyone"
"""The holder that all who call without a key are."""


class TooManyStreamsError(LedgerError):
    """As many streams are open as may be: `holder`'s own, or everyone's together."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder

    def __str__(self) -> str:
        return f"too many streams of {self.holder}, or in all, are open"


class StreamLimit:
    """How many streams may be open: a quarter of the threads for one holder, three quarters for all of them.

    So there are always threads for other calls, whatever is held open.
    """

    def __init__(self, threads: int) -> None:
        self.each: Final = threads // 4
        self.all: Final = threads * 3 // 4
        self._open: Counter[str] = Counter()
        self._lock = Lock()

    @contextmanager
    def one(self, holder: str, most: int | None = None) -> Iterator[None]:
        """Count one stream as the holder's while it is open; `most` is a limit of the holder's own.

        Raises:
            TooManyStreamsError: the holder, or all together, have as many open as they may.
        """
        each = self.each if most is None else min(most, self.each)
        with self._lock:
            if self._open[holder] >= each or self._open.total() >= self.all:
                raise TooManyStreamsError(holder)
            self._open[holder] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[holder] -= 1
