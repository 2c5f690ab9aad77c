"""Spans by OpenTelemetry's SDK, which reads its own variables: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, ...

Names and attributes are those of the semantic conventions for RPC and for databases. A span has no value that a call
carried: statements are as they are written here, with places for their parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from threading import Timer
from typing import Any, Final

import psycopg
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ledger.store.postgres.connections import Observer
from moiety.version import __version__

STATEMENT_LENGTH_MAX: Final = 2_000

CLOSE_SECONDS: Final = 3.0
"""How long a process that ends waits for its collector."""

_FAULTS: Final = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"})
"""Statuses that are a failure of the server, by the semantic conventions for RPC; the others are the caller's."""


class OpenTelemetryTracer:
    """Spans that go to an OTLP collector, in batches, from a thread of their own.

    Raises:
        ValueError: a variable of OpenTelemetry's has a value that it does not take.
    """

    def __init__(self) -> None:
        own = Resource({"service.name": "moiety", "service.version": __version__})
        self._provider = TracerProvider(resource=Resource.create().merge(own).merge(OTELResourceDetector().detect()))
        self._exporter = OTLPSpanExporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("moiety", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self.observer = Observer(_cursors(self._statement), self._statement, self._around)

    def call(self, method: str, via: str, trace: dict[str, str]) -> _CallSpan:
        """Begin the span of a call."""
        parent = self._propagator.extract(trace, contexts.Context())
        service, _, name = method.removeprefix("/").partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "moiety.via": via}
        span = self._tracer.start_span(f"{service}/{name}", parent, SpanKind.SERVER, attributes)
        return _CallSpan(span)

    def close(self) -> None:
        """Send what was not sent yet, and stop; where no collector answers, without it."""
        giving_up = Timer(CLOSE_SECONDS, self._exporter.shutdown)  # the processor itself would try for 30 s
        giving_up.daemon = True
        giving_up.start()
        self._provider.shutdown()
        giving_up.cancel()

    def _around(self, what: str) -> Any:
        return _part(self._tracer, what, SpanKind.INTERNAL)

    def _statement(self, text: str) -> Any:
        attributes = {"db.system.name": "postgresql", "db.query.text": text.strip()[:STATEMENT_LENGTH_MAX]}
        return _part(self._tracer, _summary(text), SpanKind.CLIENT, attributes)


class _CallSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.trace_id = trace.format_trace_id(span.get_span_context().trace_id)

    def enter(self) -> None:
        # Never detached: each call's thread or context gets the next call's span, as it gets the next call.
        contexts.attach(trace.set_span_in_context(self._span, contexts.Context()))

    def end(self, code: str, principal: str, request_id: str) -> None:
        self._span.set_attribute("rpc.response.status_code", code)
        self._span.set_attribute("moiety.principal", principal)
        self._span.set_attribute("moiety.request_id", request_id)
        if code in _FAULTS:
            self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()


@contextmanager
def _part(tracer: trace.Tracer, name: str, kind: SpanKind, attributes: dict[str, str] | None = None) -> Iterator[None]:
    """A span of a call; none where no call is under way, as for what runs every few seconds by itself.

    What is raised is named by its class alone: a driver's message may quote what a call carried.
    """
    if not trace.get_current_span().is_recording():
        yield
        return
    with tracer.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield
        except Exception as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            raise


def _cursors(statement: Callable[[str], AbstractContextManager[None]]) -> type[psycopg.Cursor[Any]]:
    """Returns the class of cursors whose statements are spans, those of COPY too."""

    def sent(cursor: psycopg.Cursor[Any], query: Any) -> AbstractContextManager[None]:
        if not trace.get_current_span().is_recording():
            return nullcontext()
        return statement(query if isinstance(query, str) else psycopg.sql.as_string(query, cursor))

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **named: Any) -> Any:
            with sent(self, query):
                return super().execute(query, params, **named)

        def executemany(self, query: Any, params_seq: Any, **named: Any) -> None:
            with sent(self, query):
                super().executemany(query, params_seq, **named)

        @contextmanager
        def copy(self, statement: Any, params: Any = None, **named: Any) -> Iterator[Any]:
            with sent(self, statement), super().copy(statement, params, **named) as copied:
                yield copied

    return Cursor


def _summary(text: str) -> str:
    """What a statement does to what, in few words: its verb, and the first table that it names."""
    words = text.split(None, 40)
    verb = words[0].upper() if words else "SQL"
    for word, following in pairwise(words):
        table = following.partition("(")[0].strip('",;')
        if word.upper() in ("FROM", "INTO", "UPDATE", "COPY") and table.isidentifier():
            return f"{verb} {table}"
    return verb
