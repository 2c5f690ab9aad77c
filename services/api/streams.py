"""Counts open streams: each occupies one of the threads that handle calls for as long as its caller likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from ledger.errors import LedgerError

ANYONE: Final = "anyone"
"""The holder that all callers without a key share."""


class TooManyStreamsError(LedgerError):
    """The limit of open streams is reached: `holder`'s own, or the total."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder

    def __str__(self) -> str:
        return f"too many open streams for {self.holder}, or in total"


class StreamLimit:
    """Limits open streams to a quarter of the threads for one holder, and three quarters in total.

    So some threads are always left for other calls, whatever is kept open.
    """

    def __init__(self, threads: int) -> None:
        self.each: Final = threads // 4
        self.all: Final = threads * 3 // 4
        self._open: Counter[str] = Counter()
        self._lock = Lock()

    @contextmanager
    def one(self, holder: str, most: int | None = None) -> Iterator[None]:
        """Count one stream as the holder's while it is open; `most` is the holder's own limit.

        Raises:
            TooManyStreamsError: the holder, or all together, have reached their limit.
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
