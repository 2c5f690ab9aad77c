"""The trace that the caller's program is in, passed on to the service.

A program that uses OpenTelemetry has a current span; the calls made in it name its trace by the headers of W3C Trace
Context, and a service that traces continues it. Other programs are not slowed down, and import nothing.
"""

from __future__ import annotations

import sys
from typing import Final

from moiety.steps import Metadata

_API: Final = "opentelemetry.trace"


def with_trace(metadata: Metadata) -> Metadata:
    """Returns what is sent with a call, with the current trace if there is one. Baggage is not sent."""
    if _API not in sys.modules:
        return metadata
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    carried: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carried)
    return (*metadata, *carried.items())
