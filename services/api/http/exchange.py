"""One HTTP request and its answer: headers, a body of bounded size and duration, and pieces sent to whoever reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final
from urllib.parse import parse_qsl

from ledger.errors import InvalidInputError
from services.api.calls.door import IDLE_SECONDS, TAKE_SECONDS, MessageTooLargeError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

THROWN_AWAY: Final = 4
"""How many times too much of a body is read, and thrown away: clients hear an answer only behind what they send."""

PARAMETERS_MAX: Final = 20
"""Parameters of an address."""

CERTIFICATE: Final = "moiety.certificate"
"""The extension of ASGI's scope in which the connection says whose it is."""


class GoneError(Exception):
    """The caller went away, or reads no longer."""


class Exchange:
    """A request, and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self._headers: list[tuple[bytes, bytes]] = scope["headers"]
        self.certificate: str = scope.get("extensions", {}).get(CERTIFICATE, "")
        """The hash of the client certificate that TLS checked; empty where there is none."""
        self._receive = receive
        self._send = send
        self._more = True
        self.always: dict[str, str] = {}
        """Headers of every answer."""
        self.started = False

    def headers(self, name: str) -> list[str]:
        """Every value of a header, by its name in small letters."""
        wanted = name.encode()
        return [value.decode("latin-1") for key, value in self._headers if key == wanted]

    def header(self, name: str) -> str:
        """A header's first value; empty where there is none."""
        return next(iter(self.headers(name)), "")

    def parameters(self) -> dict[str, str]:
        """The parameters of the address; of those that are given twice, the first.

        Raises:
            InvalidInputError: there are too many.
        """
        try:
            given = parse_qsl(self.query.decode("latin-1"), keep_blank_values=True, max_num_fields=PARAMETERS_MAX)
        except ValueError:
            raise InvalidInputError.of("address", f"must have at most {PARAMETERS_MAX} parameters") from None
        return dict(reversed(given))

    async def pieces(self, seconds: float = IDLE_SECONDS) -> AsyncIterator[bytes]:
        """The body as it comes, none of which may be longer in coming.

        Raises:
            InvalidInputError: it was.
            GoneError: the caller went away.
        """
        while self._more:
            try:
                async with asyncio.timeout(seconds):
                    message = await self._receive()
            except TimeoutError:
                raise InvalidInputError.of("body", f"did not go on for {seconds:g} s") from None
            if message["type"] == "http.disconnect":
                raise GoneError
            self._more = bool(message.get("more_body"))
            yield message.get("body", b"")

    async def body(self, most: int, seconds: float) -> bytes:
        """The whole body.

        Raises:
            MessageTooLargeError: it has more bytes than `most`.
            InvalidInputError: it did not come within these seconds.
            GoneError: the caller went away.
        """
        found, size = bytearray(), 0
        try:
            async with asyncio.timeout(seconds):
                async for piece in self.pieces(seconds):
                    size += len(piece)
                    if size <= most:
                        found += piece
                    elif size > THROWN_AWAY * most:
                        break  # whoever sends so much does not hear why
        except TimeoutError:
            raise InvalidInputError.of("body", f"did not come within {seconds:g} s") from None
        if size > most:
            raise MessageTooLargeError(size, most)
        return bytes(found)

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Begin the answer. Where the body was not read to its end, the connection ends with the answer."""
        said = {**self.always, **headers}
        if self._more and self.method == "POST":
            said["connection"] = "close"
        self.started = True
        encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in said.items()]
        await self._told({"type": "http.response.start", "status": status, "headers": encoded})

    async def give(self, piece: bytes, *, more: bool = True) -> None:
        """Send a piece of the answer; waits while its reader has enough unread.

        Raises:
            GoneError: the reader takes nothing any more.
        """
        await self._told({"type": "http.response.body", "body": piece, "more_body": more})

    async def answer(self, status: int, content_type: str, body: bytes, **headers: str) -> None:
        """Give a whole answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        length = {"content-type": content_type, "content-length": str(len(body))}
        await self.start(status, {**length, "x-content-type-options": "nosniff", **named})
        await self.give(body, more=False)

    async def gone(self) -> None:
        """Return when the caller has gone away. To be awaited once the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _told(self, message: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                await self._send(message)
        except TimeoutError:
            raise GoneError from None
