"""Asks the server in this container for its health, over TLS where it has a certificate. 0 is SERVING."""

from __future__ import annotations

import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S: Final = 3


def main() -> int:
    address = "localhost", int(os.environ["MOIETY_LISTEN"].rpartition(":")[2])
    certificate = os.environ.get("MOIETY_TLS_CERTIFICATE_FILE")
    with channel(address, Path(certificate) if certificate else None) as connection:
        health = health_pb2_grpc.HealthStub(connection)
        try:
            # types-grpcio-health-checking leaves the stub's methods out.
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)  # type: ignore[attr-defined]
        except grpc.RpcError as error:
            print(error, file=sys.stderr)
            return 1
    return 0 if answer.status == health_pb2.HealthCheckResponse.SERVING else 1


def channel(address: tuple[str, int], certificate: Path | None) -> grpc.Channel:
    target = "{}:{}".format(*address)
    if certificate is None:
        return grpc.insecure_channel(target)
    # The certificate names the host that clients know, and no client knows localhost.
    return grpc.secure_channel(
        target,
        grpc.ssl_channel_credentials(certificate.read_bytes()),
        options=[("grpc.ssl_target_name_override", certified_name(address, certificate))],
    )


def certified_name(address: tuple[str, int], certificate: Path) -> str:
    """Gives the first name in the server's certificate, which must be the one in the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certificate)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(address, TIMEOUT_S) as plain,
        context.wrap_socket(plain) as secure,
    ):
        peer = secure.getpeercert() or {}
    return str(peer["subjectAltName"][0][1])


if __name__ == "__main__":
    sys.exit(main())
