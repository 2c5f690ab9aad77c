"""A real gRPC server on the loopback that plays the far end of the contract, and usage to send it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from moiety import DeadlineExceededError, Mode, UnavailableError, UsageEvent, batch_of
from moiety.v1 import registry_pb2, registry_pb2_grpc, rounds_pb2, rounds_pb2_grpc, usage_pb2, usage_pb2_grpc

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


def status(code: int, message: str, *details: Message) -> status_pb2.Status:
    packed = []
    for detail in details:
        packed.append(AnyMessage())
        packed[-1].Pack(detail)
    return status_pb2.Status(code=code, message=message, details=packed)


def bad_request(*violations: tuple[str, str]) -> error_details_pb2.BadRequest:
    violation = error_details_pb2.BadRequest.FieldViolation
    return error_details_pb2.BadRequest(
        field_violations=[violation(field=field, description=reason) for field, reason in violations]
    )


UNAVAILABLE: Final = status(code_pb2.UNAVAILABLE, "away")
GIVEN_UP: Final = (UnavailableError, DeadlineExceededError)
"""What a call to an absent service ends with at its deadline, which falls into a pause or into a wait for an answer."""


class FarEnd(
    registry_pb2_grpc.RegistryServiceServicer,
    usage_pb2_grpc.UsageServiceServicer,
    rounds_pb2_grpc.RoundsServiceServicer,
):
    """Answers as scripted; remembers what it was asked."""

    def __init__(self) -> None:
        self.failures: list[status_pb2.Status] = []
        self.metadata: dict[str, str | bytes] = {}
        self.calls = 0
        self.batches: dict[str, bytes] = {}
        self.received: list[str] = []
        self.hold: threading.Event | None = None
        self.scheme_is_known: threading.Event | None = None
        self.end_streams: Callable[[grpc.ServicerContext], None] = lambda _: None
        self.end: Callable[[grpc.ServicerContext], None] = lambda _: None
        self.answer_batch: Callable[[usage_pb2.AppendUsageRequest], status_pb2.Status | None] = lambda _: None

    def _begin(self, context: Any) -> None:
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        self.end(context)
        if self.failures:
            context.abort_with_status(rpc_status.to_status(self.failures.pop(0)))

    def GetPlatform(self, request: Any, context: Any) -> registry_pb2.Platform:  # noqa: N802
        self._begin(context)
        return registry_pb2.Platform(name=request.name)

    def ListPlatforms(self, request: Any, context: Any) -> registry_pb2.ListPlatformsResponse:  # noqa: N802
        self._begin(context)
        page = int(request.page_token or 0)
        platforms = [registry_pb2.Platform(name=f"platforms/p{page}")]
        return registry_pb2.ListPlatformsResponse(
            platforms=platforms, next_page_token=str(page + 1) if page < 2 else ""
        )

    def UpdateSchedule(self, request: Any, context: Any) -> registry_pb2.Schedule:  # noqa: N802
        self._begin(context)
        return registry_pb2.Schedule(name=request.schedule.name)

    def GetStatement(self, _: Any, context: Any) -> Iterator[rounds_pb2.GetStatementResponse]:  # noqa: N802
        yield rounds_pb2.GetStatementResponse(chunk=b"a,b\n")
        self._begin(context)
        yield rounds_pb2.GetStatementResponse(chunk=b"1,2\n")

    def GetIdScheme(self, *_: Any) -> usage_pb2.PlatformIdScheme:  # noqa: N802
        if self.scheme_is_known:
            self.scheme_is_known.wait(240)
        return usage_pb2.PlatformIdScheme(id_scheme=usage_pb2.ID_SCHEME_OWN, is_fixed=True)

    def AppendUsage(self, request_iterator: Any, context: Any) -> Iterator[usage_pb2.AppendUsageResponse]:  # noqa: N802
        self.calls += 1
        self.end_streams(context)
        for request in request_iterator:
            self.received.append(request.batch_id)
            self.end(context)
            if self.hold:
                self.hold.wait(240)
            if self.failures:
                context.abort_with_status(rpc_status.to_status(self.failures.pop(0)))
            if refused := self.answer_batch(request):
                yield usage_pb2.AppendUsageResponse(batch_id=request.batch_id, error=refused)
                continue
            assert self.batches.setdefault(request.batch_id, request.arrow_stream) == request.arrow_stream
            leaf_index = list(self.batches).index(request.batch_id)
            receipt = usage_pb2.Receipt(name=request.batch_id, leaf_index=leaf_index)
            yield usage_pb2.AppendUsageResponse(batch_id=request.batch_id, receipt=receipt)


@contextmanager
def listening(far_end: FarEnd) -> Iterator[str]:
    """The far end on a socket; gives its address."""
    server = grpc.server(ThreadPoolExecutor(4))
    registry_pb2_grpc.add_RegistryServiceServicer_to_server(far_end, server)
    usage_pb2_grpc.add_UsageServiceServicer_to_server(far_end, server)
    rounds_pb2_grpc.add_RoundsServiceServicer_to_server(far_end, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def usage(count: int) -> Any:
    """Events in a record batch, always the same."""
    return batch_of(
        UsageEvent(UUID(int=number), NOON, 1, Mode.AI_ONLY, {"irish": 1_000_000_000}) for number in range(count)
    )
