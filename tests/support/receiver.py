"""A real HTTP server in a thread that takes webhooks, and does what a test tells it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from standardwebhooks import Webhook

Handle = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> Handle:
    """Answers with a status."""

    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    return handle


@dataclass(frozen=True)
class Received:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def is_signed_by(self, secret: str) -> bool:
        """Whether one of the signatures is what Standard Webhooks' own library makes with a secret."""
        moment = datetime.fromtimestamp(int(self.headers["webhook-timestamp"]), UTC)
        made = Webhook(secret).sign(self.headers["webhook-id"], moment, self.body.decode())
        return made in self.headers["webhook-signature"].split(" ")


@dataclass
class Receiver:
    """What came, and what is answered next: `answers` in order, then 204."""

    port: int = 0
    received: list[Received] = field(default_factory=list)
    answers: list[Handle] = field(default_factory=list)
    stopped: Event = field(default_factory=Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=k"

    def ids(self) -> list[str]:
        return [each.event["id"] for each in self.received]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on the loopback."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            (receiver.answers.pop(0) if receiver.answers else answer(204))(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Whoever sends goes away when it has had enough."""

    server = Server(("127.0.0.1", 0), Handler)
    receiver.port = server.server_port
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def random_secret(filling: int) -> str:
    """A secret of these bytes."""
    return f"whsec_{base64.b64encode(bytes([filling]) * 32).decode()}"
