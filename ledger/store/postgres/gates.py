"""Gates: heavy work is let in by a few at a time, and those who wait for it come in turn by holder.

A semaphore lets in whoever came first, so whoever asks the most waits the least; and threads that all compute at once
take memory, and the interpreter, from everybody. A call waits before a gate until its turn, or until its caller gives
it up.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from threading import Lock
from typing import Final

from ledger.errors import QuotaError, StoreUnavailableError
from ledger.store.postgres.calls import work_of_call
from ledger.store.postgres.sleepers import Sleeper

HEAVY_AT_ONCE: Final = 2
"""Calls of a process that may read a whole batch, or a whole table of a round, at the same time: each takes up to some
hundred megabytes, and most of a processor."""

HEAVY_WAITING: Final = 8
"""Such calls that may wait: each keeps a thread that other calls could use."""

_RETRY_SECONDS: Final = 1


class Gate:
    """Lets in so many at a time, in turn by holder.

    It is passed before a connection is taken: those who wait would otherwise hold what those inside need.

    Args:
        at_once: how many are inside at a time.
        of_one: how many of them for one holder.
        waiting: how many may wait; None for any number. Where there is one more, the newest of the holder who has the
            most waiting is refused.
    """

    def __init__(self, at_once: int, *, of_one: int, waiting: int | None = None) -> None:
        self._at_once, self._of_one, self._most_waiting = at_once, of_one, waiting
        self._lock = Lock()
        self._queues: OrderedDict[str, deque[_Place]] = OrderedDict()
        """Those who wait by holder, the next one first; no holder of whom nobody waits."""
        self._inside: Counter[str] = Counter()

    @classmethod
    def for_heavy_calls(cls) -> Gate:
        """Returns the gate that calls of a process pass which read something whole."""
        return cls(HEAVY_AT_ONCE, of_one=1, waiting=HEAVY_WAITING)

    def waiting(self, holder: str) -> int:
        """How many of a holder wait."""
        with self._lock:
            return len(self._queues.get(holder, ()))

    @contextmanager
    def passed(self, holder: str) -> Iterator[None]:
        """Wait for this holder's turn, and be inside from then on.

        Raises:
            QuotaError: as many wait as may, and of no holder more than of this one.
            StoreUnavailableError: the call was given up before its turn.
        """
        place = self._queued(holder)
        try:
            work = work_of_call.get()
            with work.ended_by(partial(self._withdraw, holder, place)) if work else nullcontext():
                place.wait()
            if place.is_refused:
                raise QuotaError(holder, "calls_waiting", self._most_waiting or 0, _RETRY_SECONDS)
            if not place.is_inside:
                raise StoreUnavailableError
            yield
        finally:
            self._leave(holder, place)

    def _queued(self, holder: str) -> _Place:
        place = _Place()
        with self._lock:
            self._queues.setdefault(holder, deque()).append(place)
            self._let_in()
            if self._most_waiting is not None and sum(map(len, self._queues.values())) > self._most_waiting:
                self._refuse_one(holder)
        return place

    def _refuse_one(self, newest: str) -> None:
        """Refuse one who waits; of holders with as many waiting, this one loses. The lock is held."""
        holder = max(self._queues, key=lambda each: (len(self._queues[each]), each == newest))
        place = self._queues[holder].pop()
        if not self._queues[holder]:
            del self._queues[holder]
        place.is_refused = True
        place.wake()

    def _withdraw(self, holder: str, place: _Place) -> None:
        with self._lock:
            if place.is_inside or place not in self._queues.get(holder, ()):
                return
            self._queues[holder].remove(place)
            if not self._queues[holder]:
                del self._queues[holder]
        place.wake()

    def _leave(self, holder: str, place: _Place) -> None:
        self._withdraw(holder, place)
        with self._lock:
            if place.is_inside:
                self._inside -= Counter((holder,))
                self._let_in()

    def _let_in(self) -> None:
        """Let in whose turn it is, as many as there is room for. The lock is held."""
        while self._inside.total() < self._at_once:
            holder = next((each for each in self._queues if self._inside[each] < self._of_one), None)
            if holder is None:
                return
            queue = self._queues[holder]
            place = queue.popleft()
            self._queues.move_to_end(holder)
            if not queue:
                del self._queues[holder]
            self._inside[holder] += 1
            place.is_inside = True
            place.wake()


class _Place(Sleeper):
    """Somebody's place before a gate."""

    __slots__ = ("is_inside", "is_refused")

    def __init__(self) -> None:
        super().__init__()
        self.is_inside = self.is_refused = False
