"""The door: limits what a call may cost before its message is looked at.

gRPC gives a call with one request to a thread, which then waits for the message for as long as its caller likes. So
every method is registered as one that takes a stream of bytes: the caller is authenticated and authorised before
anything is waited for, and a message that does not come ends the call.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


class Waiting:
    """Calls that wait for their next message. A call that waits too long is cancelled, which frees its thread."""

    def __init__(self) -> None:
        self._until: dict[int, tuple[float, Cancellable]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="door", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        self._thread.join()

    def begin(self, call: Cancellable, seconds: float) -> None:
        """Cancel a call unless what it waits for ends in time."""
        with self._lock:
            self._until[id(call)] = (time.monotonic() + seconds, call)

    def end(self, call: Cancellable) -> None:
        """The call waits no more."""
        with self._lock:
            self._until.pop(id(call), None)

    @contextmanager
    def at_most(self, seconds: float, call: Cancellable) -> Iterator[None]:
        """Cancel the call if what is done here takes longer."""
        self.begin(call, seconds)
        try:
            yield
        finally:
            self.end(call)

    def each(self, messages: Iterator[M], seconds: float, context: grpc.ServicerContext) -> Iterator[M]:
        """A call's messages, each of which must arrive in time. None is kept here while its successor is waited for."""
        return iter(partial(self._next, messages, seconds, context), None)

    def _next(self, messages: Iterator[M], seconds: float, context: grpc.ServicerContext) -> M | None:
        with self.at_most(seconds, context):
            return next(messages, None)

    def _watch(self) -> None:
        while not self._stopped.wait(1.0):
            now = time.monotonic()
            with self._lock:
                late = [call for until, call in self._until.values() if until < now]
            for call in late:
                call.cancel()


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
