"""What a provider answers is read up to a bound and for a time, whatever it unpacks to and however it comes."""

from __future__ import annotations

import gzip
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Final

import pytest

from services.access import openid_provider
from services.access.openid import Attempt, SignInError
from services.access.openid_provider import OpenIdProvider
from services.settings import Settings
from tests.support.programs import size_of

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def bomb() -> bytes:
    """Made where it is sent: it takes a second, and 300 MB."""
    return gzip.compress(b'{"access_token":"' + b"a" * 300_000_000 + b'"}', 1)


class _Provider(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        issuer = f"http://{self.headers['host']}"
        known = {"issuer": issuer, "token_endpoint": f"{issuer}/token"}
        self._answer(json.dumps(known).encode() if self.path.endswith("configuration") else bomb())

    def do_POST(self) -> None:
        self._answer(bomb())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if body is bomb():
            self.send_header("content-encoding", "gzip")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def issuer() -> Iterator[str]:
    bomb()  # not while the memory of who reads it is measured
    with ThreadingHTTPServer(("127.0.0.1", 0), _Provider) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _drip(connection: socket.socket, before: bytes, piece: bytes) -> None:
    with suppress(OSError), connection:
        connection.recv(65_536)
        connection.sendall(before)
        while True:
            connection.sendall(piece)
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("before", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\nx: ", b"y"),  # a header without end
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),  # a body that is as long as its connection
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ],
)
def test_an_answer_that_comes_byte_by_byte_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, before: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(openid_provider, "PROVIDER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    Thread(target=_drip, args=(server.accept()[0], before, piece), daemon=True).start()

        Thread(target=serve, daemon=True).start()
        issuer = f"http://127.0.0.1:{server.getsockname()[1]}"
        provider = OpenIdProvider(Settings(openid_issuer=issuer, openid_client_id="moiety"))
        attempt = Attempt.begin("visitor", "/", NOW)
        began = time.monotonic()
        with pytest.raises(SignInError, match="cannot be asked"):
            provider.address(attempt, f"{issuer}/return")
        provider._metadata = began, {"token_endpoint": issuer}
        with pytest.raises(SignInError, match="gave no token"):
            provider.identity(attempt, f"{issuer}/return", {"code": "x"}, NOW)
        assert time.monotonic() - began < 5
        server.shutdown(socket.SHUT_RDWR)


def test_a_token_that_unpacks_to_gigabytes_is_none(issuer: str) -> None:
    provider = OpenIdProvider(Settings(openid_issuer=issuer, openid_client_id="moiety"))
    before = size_of(os.getpid()).memory_mib
    with pytest.raises(SignInError, match="gave no token"):
        provider.identity(Attempt.begin("visitor", "/", NOW), f"{issuer}/return", {"code": "x"}, NOW)
    assert size_of(os.getpid()).memory_mib - before < 100
