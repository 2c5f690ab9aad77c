"""Content Telemetry: reports of how AI agents used content, made into usage events.

The SPUR Coalition's open standard (contenttelemetry.org), version 1.0. `read_telemetry` reads documents, puts sessions
together and refuses what is invalid, `usage_events_of` makes a session's usage events, with a `DomainMap` to say which
collective content belongs to; `Client.submit_telemetry` does all of it. README.md says what the rules are.
"""

from __future__ import annotations

from moiety.telemetry.domains import DomainMap, Owner
from moiety.telemetry.reading import Telemetry, read_telemetry
from moiety.telemetry.sessions import RefusedDocument, TelemetryEvent, TelemetrySession, TelemetrySubmission
from moiety.telemetry.turns import Attribution, ShareBasis, Turn, turns_of, usage_events_of

__all__ = [
    "Attribution",
    "DomainMap",
    "Owner",
    "RefusedDocument",
    "ShareBasis",
    "Telemetry",
    "TelemetryEvent",
    "TelemetrySession",
    "TelemetrySubmission",
    "Turn",
    "read_telemetry",
    "turns_of",
    "usage_events_of",
]
