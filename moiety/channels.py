"""How a channel to the service is secured, whichever client opens it."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from typing import Final

import grpc

from moiety.steps import Metadata

_OPTIONS: Final = (
    # A service that restarts is back within a second; gRPC would wait that long before its first second look.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # The shortest interval that a gRPC server with default settings tolerates is five minutes.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where the service is, who calls it, and how the channel is secured. Without `credentials` it is in the clear."""

    address: str
    metadata: Metadata
    credentials: grpc.ChannelCredentials | None
    options: tuple[tuple[str, int], ...]


def target_of(address: str, api_key: str, *, ca_certificate: bytes | None, insecure: bool | None) -> Target:
    """Return the target that a client's arguments name.

    Raises:
        ValueError: the API key is not printable ASCII, `insecure` is asked for beyond the loopback, or the CA
            certificate is invalid.
    """
    if not (api_key and api_key.isascii() and api_key.isprintable()):
        raise ValueError("the API key must be printable ASCII")
    metadata = (("authorization", f"Bearer {api_key}"),)
    loopback = is_loopback(address)
    if insecure is None:
        insecure = loopback and ca_certificate is None
    if insecure:
        if not loopback:
            raise ValueError(f"{address} is not a loopback address: a connection to it must use TLS")
        # An API key in the clear goes to nobody else, not even to a proxy.
        return Target(address, metadata, None, (*_OPTIONS, ("grpc.enable_http_proxy", 0)))
    if ca_certificate is not None:
        _require_certificates(ca_certificate)
    return Target(address, metadata, grpc.ssl_channel_credentials(ca_certificate), _OPTIONS)


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


def _require_certificates(ca_certificate: bytes) -> None:
    try:
        # gRPC would take anything, and every call would fail.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=ca_certificate.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ValueError("the CA certificate contains no certificates in PEM") from None
