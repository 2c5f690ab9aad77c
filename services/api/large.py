"""Messages that may be far larger once they are parsed: few are parsed and handled at a time, and the others wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Semaphore
from typing import Final

from services.api.door import TAKES_BODIES
from services.api.queues import OverloadedError

FREE_BYTES: Final = 2**16
"""A message of no more is parsed without waiting. A list of empty messages, two bytes each, is 45 times as large once
protobuf has parsed it: with one such message on each of 32 threads that is 90 MiB."""

AT_ONCE: Final = 2
"""Of the largest, 4 MiB, two take less than 400 MiB."""


class LargeMessages:
    """Large messages that are being handled, or wait on a thread for their turn.

    A principal has an eighth of the threads for them, and all together have half: those beyond are refused at once.
    """

    def __init__(self, threads: int) -> None:
        self._each = max(1, threads // 8)
        self._all = max(1, threads // 2)
        self._room = Semaphore(AT_ONCE)
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    @contextmanager
    def one(self, size_bytes: int, method: str, holder: str) -> Iterator[None]:
        """Wait for the turn of a message, and keep it meanwhile. Bodies are bytes for protobuf too, and need none.

        Raises:
            OverloadedError: as many messages of the holder, or of all, have or wait for a turn as may.
        """
        if size_bytes <= FREE_BYTES or method in TAKES_BODIES:
            yield
            return
        with self._lock:
            if self._counts[holder] >= self._each or self._counts.total() >= self._all:
                raise OverloadedError(holder)
            self._counts[holder] += 1
        try:
            with self._room:
                yield
        finally:
            with self._lock:
                self._counts[holder] -= 1
