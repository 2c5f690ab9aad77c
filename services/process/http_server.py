"""The HTTP server: uvicorn on a thread of its own, beside gRPC's."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from contextlib import ExitStack
from threading import Thread
from typing import Any, Final

import uvicorn

from ledger.errors import InvalidInputError
from services.api.contract import Services
from services.api.http.app import App
from services.api.http.doorway import HEADER_SECONDS, Handshakes, Listening, bounded_protocol
from services.console.app import Console
from services.parts import Parts
from services.process.listening import bound_socket, client_ca, connections_allowed

KEEP_ALIVE_SECONDS: Final = 30
BACKLOG: Final = 1024

# It warns of each request that is none, which any stranger may send.
logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class _Loop(asyncio.SelectorEventLoop):
    """A loop whose servers do not wait for longer than for a header until TLS is agreed on: asyncio's own do for 60 s.

    A connection is counted by the doorway only then.
    """

    async def create_server(self, *args: Any, **named: Any) -> Any:
        bounded = {"ssl_handshake_timeout": HEADER_SECONDS} if named.get("ssl") else {}
        return await super().create_server(*args, **{**named, **bounded})


class _Config(uvicorn.Config):
    def get_loop_factory(self) -> type[_Loop]:
        return _Loop


class HttpServer:
    """The contract and everything else that HTTP has, on a socket."""

    def __init__(self, parts: Parts, services: Services) -> None:
        self._settings = parts.settings
        self._console = Console(parts, services)
        self._app = App(parts, services, self._console)
        app: Any = self._app
        self._handshakes = Handshakes(connections_allowed(8))
        config = _Config(
            app,
            http=bounded_protocol(connections_allowed(4), HEADER_SECONDS, self._handshakes),
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(parts.settings.drain_seconds)),
            ssl_certfile=parts.settings.tls_certificate_file,
            ssl_keyfile=parts.settings.tls_key_file,
            ssl_ca_certs=parts.settings.tls_client_ca_file if client_ca(parts.settings) else None,
            ssl_cert_reqs=ssl.CERT_OPTIONAL if parts.settings.tls_client_ca_file else ssl.CERT_NONE,
        )
        self._server = uvicorn.Server(config)
        self._thread: Thread | None = None

    def start(self) -> str:
        """Listen, and say at which address: the settings' own, with the port that was taken.

        Raises:
            InvalidInputError: the process cannot listen there.
        """
        settings = self._settings
        host = settings.http_listen.rpartition(":")[0]
        with ExitStack() as undone:
            listening = undone.enter_context(
                bound_socket(settings.http_listen, "MOIETY_HTTP_LISTEN", is_shared=settings.workers > 1)
            )
            if settings.tls_certificate_file:
                listening = undone.enter_context(Listening(listening, self._handshakes))
            self._thread = Thread(target=self._server.run, args=([listening],), name="http", daemon=True)
            self._thread.start()
            while not self._server.started and self._thread.is_alive():
                time.sleep(0.005)
            if not self._server.started:
                raise InvalidInputError.of("MOIETY_HTTP_LISTEN", f"cannot listen on {settings.http_listen}")
            undone.pop_all()
        return f"{host}:{listening.getsockname()[1]}"

    def begin_drain(self) -> None:
        """Take no more requests, and give those under way as long as the settings say."""
        self._app.watching.is_draining = True
        self._server.should_exit = True

    def drain(self) -> None:
        """Wait until that is over."""
        self.begin_drain()
        if self._thread is not None:
            self._thread.join()
        self._app.close()
        self._console.close()
