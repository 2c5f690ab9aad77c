"""The server's side of a replay's processes."""

from __future__ import annotations

import os
import pickle
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any, Final

from audit.batches.weighing import BatchTotals, Summed
from audit.findings import Finding, FoundError
from ledger.errors import StoreUnavailableError
from ledger.store.postgres.calls import work_of_call
from ledger.usage.entries import UsageContent
from services.forks import Forks
from services.replaying.process import ENDS_AFTER_SECONDS, Ask, Source

PROCESSES: Final = 2
"""Of a replay, each with a connection to the database beyond those of the server."""

AT_FIRST: Final = min(PROCESSES, max(1, (os.cpu_count() or 1) - 1))
"""So many weigh while the server takes in the registry's log, for which it needs a processor itself."""

APART_FROM_BYTES: Final = 8 * 2**20
"""Bodies of so much are weighed in the time that it takes to fork processes."""

KEPT_SECONDS: Final = ENDS_AFTER_SECONDS / 2
"""How long those of a replay are kept for the next one: a fork and its first batch take as long as five others."""

LOOK_SECONDS: Final = 0.5
"""How often a replay that waits for a process looks whether its call was given up."""

_KEPT_MEMORY: Final = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
    "OPENBLAS_NUM_THREADS": "1",
}
"""As `services.process.memory` has it for a server, for the same arrays."""


class Team:
    """Processes that are about one replay: whichever of them is free takes the next batch that is dealt.

    Raises:
        OSError: they cannot be started.
    """

    def __init__(self, forks: Forks, size: int) -> None:
        self.ends: list[Connection] = []
        """One of each process, for what it answers."""
        self.taking = 0
        """How many of them take batches."""
        self.dealing, dealt = socket.socketpair(type=socket.SOCK_SEQPACKET)
        """Where each message is taken by one of them."""
        self.dealing.setblocking(False)
        self.unanswered = 0
        """Batches of which nothing was heard yet."""
        self.rested_at = time.monotonic()
        with dealt:
            try:
                for _ in range(size):
                    ours, theirs = socket.socketpair()
                    self.ends.append(Connection(ours.detach()))
                    with theirs:
                        forks.fork([theirs.fileno(), dealt.fileno()])
            except OSError:
                self.close()
                raise

    def begin(self, source: Source) -> None:
        """Have all of them take part in a replay. AT_FIRST of them take batches.

        Raises:
            OSError: one ended.
        """
        for end in self.ends:
            end.send(source)
        self.take(AT_FIRST)

    def take(self, count: int) -> None:
        """Have so many of them take batches, if they do not yet. Raises what `begin` does."""
        for end in self.ends[self.taking : count]:
            end.send(Ask.TAKE)
            self.taking += 1

    def rest(self) -> bool:
        """Have them forget the replay, and return whether they can have part in another."""
        self.rested_at = time.monotonic()
        try:
            for end in self.ends:
                end.send(Ask.REST)
        except OSError:
            return False
        self.taking = 0
        return self.unanswered == 0

    def is_ready(self) -> bool:
        """Whether all are there and will be, having rested for so short a time. Nothing is to be heard of them now."""
        return time.monotonic() - self.rested_at < KEPT_SECONDS and not any(end.poll() for end in self.ends)

    def close(self) -> None:
        """End them."""
        self.dealing.close()
        for end in self.ends:
            end.close()


class Replaying:
    """Has replays' batches weighed by processes: those of one replay at a time, once these can be forked at once."""

    def __init__(self) -> None:
        self._forks = Forks("services.replaying", lambda: os.environ | _KEPT_MEMORY)
        self._lock, self._in_use = Lock(), Lock()
        self._first: Team | None = None
        """One process, until it answers: what it was forked from is loaded then."""
        self._is_loaded = False
        self._kept: Team | None = None
        """Those of the last replay, of whoever has `_in_use`."""

    def load(self, wait_seconds: float | None = 0) -> bool:
        """Have loaded what the processes need, and return whether it is, after so many seconds at most.

        That takes as long as a short replay, so nobody waits for it but by wish; None waits for as long as it takes.
        """
        with self._lock:
            if self._is_loaded:
                return True
            try:
                if self._first is None:
                    self._first = Team(self._forks, 1)
                    self._first.ends[0].send(Ask.WHETHER_THERE)
                self._is_loaded = self._first.ends[0].poll(wait_seconds)
                if self._is_loaded:
                    self._first.ends[0].recv()
                    self._first.close()
            except (OSError, EOFError):
                self._is_loaded, self._first = False, None
            return self._is_loaded

    @contextmanager
    def weighing(self, source: Source) -> Iterator[Processes]:
        """Processes for one replay, which end with it if it does not come to its end."""
        with ExitStack() as stack:
            yield Processes(partial(self._begun, source, stack))

    def _begun(self, source: Source, stack: ExitStack) -> Team | None:
        """New processes, until the stack is closed; None if another replay has some, or no fork can be.

        Nobody waits until they are there: what is sent to them waits for them.
        """
        if not self.load() or not self._in_use.acquire(blocking=False):
            return None
        stack.callback(self._in_use.release)
        try:
            team = self._rested() or Team(self._forks, PROCESSES)
            stack.push(partial(self._ended, team))
            team.begin(source)
        except OSError:
            stack.close()
            return None
        return team

    def _rested(self) -> Team | None:
        """Those of the last replay, if they may still be there."""
        kept, self._kept = self._kept, None
        if kept is None or kept.is_ready():
            return kept
        kept.close()
        return None

    def _ended(self, team: Team, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Keep the processes of a replay, unless it was given up."""
        if error is None and team.rest():
            self._kept = team
        else:
            team.close()

    def close(self) -> None:
        """Start no more of them; those of a replay end with it."""
        with self._lock:
            for team in (self._first, self._kept):
                if team is not None:
                    team.close()
            self._forks.close()


class Processes:
    """Those of one replay: `audit.batches.weighing.Weighing`.

    Args:
        start: starts them, for a replay that is large enough; None if they cannot be now.
    """

    def __init__(self, start: Callable[[], Team | None]) -> None:
        self._start, self._work = start, work_of_call.get()
        self._team: Team | None = None
        self._ends: dict[int, Connection] = {}
        """By descriptor."""
        self._answering = select.poll()
        self._bytes = 0
        self._undealt: deque[bytes] = deque()
        """Leaves for which the socket has no room yet: it has for more than is weighed in a tenth of a second."""
        self._answers: dict[int, BatchTotals | Finding] = {}

    def begin(self, leaf_index: int, content: UsageContent) -> Callable[[], BatchTotals] | None:
        """Start to weigh a batch, and return what waits for it and raises the same.

        Raises:
            StoreUnavailableError: a process ended.
        """
        self._bytes += content.body_bytes
        if self._team is None and self._bytes > APART_FROM_BYTES:
            self._team = self._start()
            self._ends = {end.fileno(): end for end in self._team.ends} if self._team else {}
            for descriptor in self._ends:
                self._answering.register(descriptor, select.POLLIN)
        if self._team is None:
            return None
        self._undealt.append(pickle.dumps((leaf_index, content)))
        self._team.unanswered += 1
        self._deal(self._team)
        return partial(self._totals, self._team, leaf_index)

    def sums(self) -> list[Summed]:
        """The sum of each process.

        Raises:
            StoreUnavailableError: a process ended.
        """
        found: list[Summed] = []
        try:
            for end in self._ends.values():
                end.send(Ask.SUM)
        except OSError:
            raise StoreUnavailableError from None
        while len(found) < len(self._ends):
            found += self._heard()
        return found

    def _deal(self, team: Team, *, waits: bool = False) -> None:
        """Deal what there is room for; to all, if this process is about to wait for them."""
        try:
            if waits:
                team.take(PROCESSES)
            while self._undealt:
                team.dealing.send(self._undealt[0])
                self._undealt.popleft()
        except BlockingIOError:
            pass  # what comes to be answered makes room
        except OSError:
            raise StoreUnavailableError from None

    def _totals(self, team: Team, leaf_index: int) -> BatchTotals:
        while leaf_index not in self._answers:
            self._deal(team, waits=True)
            for answers in self._heard():
                team.unanswered -= len(answers)
                self._answers.update(answers)
        answer = self._answers.pop(leaf_index)
        if isinstance(answer, Finding):
            raise FoundError(answer)
        return answer

    def _heard(self) -> list[Any]:
        """What one process says, or several say that have something to say."""
        while not (ready := self._answering.poll(1_000 * LOOK_SECONDS)):
            if self._work and self._work.is_given_up:
                raise StoreUnavailableError
        try:
            return [self._ends[descriptor].recv() for descriptor, _ in ready]
        except (EOFError, OSError):
            raise StoreUnavailableError from None
