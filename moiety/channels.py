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


@dataclass(frozen=True, slots=True)
class Pair:
    """A client certificate's chain and its private key, in PEM."""

    certificate: bytes
    key: bytes


def pair_of(certificate: bytes | None, key: bytes | None) -> Pair | None:
    """Returns the pair that a client shows; None where it has none.

    Raises:
        ValueError: one of them is missing, or they are no certificate and no private key.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise ValueError("a client certificate and its key go together")
    _require_certificates(certificate, "client")
    if b"PRIVATE KEY-----" not in key or b"ENCRYPTED" in key:
        raise ValueError("the client's key is no private key in PEM, or has a password")
    return Pair(certificate, key)


def target_of(
    address: str,
    api_key: str,
    *,
    ca_certificate: bytes | None = None,
    pair: Pair | None = None,
    insecure: bool | None = None,
) -> Target:
    """Return the target that a client's arguments name.

    Raises:
        ValueError: the address is empty or a URL, there is neither an API key nor a client certificate, the key is not
            printable ASCII, `insecure` is asked for beyond the loopback or with a client certificate, or the CA
            certificate is invalid.
    """
    if not address or address.startswith(("http://", "https://")):
        raise ValueError(f"the address must be host:port, without http://, got {address!r}")
    if not api_key and not pair:
        raise ValueError("there is neither an API key nor a client certificate")
    if not (api_key.isascii() and api_key.isprintable()):
        raise ValueError("the API key must be printable ASCII")
    metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
    loopback = is_loopback(address)
    if insecure is None:
        insecure = loopback and ca_certificate is None and pair is None
    if insecure:
        if pair is not None:
            raise ValueError("a client certificate needs TLS")
        if not loopback:
            raise ValueError(f"{address} is not a loopback address: a connection to it must use TLS")
        # An API key in the clear goes to nobody else, not even to a proxy.
        return Target(address, metadata, None, (*_OPTIONS, ("grpc.enable_http_proxy", 0)))
    if ca_certificate is not None:
        _require_certificates(ca_certificate, "CA")
    key, certificate = (pair.key, pair.certificate) if pair else (None, None)
    return Target(address, metadata, grpc.ssl_channel_credentials(ca_certificate, key, certificate), _OPTIONS)


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


def _require_certificates(pem: bytes, whose: str) -> None:
    try:
        # gRPC would take anything, and every call would fail.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError):
        raise ValueError(f"the {whose} certificate contains no certificates in PEM") from None
