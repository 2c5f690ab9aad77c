"""What a connection may cost before it has asked for anything.

uvicorn waits without end for a first request, and for the rest of a header that comes byte by byte. Here each
connection has a deadline for the header of its next request, and where there are too many, the one that has been idle
for longest makes room.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from ledger.errors import InvalidInputError
from services.access.certificates import certificate_hash
from services.api.http.exchange import CERTIFICATE, Receive, Scope, Send

HEADER_SECONDS: Final = 10.0
"""How long the header of a request may take to come, from when the connection is there or its last answer went out."""


class Doorway:
    """The connections of one server that wait for a request, the longest first. Used in the server's loop alone."""

    def __init__(self, most: int, header_seconds: float) -> None:
        self._most = most
        self._open = 0
        self._header_seconds = header_seconds
        self._idle: dict[_Bounded, asyncio.TimerHandle] = {}

    def opened(self, connection: _Bounded) -> None:
        """Count a new connection, and have the one that was idle for longest make room where there are too many.

        That is the new one itself where all others have sent a request.
        """
        self._open += 1
        self.idle(connection)
        if self._open > self._most:
            oldest = next(iter(self._idle))
            self.busy(oldest)
            oldest.leave()

    def closed(self, connection: _Bounded) -> None:
        """Count a connection no more."""
        self._open -= 1
        self.busy(connection)

    def idle(self, connection: _Bounded) -> None:
        """Give a connection until the deadline to send the header of its next request, unless it has one already."""
        if connection not in self._idle:
            timer = asyncio.get_running_loop().call_later(self._header_seconds, connection.leave)
            self._idle[connection] = timer

    def busy(self, connection: _Bounded) -> None:
        """A request is there, or the connection is gone."""
        if timer := self._idle.pop(connection, None):
            timer.cancel()


class Handshakes:
    """The connections of one server that have not agreed on TLS yet, the oldest first: asyncio shows them to nobody."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[int, socket.socket] = {}

    def began(self, connection: socket.socket) -> None:
        """Count a new connection, and have the oldest make room where there are too many."""
        self.ended(connection.fileno())
        self._waiting[connection.fileno()] = connection
        if len(self._waiting) > self._most:
            oldest = self._waiting.pop(next(iter(self._waiting)))
            with suppress(OSError):  # it has ended already
                oldest.shutdown(socket.SHUT_RDWR)

    def ended(self, number: int) -> None:
        """Count the connection of this descriptor no more."""
        self._waiting.pop(number, None)


class Listening(socket.socket):
    """A socket on which TLS is spoken, and whose connections are counted from when they are there."""

    def __init__(self, bound: socket.socket, handshakes: Handshakes) -> None:
        super().__init__(fileno=bound.detach())
        self._handshakes = handshakes

    def accept(self) -> tuple[socket.socket, Any]:
        """Take the next connection."""
        connection, address = super().accept()
        self._handshakes.began(connection)
        return connection, address


class _Bounded(H11Protocol):
    """A connection that tells the doorway what it does."""

    doorway: Doorway
    handshakes: Handshakes

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.handshakes.ended(transport.get_extra_info("socket").fileno())
        self.doorway.opened(self)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and (certificate := tls.getpeercert(binary_form=True)):
            try:
                self.app = _certified(self.app, certificate_hash(certificate))
            except InvalidInputError:
                self.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.doorway.closed(self)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._look()

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request, which its type does not say
        if cycle is None or cycle.response_complete:
            self.doorway.idle(self)
        else:
            self.doorway.busy(self)

    def leave(self) -> None:
        """Close the connection without a word: whoever sends no request gets no answer."""
        self.transport.abort()


def _certified(app: Any, certificate: str) -> Any:
    """The application, told in each request of a connection by which client certificate it was opened."""

    async def told(scope: Scope, receive: Receive, send: Send) -> None:
        extensions = {**scope.get("extensions", {}), CERTIFICATE: certificate}
        await app({**scope, "extensions": extensions}, receive, send)

    return told


def bounded_protocol(most: int, header_seconds: float, handshakes: Handshakes) -> type[H11Protocol]:
    """Uvicorn's protocol for one server, with the bounds of this module."""
    own = {"doorway": Doorway(most, header_seconds), "handshakes": handshakes}
    made: Any = type("BoundedProtocol", (_Bounded,), own)
    bounded: type[H11Protocol] = made
    return bounded
