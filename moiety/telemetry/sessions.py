"""Sessions as values: what usage is computed from, and nothing else of what was reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from moiety.errors import Violation
from moiety.telemetry.checks import integer_of, time_of
from moiety.telemetry.schema import violations

if TYPE_CHECKING:
    from moiety.v1.usage_pb2 import Receipt

TURN_COMPLETED = "turn_completed"
GROUNDED = "content_grounded"
CITED = "content_cited"

VIOLATIONS_MAX = 10
"""How many of a session's violations are told: enough to see what the reporter does wrong."""

_KEPT = (TURN_COMPLETED, GROUNDED, CITED)
_ID_CHARACTERS = 36


@dataclass(frozen=True, slots=True)
class TelemetryEvent:
    """What a session says of a completed turn, of grounding or of a citation.

    Attributes: type: `turn_completed`, `content_grounded` or `content_cited`. timestamp: in UTC. turn_id: the
        turn it belongs to, within the session. content_url: where the content was found. scope: `session` or
        `turn`, of grounding. tokens, characters: how much of the content was ingested. citation_type: of a
        citation. What was not reported is None.
    """

    type: str
    timestamp: datetime
    turn_id: str | None = None
    content_url: str | None = None
    scope: str | None = None
    tokens: int | None = None
    characters: int | None = None
    citation_type: str | None = None


@dataclass(frozen=True, slots=True)
class TelemetrySession:
    """A valid session: its id, a UUID in lower case, and the events that usage is computed from, as reported."""

    session_id: str
    events: tuple[TelemetryEvent, ...]


@dataclass(frozen=True, slots=True)
class RefusedSession:
    """A session that was refused; nothing of it is recorded.

    Attributes: position: which session it was, counting from 0. line: the line that it stands on, counting from
        1; None where sessions are not one a line. session_id: its id, where it could be read. violations: what is
        wrong with it, by JSON path (`$` is the session); the first ten.
    """

    position: int
    line: int | None
    session_id: str | None
    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        where = f"sessions[{self.position}]" if self.line is None else f"line {self.line}"
        return f"{where}: " + "; ".join(f"{item.field}: {item.description}" for item in self.violations)


@dataclass(frozen=True, slots=True)
class TelemetrySubmission:
    """What became of submitted sessions.

    Attributes: receipts: of each batch, in order. refused: the sessions that were refused. session_count: how many
        sessions were taken, the refused ones not among them. event_count: how many usage events they gave.
    """

    receipts: list[Receipt]
    refused: list[RefusedSession]
    session_count: int
    event_count: int


def session_of(document: object, position: int, line: int | None = None) -> TelemetrySession | RefusedSession:
    """Give the session in a JSON document, or why it is refused."""
    if found := violations(document):
        return RefusedSession(position, line, _id_of(document), tuple(found[:VIOLATIONS_MAX]))
    valid = cast("dict[str, Any]", document)
    events = (_event_of(event) for event in valid.get("events", ()) if event["type"] in _KEPT)
    return TelemetrySession(valid["session_id"].lower(), tuple(events))


def _event_of(event: Mapping[str, Any]) -> TelemetryEvent:
    data = event.get("data", {})
    return TelemetryEvent(
        event["type"],
        cast("datetime", time_of(event["timestamp"])),
        turn_id=event.get("turn_id"),
        content_url=event.get("content_url"),
        scope=data.get("scope"),
        tokens=integer_of(data.get("tokens_ingested")),
        characters=integer_of(data.get("chars_ingested")),
        citation_type=data.get("citation_type"),
    )


def _id_of(document: object) -> str | None:
    found = document.get("session_id") if isinstance(document, dict) else None
    return found[:_ID_CHARACTERS] if isinstance(found, str) else None
