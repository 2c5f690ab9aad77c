"""The gRPC server: built, started, drained."""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ledger.errors import InvalidInputError
from moiety.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    acts_pb2,
    acts_pb2_grpc,
    audit_pb2,
    audit_pb2_grpc,
    limits_pb2,
    limits_pb2_grpc,
    registry_pb2,
    registry_pb2_grpc,
    revenue_pb2,
    revenue_pb2_grpc,
    rounds_pb2,
    rounds_pb2_grpc,
    usage_pb2,
    usage_pb2_grpc,
)
from services.api.accounts import AccountsService
from services.api.acts import ActsService
from services.api.audit import AuditService
from services.api.door import LARGE_MESSAGE_BYTES, Waiting
from services.api.interceptor import Gatekeeper
from services.api.limits import LimitsService
from services.api.registry import RegistryService
from services.api.revenue import RevenueService
from services.api.rounds import RoundsService
from services.api.usage import UsageService
from services.parts import Parts

_MODULES: Final = (registry_pb2, acts_pb2, limits_pb2, usage_pb2, revenue_pb2, accounts_pb2, rounds_pb2, audit_pb2)
CONTRACT: Final[tuple[FileDescriptor, ...]] = tuple(module.DESCRIPTOR for module in _MODULES)


CALLS_PER_THREAD: Final = 16
"""Calls in progress, including those that wait for a thread. More are refused at once with
RESOURCE_EXHAUSTED: an unbounded queue answers nobody in time, and grows until memory runs out."""

STREAMS_PER_CONNECTION: Final = 1_000
"""Calls that one connection may have open, of any kind."""

HEALTH_THREADS: Final = 2


def service_names() -> list[str]:
    """The full names of the contract's services."""
    return [service.full_name for file in CONTRACT for service in file.services_by_name.values()]


class _Health(health.HealthServicer):
    """Health with Check, which probes use.

    The library's Watch keeps its lock while it sends. A watcher that leaves at that moment waits for the lock on the
    server's only event thread, which the sending needs: draining would never end.
    """

    def Watch(self, request: Any, context: grpc.ServicerContext, *_: Any) -> None:  # type: ignore[override] # noqa: ARG002, N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "ask by Check")


class Server:
    """The contract on a socket."""

    def __init__(self, parts: Parts) -> None:
        self._settings = parts.settings
        self._health = _Health()
        threads = parts.settings.threads
        self._waiting = Waiting()
        self._health_threads = ThreadPoolExecutor(HEALTH_THREADS, thread_name_prefix="health")
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="call")
        self._usage = UsageService(parts)
        self._server = grpc.server(
            self._threads,
            interceptors=[Gatekeeper(parts.keyring, threads, self._waiting, self._health_threads)],
            maximum_concurrent_rpcs=CALLS_PER_THREAD * threads,
            options=[
                ("grpc.max_receive_message_length", LARGE_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
                ("grpc.so_reuseport", int(parts.settings.workers > 1)),
            ],
        )
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(RegistryService(parts), self._server)
        limits_pb2_grpc.add_LimitsServiceServicer_to_server(LimitsService(parts), self._server)
        usage_pb2_grpc.add_UsageServiceServicer_to_server(self._usage, self._server)
        revenue_pb2_grpc.add_RevenueServiceServicer_to_server(RevenueService(parts), self._server)
        accounts_pb2_grpc.add_AccountsServiceServicer_to_server(AccountsService(parts), self._server)
        acts_pb2_grpc.add_ActsServiceServicer_to_server(ActsService(parts), self._server)
        rounds_pb2_grpc.add_RoundsServiceServicer_to_server(RoundsService(parts), self._server)
        audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditService(parts), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*service_names(), health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )

    def start(self) -> str:
        """Listen, and return the address: the settings' own, with the actual port."""
        host, _, _ = self._settings.listen.rpartition(":")
        try:
            port = self._bind(self._settings.listen)
        except RuntimeError:
            raise InvalidInputError.of("MOIETY_LISTEN", f"cannot listen on {self._settings.listen}") from None
        self._server.start()
        for name in ("", *service_names()):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return f"{host}:{port}"

    def _bind(self, address: str) -> int:
        certificate, key = self._settings.tls_certificate_file, self._settings.tls_key_file
        if not certificate or not key:
            return self._server.add_insecure_port(address)
        try:
            pair = key.read_bytes(), certificate.read_bytes()
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
        except ssl.SSLError:
            reason = "and MOIETY_TLS_KEY_FILE must be a certificate chain and its key, in PEM"
            raise InvalidInputError.of("MOIETY_TLS_CERTIFICATE_FILE", reason) from None
        except OSError as error:
            raise InvalidInputError.of("MOIETY_TLS_CERTIFICATE_FILE", f"cannot be read: {error}") from None
        return self._server.add_secure_port(address, grpc.ssl_server_credentials([pair]))

    def drain(self) -> None:
        """Take no more calls, tell health checks so, and wait for calls in progress as long as the settings say."""
        self._health.enter_graceful_shutdown()
        self._server.stop(self._settings.drain_seconds).wait()
        # A call that was cut off has ended for gRPC, but its thread may still be about to use the database.
        self._threads.shutdown()
        self._waiting.stop()
        self._health_threads.shutdown()
        self._usage.close()
