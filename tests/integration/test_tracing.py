"""Traces: one from the caller's program through the call to Postgres, as a collector receives it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterable, Iterator
from typing import Final

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from moiety import AsyncClient, Client
from moiety.errors import ServiceError
from tests.support.deployment import START, Deployment, SteppedClock, deployed
from tests.support.http import ask
from tests.support.receiver import receiving
from tests.support.scene import COLLECTIVES, POOL, event, open_scene

pytestmark = pytest.mark.surface

BATCH: Final = "nobody-may-read-this"


def in_trace(number: int) -> trace.Span:
    """The span that a program is in, of the trace with this number; the span has the same one."""
    state = TraceState([("vendor", "x")])
    return NonRecordingSpan(SpanContext(number, number, is_remote=False, trace_flags=TraceFlags(1), trace_state=state))


def spans_in(bodies: Iterable[bytes]) -> list[Span]:
    found = []
    for body in bodies:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            assert {each.key: each.value.string_value for each in resource.resource.attributes}[
                "service.name"
            ] == "till"
            found += [span for scope in resource.scope_spans for span in scope.spans]
    return found


def of(spans: list[Span], number: int) -> list[Span]:
    """A trace's spans, in the order of their beginning."""
    trace_id = number.to_bytes(16, "big")
    return sorted((each for each in spans if each.trace_id == trace_id), key=lambda each: each.start_time_unix_nano)


def attributes(span: Span) -> dict[str, str]:
    return {each.key: each.value.string_value for each in span.attributes}


@pytest.fixture(scope="module")
def spans(shared_database_url: str) -> Iterator[list[Span]]:
    """What a collector received of calls in the traces 1 to 5, and of others."""
    with pytest.MonkeyPatch.context() as patch, receiving() as receiver:
        patch.setenv("OTEL_SERVICE_NAME", "till")
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.port}")
        with deployed(shared_database_url, SteppedClock(START), tracing=True) as deployment:
            _make_calls(deployment)
        yield spans_in(each.body for each in receiver.received)


def _make_calls(deployment: Deployment) -> None:
    scene = open_scene(deployment)
    address, key = deployment.running.http_address, deployment.key("operators/olive")
    with trace.use_span(in_trace(1)):
        scene.submit([event(1)], BATCH)
    with trace.use_span(in_trace(2)):
        asyncio.run(read_pool(deployment.address, key))
    with trace.use_span(in_trace(3)):
        assert len(list(scene.operator.list_collectives())) == len(COLLECTIVES)
    path, body = "/moiety.v1.RegistryService/GetPool", b'{"name": "pools/folk"}'
    for said in (f"00-{4:032x}-{4:016x}-01", "00-0-0-01", "x" * 5_000, f"00-{0:032x}-{0:016x}-01"):
        answer = ask(address, path, body, key=key, content_type="application/json", traceparent=said)
        assert answer.status == 200
    stranger = Client(deployment.address, "mk_stranger")
    with stranger, trace.use_span(in_trace(5)), pytest.raises(ServiceError):
        stranger.get_pool(POOL)


def test_a_trace_goes_from_the_callers_program_to_postgres(spans: list[Span]) -> None:
    both = of(spans, 1)
    asked, call = (each for each in both if each.kind == Span.SPAN_KIND_SERVER)
    rest = [each for each in both if each.start_time_unix_nano > call.start_time_unix_nano]
    assert [asked.name, call.name] == ["moiety.v1.UsageService/GetIdScheme", "moiety.v1.UsageService/SubmitUsage"]
    assert (call.parent_span_id, call.trace_state) == ((1).to_bytes(8, "big"), "vendor=x")
    assert attributes(call)["moiety.principal"] == "platforms/tunesmith"
    assert attributes(call)["rpc.response.status_code"] == "OK"
    transactions = [each for each in rest if each.name == "transaction"]
    assert {each.parent_span_id for each in transactions} == {call.span_id}
    statements = [each for each in rest if attributes(each).get("db.system.name") == "postgresql"]
    assert {each.kind for each in statements} == {Span.SPAN_KIND_CLIENT}
    assert {each.parent_span_id for each in statements} <= {call.span_id, *(each.span_id for each in rest)}
    assert {"INSERT batch", "INSERT leaf", "INSERT event"} <= {each.name for each in statements}


@pytest.mark.parametrize(("number", "name"), [(2, "GetPool"), (3, "ListCollectives"), (4, "GetPool")])
def test_every_way_in_continues_a_trace(spans: list[Span], number: int, name: str) -> None:
    call, *rest = of(spans, number)
    assert (call.name, call.parent_span_id) == (f"moiety.v1.RegistryService/{name}", number.to_bytes(8, "big"))
    assert "SELECT" in {each.name.partition(" ")[0] for each in rest}


def test_a_refused_call_is_no_failure_of_the_service(spans: list[Span]) -> None:
    (refused,) = (each for each in of(spans, 5) if each.kind == Span.SPAN_KIND_SERVER)
    assert attributes(refused)["rpc.response.status_code"] == "UNAUTHENTICATED"
    assert refused.status.code == Status.STATUS_CODE_UNSET


def test_spans_are_parts_of_calls_and_have_no_value_that_a_call_carried(spans: list[Span]) -> None:
    assert BATCH.encode() not in b"".join(each.SerializeToString() for each in spans)
    ids = {each.span_id for each in spans}
    assert all(each.parent_span_id in ids for each in spans if each.kind != Span.SPAN_KIND_SERVER)


async def read_pool(address: str, key: str) -> None:
    async with AsyncClient(address, key) as client:
        await client.get_pool(POOL)


def test_nothing_of_it_is_loaded_where_it_is_off() -> None:
    program = (
        "import sys, moiety, services.cli.app, services.process.host, services.process.http_server\n"
        "from moiety.tracing import with_trace\n"
        "assert with_trace((('a', 'b'),)) == (('a', 'b'),)\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
