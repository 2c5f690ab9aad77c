"""The door: limits what a call may cost before its message is looked at.

gRPC gives a call with one request to a thread, which then waits for the message for as long as its caller likes. So
every method is registered as one that takes a stream of bytes: the caller is authenticated and authorised before
anything is waited for, and a message that does not come ends the call.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import grpc

from ledger.errors import InvalidInputError, LedgerError
from ledger.usage.format import MAX_BODY_BYTES

M = TypeVar("M")

MESSAGE_SECONDS: Final = 10.0
"""How long a call with one request may take to send it; it occupies a thread meanwhile."""

IDLE_SECONDS: Final = 300.0
"""How long a stream may be silent; it occupies a thread meanwhile."""

TAKE_SECONDS: Final = 60.0
"""How long a caller may take nothing of what it is sent: of a stream's answer, or of any over HTTP."""

LOOKS_EVERY_SECONDS: Final = 0.25
"""How often waiting calls are looked at. One that is still there at its second look is silent: its message is not
merely on its way."""

SMALL_MESSAGE_BYTES: Final = 4 * 2**20
LARGE_MESSAGE_BYTES: Final = MAX_BODY_BYTES + 2**20
"""A batch's or a membership's body, with the fields around it."""

TAKES_BODIES: Final = frozenset(
    {
        "/moiety.v1.UsageService/AppendUsage",
        "/moiety.v1.RegistryService/CreateMembership",
    }
)
"""The methods whose messages may be large."""


class Cancellable(Protocol):
    """A call, as gRPC has it."""

    def cancel(self) -> Any:
        """End it."""


class MessageTooLargeError(LedgerError):
    """A message has more bytes than its method accepts."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(size, most)
        self.size = size
        self.most = most

    def __str__(self) -> str:
        return f"the message has {self.size:,} bytes, more than {self.most:,}"


class NoRoomError(LedgerError):
    """There is no room on disk for another file until those that are being read are done with."""

    def __str__(self) -> str:
        return "there is no room on disk for this file now"


@dataclass(slots=True, eq=False)  # not frozen, which doubles its cost: every call makes two
class Wait:
    """A call that waits for its caller.

    Attributes:
        until: when it is cancelled, on the monotonic clock, in seconds.
        since: when it began.
        silent_of: whose call it is, where it waits for its one message; empty where it waits for anything else.
    """

    call: Cancellable
    until: float
    since: float
    silent_of: str


class Waiting:
    """Calls that wait for their callers: for a message, or until an answer is taken.

    A call that waits too long is cancelled, which frees its thread. Nor may calls that have not sent their one message
    fill the threads meanwhile: where more than so many are silent, the principal who has the most of them loses the one
    that has waited the longest, and so on.

    Args:
        silent_most: how many calls may be silent; half of the threads, so that the others have the other half.
    """

    def __init__(self, silent_most: int) -> None:
        self._silent_most = silent_most
        self._waits: set[Wait] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="door", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        self._thread.join()

    def begin(self, call: Cancellable, seconds: float, silent_of: str = "") -> Wait:
        """Cancel a call unless what it waits for ends in time."""
        now = time.monotonic()
        wait = Wait(call, now + seconds, now, silent_of)
        with self._lock:
            self._waits.add(wait)
        return wait

    def end(self, wait: Wait) -> None:
        """The call waits no more."""
        with self._lock:
            self._waits.discard(wait)

    @contextmanager
    def at_most(self, seconds: float, call: Cancellable, silent_of: str = "") -> Iterator[None]:
        """Cancel the call if what is done here takes longer."""
        wait = self.begin(call, seconds, silent_of)
        try:
            yield
        finally:
            self.end(wait)

    def one(self, messages: Iterator[M], seconds: float, context: grpc.ServicerContext, holder: str) -> M | None:
        """Returns the one message of a principal's call; None if it has none."""
        with self.at_most(seconds, context, holder):
            return next(messages, None)

    def each(self, messages: Iterator[M], seconds: float, context: grpc.ServicerContext) -> Iterator[M]:
        """A call's messages, each of which must arrive in time. None is kept here while its successor is waited for."""
        return iter(partial(self._next, messages, seconds, context), None)

    def _next(self, messages: Iterator[M], seconds: float, context: grpc.ServicerContext) -> M | None:
        with self.at_most(seconds, context):
            return next(messages, None)

    def _watch(self) -> None:
        while not self._stopped.wait(LOOKS_EVERY_SECONDS):
            with self._lock:
                waits = [*self._waits]
            for wait in cut_off(waits, time.monotonic(), self._silent_most):
                wait.call.cancel()


def cut_off(waits: Sequence[Wait], now: float, silent_most: int) -> list[Wait]:
    """Returns which calls have waited too long, or are too many that are silent."""
    found = [wait for wait in waits if wait.until < now]
    silent = [wait for wait in waits if wait.silent_of and wait.since + LOOKS_EVERY_SECONDS < now <= wait.until]
    if len(silent) > silent_most:
        of: Mapping[str, deque[Wait]] = defaultdict(deque)
        for wait in sorted(silent, key=lambda wait: wait.since):
            of[wait.silent_of].append(wait)
        found += [max(of.values(), key=len).popleft() for _ in range(len(silent) - silent_most)]
    return found


def most_bytes(method: str) -> int:
    """Returns the largest message that a method accepts, in bytes."""
    return LARGE_MESSAGE_BYTES if method in TAKES_BODIES else SMALL_MESSAGE_BYTES


def parsed(raw: bytes, method: str, deserialize: Any) -> Any:
    """Returns the message in these bytes.

    Raises:
        MessageTooLargeError: there are more of them than the method accepts.
        InvalidInputError: they are not a message of its type.
    """
    if len(raw) > most_bytes(method):
        raise MessageTooLargeError(len(raw), most_bytes(method))
    try:
        return deserialize(raw)
    except Exception:  # noqa: BLE001  # protobuf raises several kinds, and says nothing that a caller could use
        raise InvalidInputError.of("request", "is not a message of the method's type") from None
