"""Counts open streams: each occupies one of the threads that handle calls for as long as its caller likes.

Where there is no room for another, the idlest is ended and told why. So a caller that keeps a stream for each of its
workers does not lock itself out, nor anyone else.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

from ledger.errors import LedgerError
from services.api.calls.large import LargeMessages

WATCHES_PER_THREAD: Final = 16
"""Four times as many are a principal's most, and twelve times as many all together."""

SHED_SECONDS: Final = 5.0
"""How long a stream must have had nothing under way before it may be ended to make room for another."""


class TooManyStreamsError(LedgerError):
    """The limit of open streams is reached, `holder`'s own or the total, and none of them is idle."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder

    def __str__(self) -> str:
        return f"too many open streams for {self.holder}, or in total"


class StreamShedError(LedgerError):
    """The stream was idle, and another one needed its place."""

    def __init__(self, idle_seconds: float) -> None:
        super().__init__(idle_seconds)
        self.idle_seconds = idle_seconds

    def __str__(self) -> str:
        return (
            f"ended after {self.idle_seconds:.0f} s without a message, to make room for another stream; open one again"
        )


class WatchesClosedError(LedgerError):
    """The service stops, and so do its watches."""

    def __str__(self) -> str:
        return "the service is stopping; watch again from where this ended"


class OpenStream:
    """A stream that is open. It is idle while nothing that it began is under way, or an answer waits to be taken."""

    def __init__(self, limit: StreamLimit, holder: str) -> None:
        self._limit = limit
        self.holder: Final = holder
        self.is_counted = False
        self.shed: Callable[[StreamShedError], None] | None = None
        """Ends the stream, without waiting; None where it may not be ended to make room."""
        self._cut: Callable[[], object] | None = None
        """Ends it without a reason while an answer is not taken; then nothing else would reach it."""
        self._under_way = 0
        self._idle_since = time.monotonic()

    def begin(self) -> bool:
        """Take note of a message; tells whether the stream is still open."""
        with self._limit.lock:
            self._under_way += 1
            return self.is_counted

    def end(self) -> None:
        """Take note that a message is answered."""
        with self._limit.lock:
            self._under_way -= 1
            self._idle_since = time.monotonic()

    @contextmanager
    def giving(self, cut: Callable[[], object]) -> Iterator[None]:
        """Take note that an answer waits for its caller meanwhile; `cut` ends the stream."""
        with self._limit.lock:
            self._idle_since, self._cut = time.monotonic(), cut
        try:
            yield
        finally:
            with self._limit.lock:
                self._idle_since, self._cut = time.monotonic(), None

    def may_be_shed(self) -> bool:
        """Whether it may be ended to make room, once it has been idle for long enough."""
        return self._cut is not None or self.shed is not None

    def end_for_another(self) -> None:
        """End it to make room for another."""
        if self._cut is not None:
            self._cut()
        elif self.shed is not None:
            self.shed(StreamShedError(self.idle_seconds()))

    def is_alone(self) -> bool:
        """Whether no other stream is open."""
        with self._limit.lock:
            return self._limit.total() <= 1

    def idle_seconds(self) -> float:
        """How long it has been idle."""
        is_idle = self._cut is not None or not self._under_way
        return time.monotonic() - self._idle_since if is_idle else 0.0

    def require_at_most(self, most: int) -> None:
        """Check that its holder has at most so many streams open; the holder's idlest other one makes room.

        Raises:
            TooManyStreamsError: the holder has more, and none of them is idle.
        """
        with self._limit.lock:
            if self._limit.count(self.holder) > most:
                self._limit.shed_idlest(self.holder, self.holder)


class StreamLimit:
    """Limits open streams to a quarter of the threads for one holder, and three quarters in total.

    So some threads are always left for other calls, whatever is kept open.

    Args:
        threads: how many there are.
        each: the holder's limit where it is another.
    """

    def __init__(self, threads: int, each: int | None = None) -> None:
        self.each: Final = threads // 4 if each is None else each
        self.all: Final = threads * 3 // 4
        self.lock: Final = Lock()
        self._counts: Counter[str] = Counter()
        self._open: set[OpenStream] = set()

    @contextmanager
    def one(self, holder: str) -> Iterator[OpenStream]:
        """Count one stream as the holder's while it is open.

        Raises:
            TooManyStreamsError: the holder, or all together, have as many open as they may, and none of them is idle.
        """
        stream = OpenStream(self, holder)
        with self.lock:
            if self._counts[holder] >= self.each:
                self.shed_idlest(holder, holder)
            elif self.total() >= self.all:
                self.shed_idlest(None, holder)
            self._open.add(stream)
            self._counts[holder] += 1
            stream.is_counted = True
        try:
            yield stream
        finally:
            with self.lock:
                self._leave(stream)

    def count(self, holder: str) -> int:
        """How many streams a holder has open. The lock is held."""
        return self._counts[holder]

    def total(self) -> int:
        """How many streams are open. The lock is held."""
        return self._counts.total()

    def shed_idlest(self, of: str | None, wanted_by: str) -> None:
        """End the stream of a holder, or of anyone, that has been idle the longest. The lock is held.

        Raises:
            TooManyStreamsError: none has been idle for long enough.
        """
        idle = [stream for stream in self._open if stream.may_be_shed() and of in (None, stream.holder)]
        idlest = max(idle, key=OpenStream.idle_seconds, default=None)
        if idlest is None or idlest.idle_seconds() < SHED_SECONDS:
            raise TooManyStreamsError(wanted_by)
        self._leave(idlest)
        idlest.end_for_another()

    def _leave(self, stream: OpenStream) -> None:
        if stream.is_counted:
            stream.is_counted = False
            self._open.discard(stream)
            self._counts[stream.holder] -= 1


class CallLimits:
    """What bounds calls by whatever carries them, so that nobody has twice as much by way of two ports."""

    def __init__(self, threads: int) -> None:
        self.streams: Final = StreamLimit(threads)
        # Three quarters of the threads for the calls of one principal: there are always some for the others.
        self.calls: Final = StreamLimit(3 * threads)
        # Reflection needs no key, so it has places of its own.
        self.reflection: Final = StreamLimit(threads, each=max(1, threads // 8))
        self.large: Final = LargeMessages()
        # Watches hold no thread while they wait.
        self.watches: Final = StreamLimit(WATCHES_PER_THREAD * threads)
