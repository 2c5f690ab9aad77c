"""Sends each HTTP request to whom it concerns."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Final

import structlog

from services.api.contract import Services
from services.api.http.carried import Carrier
from services.api.http.connect import ConnectCalls
from services.api.http.downloads import Downloads
from services.api.http.exchange import Exchange, GoneError, Receive, Scope, Send
from services.api.http.openapi import document
from services.api.http.uploads import Uploads
from services.api.http.watching import Watching
from services.parts import Parts

logger: Final = structlog.get_logger("moiety.http")

Answer = Callable[[Exchange], Awaitable[None]]
Others = Callable[[Scope, Receive, Send], Awaitable[None]]

_CALLS: Final = "/moiety.v1."
_FILES: Final = "/v1/"
_USAGE: Final = re.compile(r"/v1/pools/([^/]{1,100})/usage")
_ASKED_HEADERS: Final = (
    "authorization, connect-protocol-version, connect-timeout-ms, content-encoding, content-type, grpc-timeout, "
    "traceparent, tracestate, x-grpc-web, x-request-id, x-user-agent"
)
_SHOWN_HEADERS: Final = "grpc-message, grpc-status, grpc-status-details-bin, x-request-id"
_PREFLIGHT_SECONDS: Final = 7200


class App:
    """The ASGI application."""

    def __init__(self, parts: Parts, services: Services, others: Others | None = None) -> None:
        """Take what answers every path that is not the API's: the console."""
        self._others = others
        self._origins = frozenset(filter(None, (text.strip() for text in parts.settings.http_origins.split(","))))
        self._carrier = Carrier(parts, services)
        self.watching = Watching(parts)
        self._calls = ConnectCalls(self._carrier)
        self._uploads = Uploads(self._carrier)
        self._downloads = Downloads(self._carrier, parts)
        self._pages: dict[str, Answer] = {
            "/openapi.json": self._described,
            "/livez": self.watching.live,
            "/readyz": self.watching.ready,
            "/metrics": self.watching.metrics,
        }

    @cached_property
    def _document(self) -> bytes:
        """Few ask for it, and a service starts sooner without."""
        return json.dumps(document(self._carrier.methods.values())).encode()

    async def _described(self, exchange: Exchange) -> None:
        await exchange.answer(200, "application/json", self._document)

    def close(self) -> None:
        """Finish what the threads do."""
        self._uploads.close()
        self._carrier.close()
        self.watching.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        exchange = Exchange(scope, receive, send)
        try:
            if self._others is not None and not self._is_ours(exchange.path):
                await self._others(scope, receive, send)
            else:
                await self._answer(exchange)
        except GoneError:
            return
        except Exception:
            logger.exception("request failed", path=exchange.path[:200])
            if not exchange.started:
                await exchange.answer(500, "text/plain", b"internal error\n")

    def _is_ours(self, path: str) -> bool:
        return path in self._pages or path.startswith((_CALLS, _FILES))

    async def _answer(self, exchange: Exchange) -> None:
        path = exchange.path
        uploaded = _USAGE.fullmatch(path)
        is_download = self._downloads.has(path)
        # What takes a key is for pages of other origins too, where it is set; what takes none is for no page.
        if (path.startswith(_CALLS) or uploaded or is_download) and await self._is_preflight(exchange):
            return
        page = self._pages.get(path)
        if path.startswith(_CALLS):
            await self._calls(exchange)
        elif uploaded:
            if await _is_by(exchange, "POST"):
                await self._uploads(exchange, uploaded[1])
        elif is_download:
            if await _is_by(exchange, "GET"):
                await self._downloads(exchange)
        elif page is None:
            await exchange.answer(404, "text/plain", b"nothing is here\n")
        elif await _is_by(exchange, "GET", "HEAD"):
            await page(exchange)

    async def _is_preflight(self, exchange: Exchange) -> bool:
        """Say which pages may call; whether that was all that was asked."""
        origin = exchange.header("origin")
        if origin in self._origins:
            exchange.always |= {"access-control-allow-origin": origin, "vary": "origin"}
            exchange.always["access-control-expose-headers"] = _SHOWN_HEADERS
        if exchange.method != "OPTIONS":
            return False
        if origin not in self._origins:
            await exchange.answer(403, "text/plain", b"pages of this origin may not call\n")
            return True
        exchange.always["access-control-allow-methods"] = "GET, POST"
        exchange.always["access-control-allow-headers"] = _ASKED_HEADERS
        exchange.always["access-control-max-age"] = str(_PREFLIGHT_SECONDS)
        await exchange.answer(204, "text/plain", b"")
        return True


async def _is_by(exchange: Exchange, *methods: str) -> bool:
    """Whether a request has one of these methods; it is refused otherwise."""
    if exchange.method in methods:
        return True
    allowed = ", ".join(methods)
    await exchange.answer(405, "text/plain", f"this takes {allowed}\n".encode(), allow=allowed)
    return False
