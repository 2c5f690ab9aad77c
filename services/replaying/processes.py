"""The server's side of a replay's processes."""

from __future__ import annotations

import os
import socket
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
from services.replaying.process import Source

PROCESSES: Final = 2
"""Of a replay, each with a connection to the database beyond those of the server."""

APART_FROM_BYTES: Final = 8 * 2**20
"""Bodies of so much are weighed in the time that it takes to fork processes."""

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


class Replaying:
    """Has replays' batches weighed by processes: those of one replay at a time, once these can be forked at once."""

    def __init__(self) -> None:
        self._forks = Forks("services.replaying", lambda: os.environ | _KEPT_MEMORY)
        self._lock, self._in_use = Lock(), Lock()
        self._first: Connection | None = None
        """The end of the first process, until it answers: what it was forked from is loaded then."""
        self._is_loaded = False

    def load(self, wait_seconds: float | None = 0) -> bool:
        """Have loaded what the processes need, and return whether it is, after so many seconds at most.

        That takes as long as a short replay, so nobody waits for it but by wish; None waits for as long as it takes.
        """
        with self._lock:
            if self._is_loaded:
                return True
            try:
                if self._first is None:
                    self._first = self._fork()
                    self._first.send(None)
                self._is_loaded = self._first.poll(wait_seconds)
                if self._is_loaded:
                    self._first.recv()
                    self._first.close()
            except (OSError, EOFError):
                self._is_loaded, self._first = False, None
            return self._is_loaded

    @contextmanager
    def weighing(self, source: Source) -> Iterator[Processes]:
        """Processes for one replay, which end with it."""
        with ExitStack() as stack:
            yield Processes(partial(self._begun, source, stack))

    def _begun(self, source: Source, stack: ExitStack) -> list[Connection]:
        """The ends of new processes, until the stack is closed; none if another replay has some, or no fork can be.

        Nobody waits until they are there: what is sent to them waits for them.
        """
        if not self.load() or not self._in_use.acquire(blocking=False):
            return []
        stack.callback(self._in_use.release)
        try:
            ends = [stack.enter_context(self._fork()) for _ in range(PROCESSES)]
            for end in ends:
                end.send(source)
        except OSError:
            stack.close()
            return []
        return ends

    def close(self) -> None:
        """Start no more of them; those of a replay end with it."""
        with self._lock:
            if self._first is not None:
                self._first.close()
            self._forks.close()

    def _fork(self) -> Connection:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._forks.fork([theirs.fileno()])
            return Connection(ours.detach())


class Processes:
    """Those of one replay: `audit.batches.weighing.Weighing`. Leaves are dealt to them in turn.

    Args:
        start: starts them, for a replay that is large enough; none if they cannot be now.
    """

    def __init__(self, start: Callable[[], list[Connection]]) -> None:
        self._start, self._work = start, work_of_call.get()
        self._ends: list[Connection] = []
        self._bytes, self._turn = 0, 0
        self._asked: dict[Connection, deque[int]] = {}
        """The leaves that each still has to answer, in order."""
        self._answers: dict[int, BatchTotals | Finding] = {}

    def begin(self, leaf_index: int, content: UsageContent) -> Callable[[], BatchTotals] | None:
        """Start to weigh a batch, and return what waits for it and raises the same.

        Raises:
            StoreUnavailableError: a process ended.
        """
        self._bytes += content.body_bytes
        if not self._ends and self._bytes > APART_FROM_BYTES:
            self._ends = self._start()
            self._asked = {end: deque() for end in self._ends}
        if not self._ends:
            return None
        end, self._turn = self._ends[self._turn % len(self._ends)], self._turn + 1
        self._send(end, (leaf_index, content))
        self._asked[end].append(leaf_index)
        return partial(self._totals, end, leaf_index)

    def sums(self) -> list[Summed]:
        """The sum of each process.

        Raises:
            StoreUnavailableError: a process ended.
        """
        for end in self._ends:
            self._send(end, None)
        return [self._receive(end) for end in self._ends]

    def _totals(self, end: Connection, leaf_index: int) -> BatchTotals:
        while leaf_index not in self._answers:
            self._answers[self._asked[end].popleft()] = self._receive(end)
        answer = self._answers.pop(leaf_index)
        if isinstance(answer, Finding):
            raise FoundError(answer)
        return answer

    def _send(self, end: Connection, said: Any) -> None:
        try:
            end.send(said)
        except OSError:
            raise StoreUnavailableError from None

    def _receive(self, end: Connection) -> Any:
        try:
            while not end.poll(LOOK_SECONDS):
                if self._work and self._work.is_given_up:
                    raise StoreUnavailableError
            return end.recv()
        except (EOFError, OSError):
            raise StoreUnavailableError from None
