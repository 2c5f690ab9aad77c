"""The service under measurement, and beside it in the same process gRPC handlers that do nothing: the limit for calls.

Is told its place among so many of them. Prints one JSON line with both addresses, and runs until SIGTERM. With
--no-claims it keeps no ids: then events count as often as they come, which is for the one measurement of what
exactly-once costs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import numpy as np

import ledger.store.usage.first_look
from ledger.store.usage.claims import EventClaim
from ledger.store.usage.first_look import Looked
from moiety.v1 import accounts_pb2, usage_pb2
from services.process.host import serving
from services.process.logs import configure_logs
from services.process.memory import collect_less_often, keep_freed_memory
from services.process.stopping import until_stopped
from services.processors import keep_to_one
from services.settings import load_settings

EMPTY_SERVICE: Final = "bench.Empty"


def empty_server(threads: int) -> tuple[grpc.Server, str]:
    """Handlers that parse the message of a call of ours and answer with an empty one."""
    server = grpc.server(ThreadPoolExecutor(threads))
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            lambda _request, _context, answer=answer: answer(),
            request_deserializer=asked.FromString,
            response_serializer=answer.SerializeToString,
        )
        for name, asked, answer in _messages()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(EMPTY_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, f"127.0.0.1:{port}"


def _messages() -> list[tuple[str, Any, Any]]:
    return [
        ("SubmitUsage", usage_pb2.SubmitUsageRequest, usage_pb2.Receipt),
        ("GetBalance", accounts_pb2.GetBalanceRequest, accounts_pb2.Balance),
    ]


def _unclaimed(_connection: object, _pool: object, claims: Sequence[EventClaim]) -> Callable[[], list[Looked]]:
    """A look that finds nothing where nothing is looked at, and nothing is to be written."""
    return lambda: [
        Looked(claim, 2**62, (), claim.event_ids[:0], np.zeros(len(claim.event_ids), dtype=np.bool_), ())
        for claim in claims
    ]


def main(place: str, servers: str, *options: str) -> int:
    keep_to_one(int(place), int(servers))  # as `moiety serve` has its workers do
    settings = load_settings()
    configure_logs(settings)
    if "--no-claims" in options:
        setattr(ledger.store.usage.first_look, "ask", _unclaimed)  # noqa: B010  # not what it is declared as
    keep_freed_memory()  # before the threads of the empty handlers, which would each have a heap of their own
    empty, empty_address = empty_server(settings.threads)
    with serving(settings) as running, until_stopped(settings.drain_seconds) as stopped:
        collect_less_often()
        print(
            json.dumps(
                {"address": running.address, "http_address": running.http_address, "empty_address": empty_address}
            ),
            flush=True,
        )
        stopped.wait()
    empty.stop(None)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
