"""What a provider answers is read up to a bound, whatever it unpacks to."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

import pytest

from services.access.openid import Attempt, SignInError
from services.access.openid_provider import OpenIdProvider
from services.settings import Settings
from tests.support.programs import size_of

BOMB: Final = gzip.compress(b'{"access_token":"' + b"a" * 300_000_000 + b'"}', 1)
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


class _Provider(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        issuer = f"http://{self.headers['host']}"
        known = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
        self._answer(json.dumps(known).encode() if self.path.endswith("configuration") else BOMB)

    def do_POST(self) -> None:
        self._answer(BOMB)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if body is BOMB:
            self.send_header("content-encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def issuer() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Provider) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_token_that_unpacks_to_gigabytes_is_none(issuer: str) -> None:
    provider = OpenIdProvider(Settings(openid_issuer=issuer, openid_client_id="moiety"))
    before = size_of(os.getpid()).memory_mib
    with pytest.raises(SignInError, match="gave no token"):
        provider.identity(Attempt.begin("visitor", "/", NOW), f"{issuer}/return", {"code": "x"}, NOW)
    assert size_of(os.getpid()).memory_mib - before < 100
