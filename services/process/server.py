"""The gRPC server: built, started, drained."""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ledger.errors import InvalidInputError
from services.api.calls.door import LARGE_MESSAGE_BYTES, Waiting
from services.api.calls.queues import FairThreads
from services.api.calls.together import Arrivals
from services.api.contract import Services, service_names
from services.api.grpc.interceptor import Gatekeeper
from services.api.grpc.watchers import Watchers
from services.parts import Parts
from services.process.health import Health
from services.process.listening import bound_socket, client_ca, connections_allowed

STREAMS_PER_CONNECTION: Final = 1_000
"""Calls that one connection may have open, of any kind."""

OPEN_PER_THREAD: Final = 64
"""Calls for each thread that gRPC holds at a time, with those that `FairThreads` refuses until the refusal is sent.
Beyond them gRPC refuses by itself, in few words: it bounds the memory of a flood."""

OTHER_THREADS: Final = 2

HANDSHAKE_SECONDS: Final = 10.0
"""How long a connection may take for TLS and HTTP/2's first frames; gRPC's own limit is two minutes."""

READ_AHEAD_BYTES: Final = 2**18
"""What a connection may send of a message that nobody has asked for yet. gRPC would raise it up to 16 MB by what it
measures of the line, and with eight streams that is 30 MB more; over a line of 50 ms this much is still 5 MB a second.
"""

CALLS_PER_READ: Final = 1
"""Calls that one connection may begin before the others have their turn; gRPC's 32 let one that resets its calls fill
the queue in which calls wait for our thread. gRPC cancels at random what finds more than a thousand there."""

FRAME_BYTES: Final = 2**18
"""A part of a message on a connection. With gRPC's 16 KiB a batch of a megabyte comes in 64 of them."""

IDLE_SECONDS: Final = 600.0
"""How long a connection may have no call; gRPC's clients connect again by themselves."""


class Server:
    """The contract on a socket."""

    def __init__(self, parts: Parts, services: Services) -> None:
        self._settings = parts.settings
        self.mtls_address = ""
        """Where it listens for clients with certificates, once it has started; empty where it does not."""
        self._health = Health(parts.database)
        threads = parts.settings.threads
        self._waiting = Waiting(silent_most=max(1, threads // 2))
        self._watchers = Watchers(services.watches, self._waiting)
        # Health and refusals: what must be answered however many calls wait, and needs no database.
        self._other_threads = ThreadPoolExecutor(OTHER_THREADS, thread_name_prefix="other")
        self._threads = FairThreads(threads, "call")
        self._server = grpc.server(
            self._other_threads,
            interceptors=[
                Gatekeeper(
                    parts.keyring,
                    services.limits,
                    self._waiting,
                    self._threads,
                    self._other_threads,
                    self._watchers,
                    Arrivals(self._threads, self._waiting, threads),
                    services.together,
                )
            ],
            maximum_concurrent_rpcs=OPEN_PER_THREAD * threads,
            options=[
                ("grpc.max_receive_message_length", LARGE_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
                ("grpc.http2.max_requests_per_read", CALLS_PER_READ),
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", READ_AHEAD_BYTES),
                ("grpc.http2.max_frame_size", FRAME_BYTES),
                ("grpc.max_allowed_incoming_connections", connections_allowed(4)),
                ("grpc.server_handshake_timeout_ms", round(1000 * HANDSHAKE_SECONDS)),
                ("grpc.max_connection_idle_ms", round(1000 * IDLE_SECONDS)),
                ("grpc.so_reuseport", int(parts.settings.workers > 1)),
            ],
        )
        services.add_to(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*service_names(), health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )

    def start(self) -> str:
        """Listen, and return the address: the settings' own, with the actual port."""
        address = self._bind(self._settings.listen, "MOIETY_LISTEN")
        if self._settings.mtls_listen:
            self.mtls_address = self._bind(self._settings.mtls_listen, "MOIETY_MTLS_LISTEN", is_mutual=True)
        self._server.start()
        self._health.start()
        return address

    def _bind(self, address: str, setting: str, *, is_mutual: bool = False) -> str:
        credentials = self._credentials(is_mutual=is_mutual)
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError:
            bound_socket(address, setting, is_shared=False).close()  # which says why, where gRPC does not
            raise InvalidInputError.of(setting, f"cannot listen on {address}") from None
        return f"{address.rpartition(':')[0]}:{port}"

    def _credentials(self, *, is_mutual: bool) -> grpc.ServerCredentials | None:
        """The server's certificate; None where it has none.

        gRPC for Python either requires a certificate of every client of a port, or asks for none: hence two ports.

        Raises:
            InvalidInputError: the certificate, its key or the clients' authority cannot be read.
        """
        certificate, key = self._settings.tls_certificate_file, self._settings.tls_key_file
        if not certificate or not key:
            return None
        try:
            pair = key.read_bytes(), certificate.read_bytes()
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        except ssl.SSLError:
            reason = "and MOIETY_TLS_KEY_FILE must be a certificate chain and its key, in PEM"
            raise InvalidInputError.of("MOIETY_TLS_CERTIFICATE_FILE", reason) from None
        except OSError as error:
            setting = "MOIETY_TLS_KEY_FILE" if error.filename == str(key) else "MOIETY_TLS_CERTIFICATE_FILE"
            raise InvalidInputError.of(setting, f"cannot be read: {error}") from None
        clients = client_ca(self._settings) if is_mutual else None
        return grpc.ssl_server_credentials([pair], clients, require_client_auth=is_mutual)

    def drain(self) -> None:
        """Take no more calls, tell health checks so, and wait for calls in progress as long as the settings say."""
        self._health.drain()
        self._server.stop(self._settings.drain_seconds).wait()
        # A call that was cut off has ended for gRPC, but its thread may still be about to use the database.
        self._threads.shutdown()
        self._waiting.stop()
        self._health.close()
        self._other_threads.shutdown()
        self._watchers.close()
