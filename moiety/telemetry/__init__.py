"""Content Telemetry: sessions that report how AI agents used content, made into usage events.

The SPUR Coalition's open standard (contenttelemetry.org), schema version 0.1. `read_telemetry` reads sessions and
refuses the invalid ones, `usage_events_of` makes a session's usage events, with a `DomainMap` to say which collective
content belongs to; `Client.submit_telemetry` does all of it. README.md says what the rules are.
"""

from moiety.telemetry.domains import DomainMap
from moiety.telemetry.reading import read_telemetry, sessions_in
from moiety.telemetry.sessions import RefusedSession, TelemetryEvent, TelemetrySession, TelemetrySubmission
from moiety.telemetry.turns import ShareBasis, usage_events_of

__all__ = [
    "DomainMap",
    "RefusedSession",
    "ShareBasis",
    "TelemetryEvent",
    "TelemetrySession",
    "TelemetrySubmission",
    "read_telemetry",
    "sessions_in",
    "usage_events_of",
]
