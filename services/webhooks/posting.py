"""One attempt to post an event: to an address that was checked, within a time, reading no more than a little.

http.client and not a library, because all that matters here is to which address a socket is connected, that no redirect
and no proxy leads elsewhere, and that everything ends in time.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import Event
from typing import Final

from ledger.errors import Sentence
from services.cutoff import cut_off_after
from services.webhooks.addresses import Reach, Target

ATTEMPT_SECONDS: Final = 10.0
"""From the first connection to the end of the answer. Receivers should answer first and work afterwards."""

RESOLVE_SECONDS: Final = 10.0
"""A resolver that is slower than this is not waited for again: the attempt counts as failed."""

ANSWER_BYTES: Final = 16 * 1024
"""Of an answer's body, which says nothing; then the connection is closed."""

_GONE: Final = 410
_SPEAKS: Final = frozenset({429, 503})
"""Answers whose Retry-After counts."""

LONGEST_WAIT_SECONDS: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt.

    Attributes:
        status: the HTTP status; None where nothing came.
        problem: why the event does not count as taken; empty if it does.
        retry_after_seconds: how long the receiver wants to be left alone; 0 if it does not say.
    """

    status: int | None = None
    problem: str = ""
    retry_after_seconds: float = 0.0

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == _GONE


class _NotAllowedError(OSError):
    """The name leads to no address that may be connected to."""


class Poster:
    """Posts to webhooks.

    Args:
        reach: which addresses may be connected to.
        seconds: how long an attempt may take, name resolution not included.
    """

    def __init__(self, reach: Reach, *, seconds: float = ATTEMPT_SECONDS) -> None:
        self.reach = reach
        self._seconds = seconds

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Loaded by the first post: most processes never send one."""
        return ssl.create_default_context()

    def post(self, target: Target, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post once; it never fails, and says what came of it, without an address or a text of the receiver's."""
        began = time.monotonic()
        over = Event()
        try:
            places = self._resolve(target)
            if time.monotonic() - began > RESOLVE_SECONDS:
                return Answer(problem=Sentence("resolving the name took too long"))
            with self._connected(target, places, over) as connection:
                answer = self._exchange(connection, target, headers, body)
            # What was cut off may look like an answer, since http.client takes the end for that of the headers.
            return Answer(problem=_TOO_LONG) if over.is_set() else answer
        except _NotAllowedError:
            return Answer(problem=Sentence("the name leads to no public address"))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Answer(problem=_TOO_LONG if over.is_set() else _reason(error))

    def _resolve(self, target: Target) -> list[tuple[int, tuple[str, int]]]:
        """The addresses of a name that may be connected to, with their families."""
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        places = [(int(family), (str(place[0]), int(place[1]))) for family, _, _, _, place in found]
        allowed = [each for each in places if self.reach.allows(ipaddress.ip_address(each[1][0]))]
        if not allowed:
            raise _NotAllowedError
        return allowed

    @contextmanager
    def _connected(
        self, target: Target, places: list[tuple[int, tuple[str, int]]], over: Event
    ) -> Iterator[http.client.HTTPConnection]:
        """A connection to one of the places, cut off when its time is over, however slowly anything comes."""
        ends = time.monotonic() + self._seconds
        raw = _connect(places, ends)
        held = raw if target.scheme == "http" else self._wrapped(raw, target)
        cut = cut_off_after(ends - time.monotonic(), held, over)
        try:
            if not self.reach.allows(ipaddress.ip_address(held.getpeername()[0])):
                raise _NotAllowedError
            if isinstance(held, ssl.SSLSocket):
                held.do_handshake()
            connection = http.client.HTTPConnection(target.host, target.port)
            connection.sock = held
            yield connection
        finally:
            cut.cancel()
            held.close()

    def _wrapped(self, raw: socket.socket, target: Target) -> ssl.SSLSocket:
        try:
            return self._tls.wrap_socket(raw, server_hostname=target.host, do_handshake_on_connect=False)
        except BaseException:
            raw.close()
            raise

    @staticmethod
    def _exchange(
        connection: http.client.HTTPConnection, target: Target, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        host = target.origin.partition("://")[2]
        connection.putrequest("POST", target.path, skip_host=True, skip_accept_encoding=True)
        sent = {"host": host, "content-length": str(len(body)), "connection": "close", **headers}
        for name, value in sent.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        status = response.status
        response.read(ANSWER_BYTES)
        if http.HTTPStatus.OK <= status < http.HTTPStatus.MULTIPLE_CHOICES:
            return Answer(status)
        wait = _seconds(response.getheader("retry-after", "")) if status in _SPEAKS else 0.0
        return Answer(status, f"answered {status}", wait)


def _connect(places: list[tuple[int, tuple[str, int]]], ends: float) -> socket.socket:
    """A connection to the first place that takes one."""
    last: OSError = TimeoutError()
    for family, place in places:
        left = ends - time.monotonic()
        if left <= 0:
            break
        tried = socket.socket(family, socket.SOCK_STREAM)
        try:
            tried.settimeout(left)
            tried.connect(place)
        except OSError as error:
            tried.close()
            last = error
        else:
            return tried
    raise last


def _seconds(text: str) -> float:
    """How long a Retry-After wants; dates count as nothing."""
    digits = text.strip()[:9]
    return min(float(digits), LONGEST_WAIT_SECONDS) if digits.isascii() and digits.isdigit() else 0.0


_TOO_LONG: Final = Sentence("took too long")

_REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ssl.SSLCertVerificationError, Sentence("its certificate is not valid")),
    (ssl.SSLError, Sentence("no TLS connection comes about")),
    (socket.gaierror, Sentence("its name cannot be resolved")),
    (TimeoutError, _TOO_LONG),
    (ConnectionRefusedError, Sentence("refuses connections")),
    (OSError, Sentence("the connection broke")),
)


def _reason(error: Exception) -> str:
    """Says what went wrong, and nothing of what lies behind the address."""
    return next((text for kind, text in _REASONS if isinstance(error, kind)), Sentence("does not answer with HTTP"))
