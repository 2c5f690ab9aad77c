"""Traces, switched on or off for this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from ledger.errors import InvalidInputError
from ledger.store.postgres.connections import Observer
from services.settings import Settings

HEADERS: Final = ("traceparent", "tracestate")
"""What a caller's trace is named by: https://www.w3.org/TR/trace-context/."""

HEADER_LENGTH_MAX: Final = 512
"""What the specification asks of a `tracestate` that is passed on; a longer header is not read."""


class CallSpan(Protocol):
    """A call's part of a trace."""

    @property
    def trace_id(self) -> str:
        """The trace's id, in hexadecimal digits."""

    def enter(self) -> None:
        """Make what the present context does from now on a part of the call."""

    def end(self, code: str, principal: str, request_id: str) -> None:
        """The call ended with this status."""


class Tracer(Protocol):
    """Where spans come from."""

    observer: Observer
    """Sees what the database is asked for."""

    def call(self, method: str, via: str, trace: dict[str, str]) -> CallSpan:
        """Begin the span of a call, in the trace that its caller names by `HEADERS`."""

    def close(self) -> None:
        """Send what was not sent yet, and stop."""


class _Switch:
    tracer: Tracer | None = None


@contextmanager
def tracing(settings: Settings) -> Iterator[None]:
    """Trace calls meanwhile, if the settings say so. A process is traced as a whole.

    Raises:
        InvalidInputError: OpenTelemetry is not installed, or its own variables are wrong.
    """
    if not settings.tracing or _Switch.tracer is not None:
        yield
        return
    try:
        from services.tracing.spans import OpenTelemetryTracer  # noqa: PLC0415  # most processes do without
    except ImportError:
        raise InvalidInputError.of("MOIETY_TRACING", "needs `pip install 'moiety-server[tracing]'`") from None
    try:
        tracer = OpenTelemetryTracer()
    except ValueError as error:
        raise InvalidInputError.of("MOIETY_TRACING", f"cannot be switched on: {error}") from None
    _Switch.tracer = tracer
    try:
        yield
    finally:
        _Switch.tracer = None
        tracer.close()


def begin_call(method: str, via: str, headers: Sequence[tuple[str, str]]) -> CallSpan | None:
    """Begin the span of a call; None where traces are off."""
    tracer = _Switch.tracer
    if tracer is None:
        return None
    # The last one counts: a library between an SDK and its socket adds its own behind it.
    named = {name: value for name, value in headers if name in HEADERS and len(value) <= HEADER_LENGTH_MAX}
    return tracer.call(method, via, named)


def observer() -> Observer | None:
    """Returns what sees the database's work; None where traces are off."""
    return None if _Switch.tracer is None else _Switch.tracer.observer
