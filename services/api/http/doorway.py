"""What a connection may cost before it has asked for anything, and beside what it asks for.

uvicorn waits without end for a first request, and for the rest of a header that comes byte by byte. Here each
connection has a deadline for the header of its next request, and where there are too many, the one that has been idle
for longest makes room.

Nor does uvicorn bound what httptools reads. Here a request may have so much of a header, so much around its body, and
so many others behind it; whatever has more is refused by a status, or by the end of the connection where an answer to
an earlier request is due.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from ledger.errors import InvalidInputError
from services.access.certificates import certificate_hash
from services.api.http.exchange import CERTIFICATE, Receive, Scope, Send

HEADER_SECONDS: Final = 10.0
"""How long the header of a request may take to come, from when the connection is there or its last answer went out."""


HEADERS_MAX: Final = 100
"""Headers of a request, each of which takes longer to read than a hundred bytes of a body."""

AROUND_BYTES_MAX: Final = 16 * 1024
"""Bytes of a request beside its body: its header, the sizes of its chunks and what else is between them. A body may
have as many bytes around it as of its own, so chunks of one byte are soon too many."""

PIECES_MAX: Final = 1_000
PIECE_BYTES: Final = 16
"""A body may come in so many pieces, and in one more for each of so many bytes."""

BEHIND_MAX: Final = 16
"""Requests that may wait for the answer to the one before them."""

_VERSIONS: Final = ("1.0", "1.1")
_BAD_REQUEST: Final = 400
_HEADER_TOO_LARGE: Final = 431


class _RefusedError(Exception):
    """A request that is not answered by the application."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


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


class _Bounded(HttpToolsProtocol):
    """A connection that tells the doorway what it does, and has its bounds."""

    doorway: Doorway
    handshakes: Handshakes
    _around = 0
    """Bytes of the request that are not of its body, less as many as its body has."""
    _hosts = 0
    _pieces = 0
    _body_bytes = 0
    _has_header = False
    _is_deaf = False
    """Whether nothing more is listened to."""

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
        """Read what came, a part at a time, so that no bound is passed by more than one part."""
        self._unset_keepalive_if_required()
        for part in (memoryview(data)[at : at + AROUND_BYTES_MAX] for at in range(0, len(data), AROUND_BYTES_MAX)):
            if self._is_deaf or self.transport.is_closing():
                return
            self._read(part)
        self._look()

    def _read(self, part: memoryview) -> None:
        self._around += len(part)
        try:
            self.parser.feed_data(part)
            if self._around > AROUND_BYTES_MAX:
                raise _RefusedError(_BAD_REQUEST if self._has_header else _HEADER_TOO_LARGE)
        except httptools.HttpParserUpgrade:  # another protocol would follow, which nothing here speaks
            self._is_deaf = True
            self.cycle.keep_alive = False
        except _RefusedError as error:
            self._refuse(error.status)
        except httptools.HttpParserError as error:
            refused = error.__context__
            self._refuse(refused.status if isinstance(refused, _RefusedError) else _BAD_REQUEST)

    def _refuse(self, status: int) -> None:
        """Answer a request by a status alone, and end the connection."""
        self._is_deaf = True
        cycle: Any = self.cycle  # None before the first request, which its type does not say
        is_due = cycle is not None and not cycle.response_complete
        if self.pipeline or (is_due and (cycle.response_started or not self._has_header)):
            self.leave()  # what would be read as the answer to another request, or as a part of it
            return
        if is_due:
            cycle.disconnected = True
            cycle.message_event.set()
        line = STATUS_LINE[status]
        self.transport.write(line + b"connection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a request: httptools has met its first byte."""
        if len(self.pipeline) >= BEHIND_MAX:
            raise _RefusedError(_BAD_REQUEST)
        super().on_message_begin()
        self._around = self._hosts = self._pieces = self._body_bytes = 0
        self._has_header = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a body are left, for nothing here asks for any."""
        if self._has_header:
            return
        if len(self.headers) >= HEADERS_MAX:
            raise _RefusedError(_HEADER_TOO_LARGE)
        super().on_header(name, value)
        self._hosts += self.headers[-1][0] == b"host"

    def on_headers_complete(self) -> None:
        """Have the application answer."""
        version = self.parser.get_http_version()
        if version not in _VERSIONS or self._hosts > 1 or (version == "1.1" and not self._hosts):
            raise _RefusedError(_BAD_REQUEST)  # RFC 9112, 3.2
        super().on_headers_complete()
        self._has_header = True

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._pieces += 1
        self._body_bytes += len(body)
        self._around -= 2 * len(body)  # it was counted as what is around the body
        if self._pieces > PIECES_MAX + self._body_bytes // PIECE_BYTES:
            raise _RefusedError(_BAD_REQUEST)
        super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete and self.cycle.more_body:
            self.transport.close()  # nobody reads the rest
        self._look()

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle
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


def bounded_protocol(most: int, header_seconds: float, handshakes: Handshakes) -> type[HttpToolsProtocol]:
    """Uvicorn's protocol for one server, with the bounds of this module."""
    own = {"doorway": Doorway(most, header_seconds), "handshakes": handshakes}
    made: Any = type("BoundedProtocol", (_Bounded,), own)
    bounded: type[HttpToolsProtocol] = made
    return bounded
