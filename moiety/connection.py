"""A channel to the service: how it is secured, how a call proves who makes it, and which calls are
repeated.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import grpc

from moiety.ids import IdScheme
from moiety.patience import Patience
from moiety.status import from_rpc

if TYPE_CHECKING:
    from grpc import StreamStreamMultiCallable, UnaryStreamMultiCallable, UnaryUnaryMultiCallable


Response_co = TypeVar("Response_co", covariant=True)


class Answers(Protocol[Response_co]):
    """The answers of an open stream, in order."""

    def __next__(self) -> Response_co: ...

    def cancel(self) -> object: ...


class _PageRequest(Protocol):
    page_token: str


class _Page(Protocol):
    next_page_token: str


Request = TypeVar("Request")
Response = TypeVar("Response")
PageRequest = TypeVar("PageRequest", bound=_PageRequest)
Page = TypeVar("Page", bound=_Page)
Item = TypeVar("Item")
Result = TypeVar("Result")

PAGE_SIZE: Final = 1_000
"""Items asked for per page: the most that the service gives."""

_OPTIONS: Final = (
    # A service that restarts is back within a second; gRPC would wait that long before its first second look.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # The shortest interval that a gRPC server with default settings tolerates is five minutes.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


def is_loopback(address: str) -> bool:
    """Whether a `host:port` (or `unix:` path) is this machine itself: `localhost`, 127.0.0.0/8 or ::1."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0] if address.count(":") == 1 or "]" in address else address
    host = host.removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Connection:
    """A channel with an API key. Safe to use from several threads; not to be carried over a fork.

    Raises:
        ValueError: the API key is not printable ASCII, `insecure` is asked for beyond the loopback, or the CA
            certificate is none.
    """

    def __init__(
        self,
        address: str,
        api_key: str,
        *,
        ca_certificate: bytes | None,
        insecure: bool | None,
        timeout_seconds: float,
    ) -> None:
        if not (api_key and api_key.isascii() and api_key.isprintable()):
            raise ValueError("the API key must be printable ASCII")
        self._metadata = (("authorization", f"Bearer {api_key}"),)
        self._timeout_seconds = timeout_seconds
        self.id_schemes: dict[tuple[str, str | None], IdScheme] = {}
        """Of pools and platforms, those that are fixed."""
        self.channel = _channel(address, ca_certificate, insecure)

    def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        self.channel.close()

    def patience(self, timeout_seconds: float | None = None) -> Patience:
        """Patience for a call that makes its own attempts."""
        return Patience(timeout_seconds)

    def unary(self, method: UnaryUnaryMultiCallable[Request, Response], request: Request, *, repeat: bool) -> Response:
        """Make a call; again where it fails in a way that may pass and `repeat` says that this is safe.

        Raises:
            ServiceError: the service did not answer with OK.
        """
        patience = Patience(self._timeout_seconds)
        while True:
            try:
                return method(request, timeout=patience.seconds_left(), metadata=self._metadata)
            except grpc.RpcError as error:
                failure = from_rpc(error)
                if not repeat:
                    raise failure from error
            patience.wait(failure)

    def pages(
        self,
        method: UnaryUnaryMultiCallable[PageRequest, Page],
        request: PageRequest,
        items: Callable[[Page], Iterable[Item]],
    ) -> Iterator[Item]:
        """Give the items of all pages, each page asked for when it is needed.

        Raises:
            ServiceError: the service did not answer with OK; raised by the iterator.
        """
        while True:
            page = self.unary(method, request, repeat=True)
            yield from items(page)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def read_stream(
        self,
        method: UnaryStreamMultiCallable[Request, Response],
        request: Request,
        consume: Callable[[Iterator[Response]], Result],
    ) -> Result:
        """Give what `consume` makes of a stream of answers. It starts afresh where the stream breaks in a way
        that may pass. There is no time limit: a stream takes as long as there is work.

        Raises:
            ServiceError: the service did not answer with OK.
        """
        patience = Patience(None)
        while True:
            call = method(request, metadata=self._metadata)
            try:
                return consume(iter(call))
            except grpc.RpcError as error:
                failure = from_rpc(error)
            finally:
                call.cancel()
            patience.wait(failure)

    def open_stream(
        self, method: StreamStreamMultiCallable[Request, Response], requests: Iterator[Request]
    ) -> Answers[Response]:
        """Open a two-way stream; its errors are the caller's to translate."""
        return method(requests, metadata=self._metadata)


def _channel(address: str, ca_certificate: bytes | None, insecure: bool | None) -> grpc.Channel:
    loopback = is_loopback(address)
    if insecure is None:
        insecure = loopback and ca_certificate is None
    if insecure:
        if not loopback:
            raise ValueError(f"{address} is not a loopback address: a connection to it must use TLS")
        # An API key in the clear goes to nobody else, not even to a proxy.
        return grpc.insecure_channel(address, options=(*_OPTIONS, ("grpc.enable_http_proxy", 0)))
    if ca_certificate is not None:
        _require_certificates(ca_certificate)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_certificate), options=_OPTIONS)


def _require_certificates(ca_certificate: bytes) -> None:
    try:
        # gRPC would take anything, and every call would fail.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca_certificate.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ValueError("the CA certificate holds no certificates in PEM") from None
