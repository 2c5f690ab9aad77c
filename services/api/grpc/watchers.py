"""Watches over gRPC: a few threads send to all watchers.

gRPC's Python gives a stream of responses a thread for as long as it is open. Here the handler returns once the watch is
open (`experimental_non_blocking`), and one of these threads sends when there is something to say. A watcher that does
not read holds its thread for seconds, and a principal has only some of the threads at a time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Lock
from typing import Any, Final

import grpc
from grpc_status import rpc_status

from services.api.audit.watches import Watch, Watches
from services.api.calls.call import Call
from services.api.calls.door import Waiting
from services.api.calls.errors import for_trailers

THREADS: Final = 8
THREADS_EACH: Final = 2
"""A principal's most at a time."""

SEND_SECONDS: Final = 10.0
"""How long a watcher may take to take a message, before it is cut off."""


class Watcher:
    """One watch over gRPC.

    Args:
        watch: what is sent.
        call: the call that it is.
        context: the call's, as gRPC has it.
        send: sends a message, or ends the stream where it is given None.
        left: what to undo at the end.
        trailing: metadata of every answer.
    """

    def __init__(
        self,
        watch: Watch,
        call: Call,
        context: grpc.ServicerContext,
        send: Callable[[Any], None],
        left: ExitStack,
        trailing: tuple[tuple[str, str], ...],
    ) -> None:
        self.watch = watch
        self._call = call
        self._context: Any = context
        self._send = send
        self._left = left
        self._trailing = trailing
        self._lock = Lock()
        self._is_over = False
        self.is_queued = False
        self.is_woken = False

    def say(self, waiting: Waiting) -> bool:
        """Say what there is to say, a page of it; tells whether there may be more."""
        if self._is_over:
            return False
        try:
            message = self.watch.next(self._call.authenticated)
            if message is not None:
                with waiting.at_most(SEND_SECONDS, self._context):
                    self._send(message)
        except Exception as error:  # noqa: BLE001  # everything that leaves here is translated
            self._end(error)
            return False
        return self.watch.is_behind and not self._is_over

    def gone(self) -> None:
        """Take note that the caller went away."""
        if self._over():
            self._call.cancelled()

    def _end(self, error: Exception) -> None:
        if not self._over():
            return
        told: Any = rpc_status.to_status(for_trailers(self._call.refused(error)))
        self._context.set_code(told.code)
        self._context.set_details(told.details)
        self._context.set_trailing_metadata((*told.trailing_metadata, *self._trailing))
        self._send(None)

    def _over(self) -> bool:
        """Undo what is left; tells whether this was the first to end it."""
        with self._lock:
            was_over, self._is_over = self._is_over, True
        if not was_over:
            self._left.close()
        return not was_over


class Watchers:
    """All watchers by gRPC, and the threads that send to them."""

    def __init__(self, watches: Watches, waiting: Waiting) -> None:
        self.watches: Final = watches
        self._waiting = waiting
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="watch")
        self._lock = Lock()
        self._queue: deque[Watcher] = deque()
        self._busy: Counter[str] = Counter()

    def close(self) -> None:
        """Finish what is being sent."""
        self._threads.shutdown()

    def wake(self, watcher: Watcher) -> None:
        """Have a thread ask the watcher what it has to say, soon."""
        with self._lock:
            if watcher.is_queued:
                watcher.is_woken = True
                return
            watcher.is_queued = True
            self._queue.append(watcher)
            self._dispatch()

    def _dispatch(self) -> None:
        """Give waiting watchers to free threads. The lock is held."""
        for _ in range(len(self._queue)):
            if self._busy.total() >= THREADS:
                return
            watcher = self._queue.popleft()
            if self._busy[watcher.watch.holder] >= THREADS_EACH:
                self._queue.append(watcher)
                continue
            self._busy[watcher.watch.holder] += 1
            self._threads.submit(self._run, watcher)

    def _run(self, watcher: Watcher) -> None:
        has_more = False
        try:
            has_more = watcher.say(self._waiting)
        finally:
            with self._lock:
                self._busy[watcher.watch.holder] -= 1
                if has_more or watcher.is_woken:  # behind those who wait
                    self._queue.append(watcher)
                else:
                    watcher.is_queued = False
                watcher.is_woken = False
                self._dispatch()
