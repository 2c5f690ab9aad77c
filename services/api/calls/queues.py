"""The threads that calls run on, and who waits for one: in turn by principal, and not without end.

A queue in the order of arrival lets whoever sends the most wait the least. Here each principal has a queue of its own,
and a thread that becomes free takes the next call of the next principal. How many may wait is bounded, and shared
between those who wait: a call beyond its principal's share is refused at once, with a time to wait, while there is
still time to answer the others. Nor does one principal occupy all threads.

Small calls of one kind gather instead, and one thread does all that are there, those of each principal in turn.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock, local
from typing import Any, Final, TypeVar

from ledger.errors import LedgerError

T = TypeVar("T")

WAITING_PER_THREAD: Final = 8
"""Calls that may wait for each thread: a second or so of work, which callers' deadlines leave room for."""

TOGETHER_MAX: Final = 32
"""Calls that are done together: bounds how long one thread works for them."""

_TOGETHER: Final = "together"
"""In whose turn those are done; no principal has this name."""

_Job = tuple["Future[Any]", Callable[[], Any]]


class OverloadedError(LedgerError):
    """As many calls of `holder` wait for a thread as may."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder

    def __str__(self) -> str:
        return f"too many calls of {self.holder} are waiting; send fewer at a time"


class FairThreads:
    """Threads that take calls of each principal in turn.

    Args:
        threads: how many there are.
        name: theirs.
        of_one: how many of them one principal may have; three quarters by default.
        begin: what each does first.
    """

    def __init__(
        self, threads: int, name: str, *, of_one: int | None = None, begin: Callable[[], None] | None = None
    ) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=begin)
        self._most = WAITING_PER_THREAD * threads
        self._most_running = of_one or max(1, threads * 3 // 4)
        self._lock = Lock()
        self._queues: OrderedDict[str, deque[_Job]] = OrderedDict()
        """The principals who wait, the next one first; nobody who does not."""
        self._gathered: dict[Hashable, OrderedDict[str, deque[Any]]] = {}
        """What gathers, by kind and principal, the next one first; no kind of which nothing waits."""
        self._doing: Counter[Hashable] = Counter()
        """Threads that do groups of a kind, or are about to."""
        self._gathering: Counter[str] = Counter()
        """How many calls of each principal gather."""
        self._running: Counter[str] = Counter()
        self._here = local()
        """For whom this thread runs a call."""

    def has_room(self, holder: str) -> bool:
        """Returns whether another call of this principal may wait: each who waits has the same share."""
        with self._lock:
            waiting = len(self._queues.get(holder, ())) + self._gathering.get(holder, 0)
            if not waiting:
                return True
            return waiting < self._most // len((self._queues.keys() | self._gathering.keys()) - {_TOGETHER})

    def submit(self, holder: str, work: Callable[[], Any]) -> Future[Any]:
        """Run it when it is this principal's turn, and return what will come of it."""
        promised: Future[Any] = Future()
        with self._lock:
            self._queues.setdefault(holder, deque()).append((promised, work))
        # Which call a thread takes is decided when one is free.
        self._threads.submit(self._next)
        return promised

    def gather(
        self, kind: Hashable, holder: str, call: T, do_all: Callable[[Sequence[T]], None], at_once: int = 1
    ) -> None:
        """Have a call done with others of its kind, of which so many groups are done at a time."""
        with self._lock:
            self._gathering[holder] += 1
            self._gathered.setdefault(kind, OrderedDict()).setdefault(holder, deque()).append(call)
            is_enough = self._doing[kind] >= at_once
            if not is_enough:
                self._doing[kind] += 1
        if not is_enough:
            self.submit(_TOGETHER, lambda: self._do_gathered(kind, do_all))

    def _do_gathered(self, kind: Hashable, do_all: Callable[[Sequence[Any]], None]) -> None:
        while group := self._take_gathered(kind):
            others_wait = True
            try:
                do_all(group)
                others_wait = bool(self._queues)
            finally:
                if others_wait:  # they have their turn before the next group
                    self.submit(_TOGETHER, lambda: self._do_gathered(kind, do_all))
            if others_wait:
                return

    def _take_gathered(self, kind: Hashable) -> list[Any]:
        """Returns the next group; if it is empty, this thread does no more of the kind."""
        group: list[Any] = []
        with self._lock:
            by_holder = self._gathered.get(kind, OrderedDict())
            while by_holder and len(group) < TOGETHER_MAX:
                holder, calls = by_holder.popitem(last=False)
                group.append(calls.popleft())
                if calls:
                    by_holder[holder] = calls
                _less(self._gathering, holder)
            if not by_holder:
                self._gathered.pop(kind, None)
            if not group:
                _less(self._doing, kind)
        return group

    def of(self, holder: str) -> ThreadPoolExecutor:
        """These threads, as an executor that runs what a principal asks for."""
        return _Of(self, holder)

    def shutdown(self) -> None:
        """Finish all calls, those that wait too."""
        self._threads.shutdown()

    def _next(self) -> None:
        with self._lock:
            holder = next((each for each in self._queues if self._running[each] < self._most_running), None)
            if holder is None:
                return
            queue = self._queues[holder]
            promised, work = queue.popleft()
            self._queues.move_to_end(holder)
            if not queue:
                del self._queues[holder]
            self._running[holder] += 1
        self._here.holder = holder
        try:
            _run(promised, work)
        finally:
            with self._lock:
                _less(self._running, self._here.holder)
                passed_over = bool(self._queues)
            if passed_over:
                self._again()

    def run_for(self, holder: str) -> None:
        """Count this thread as another principal's, whose call turned out to be what it runs.

        A call waits, and begins, as that of whom its key was known to be of: an open stream would otherwise count for
        years as one of those who are not known yet, and keep these from a thread.
        """
        if self._here.holder == holder:
            return
        with self._lock:
            _less(self._running, self._here.holder)
            self._running[holder] += 1
            self._here.holder = holder
            passed_over = bool(self._queues)
        if passed_over:
            self._again()

    def _again(self) -> None:
        """Look once more: a call may have been passed over because its principal had its part of the threads."""
        try:
            self._threads.submit(self._next)
        except RuntimeError:  # shut down: what waits is taken here
            self._next()


def _less(counted: Counter[Any], what: Hashable) -> None:
    counted[what] -= 1
    if not counted[what]:
        del counted[what]


def _run(promised: Future[Any], work: Callable[[], Any]) -> None:
    if not promised.set_running_or_notify_cancel():
        return
    try:
        found = work()
    except BaseException as error:  # noqa: BLE001  # it is the caller's
        promised.set_exception(error)
    else:
        promised.set_result(found)


class _Of(ThreadPoolExecutor):
    """What gRPC takes as threads: it insists on this class, and calls `submit` alone."""

    def __init__(self, fair: FairThreads, holder: str) -> None:  # it has no threads of its own
        self._fair, self._holder = fair, holder

    def submit(self, work: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        return self._fair.submit(self._holder, lambda: work(*args, **named))
