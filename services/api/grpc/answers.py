"""Answers that gRPC was given and callers have not taken yet: they are bounded in number, in bytes and in time.

For gRPC a call is under way until its handler is done. Then the answer waits in memory for as long as its caller's
window is shut, which HTTP/2 allows without end.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from typing import Final

import grpc

from services.api.calls.door import Wait, Waiting

ANSWER_SECONDS: Final = 10.0
"""How long the one answer of a call may wait to be taken."""

CALLS_MAX: Final = 4_096
"""Each is 20 KB in gRPC, however short its answer."""

BYTES_MAX: Final = 64 * 2**20


class Answers:
    """Answers that are not taken yet. Where they are too many, those that have waited the longest are cancelled."""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        self._lock = Lock()
        self._untaken: dict[Wait, int] = {}
        """The bytes of each, the oldest first."""
        self._bytes = 0

    def given(self, raw: bytes, context: grpc.ServicerContext) -> bytes:
        """Returns an answer that gRPC is given next, and counts it until its call is over."""
        wait = self._waiting.begin(context, ANSWER_SECONDS)
        with self._lock:
            self._untaken[wait] = len(raw)
            self._bytes += len(raw)
            is_crowded = len(self._untaken) > CALLS_MAX or self._bytes > BYTES_MAX
        if not context.add_callback(partial(self._over, wait)):
            self._over(wait)
        if is_crowded:
            self._make_room()
        return raw

    def _over(self, wait: Wait) -> None:
        self._waiting.end(wait)
        with self._lock:
            self._bytes -= self._untaken.pop(wait, 0)

    def _make_room(self) -> None:
        oldest: list[Wait] = []
        with self._lock:
            while len(self._untaken) > CALLS_MAX or (self._bytes > BYTES_MAX and len(self._untaken) > 1):
                oldest.append(next(iter(self._untaken)))
                self._bytes -= self._untaken.pop(oldest[-1])
        for wait in oldest:
            wait.call.cancel()
