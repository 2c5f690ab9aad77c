"""Sends each HTTP request to whom it concerns."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from services.api.contract import Services
from services.api.http.carried import Carrier
from services.api.http.connect import ConnectCalls
from services.api.http.exchange import Exchange, GoneError, Receive, Scope, Send
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
    "x-grpc-web, x-request-id, x-user-agent"
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
        self._pages: dict[str, Answer] = {
            "/livez": self.watching.live,
            "/readyz": self.watching.ready,
            "/metrics": self.watching.metrics,
        }

    def close(self) -> None:
        """Finish what the threads do."""
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
        if exchange.path.startswith(_CALLS):
            if not await self._is_preflight(exchange):
                await self._calls(exchange)
            return
        if matched := _USAGE.fullmatch(exchange.path):
            if await self._is_preflight(exchange):
                return
            if exchange.method != "POST":
                await exchange.answer(405, "text/plain", b"usage is sent by POST\n", allow="POST")
            else:
                await self._uploads(exchange, matched[1])
            return
        page = self._pages.get(exchange.path)
        if page is None:
            await exchange.answer(404, "text/plain", b"nothing is here\n")
        elif exchange.method not in ("GET", "HEAD"):
            await exchange.answer(405, "text/plain", b"this is read by GET\n", allow="GET, HEAD")
        else:
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
