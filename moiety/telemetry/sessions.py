"""Sessions as values: what usage is computed from, and what says who reported it on what terms."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast

from moiety.errors import Violation
from moiety.telemetry.checks import integer_of, time_of
from moiety.telemetry.rules import events_of, violations
from moiety.telemetry.schema import SESSION, kind_of

if TYPE_CHECKING:
    from moiety.v1.usage_pb2 import Receipt

TURN_COMPLETED: Final = "turn_completed"
GROUNDED: Final = "content_grounded"
CITED: Final = "content_cited"
PRESENTED: Final = "content_presented"

VIOLATIONS_MAX: Final = 10
"""How many of a document's violations are told: enough to see what the reporter does wrong."""

EVENTS_HELD_MAX: Final = 1_000_000
"""How many standalone events are held at a time until their sessions are whole: some hundred megabytes."""

TEXT_HELD_MAX: Final = 256 << 20
"""How many characters these may have in all; usual events have one or two hundred."""

_KEPT: Final = frozenset({TURN_COMPLETED, GROUNDED, CITED, PRESENTED})
_ID_CHARACTERS: Final = 36


@dataclass(frozen=True, slots=True)
class TelemetryEvent:
    """What was reported of a completed turn, of grounding, of a citation or of a presentation.

    Attributes:
        type: `turn_completed`, `content_grounded`, `content_cited` or `content_presented`.
        timestamp: in UTC.
        id: the event's own.
        turn_id: the turn it belongs to, within the session.
        content_url: which content.
        content_id: which content.
        output_id: what of the answer carries it.
        output_element_id: what of the answer carries it.
        scope: `session` or `turn`, of grounding.
        characters: how much of the content was ingested.
        tokens: how much of the content was ingested.
        content_version: which state and which piece of it.
        content_hash: which state and which piece of it.
        citation_type: of a citation.
        license_ref: the grant and the terms that the reporter names.
        terms_ref: the grant and the terms that the reporter names.
        evidence: references to evidence, as reported. What was not reported is None.
    """

    type: str
    timestamp: datetime
    id: str | None = None
    turn_id: str | None = None
    content_url: str | None = None
    content_id: str | None = None
    output_id: str | None = None
    output_element_id: str | None = None
    scope: str | None = None
    characters: int | None = None
    tokens: int | None = None
    content_version: str | None = None
    content_hash: str | None = None
    citation_type: str | None = None
    license_ref: str | None = None
    terms_ref: str | None = None
    evidence: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class TelemetrySession:
    """A session: its id, a UUID in lower case, and the events that usage is computed from, as reported."""

    session_id: str
    events: tuple[TelemetryEvent, ...]


@dataclass(frozen=True, slots=True)
class RefusedDocument:
    """A document that was refused; nothing of it is recorded.

    Attributes:
        position: which document it was, counting from 0.
        line: its line, counting from 1; None if documents are not one a line.
        session_id: its session, where that could be read.
        violations: what is wrong with it, by JSON path (`$` is the document); the first ten.
    """

    position: int
    line: int | None
    session_id: str | None
    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        where = f"documents[{self.position}]" if self.line is None else f"line {self.line}"
        return f"{where}: " + "; ".join(f"{item.field}: {item.description}" for item in self.violations)


@dataclass(frozen=True, slots=True)
class TelemetrySubmission:
    """What became of submitted telemetry.

    Attributes:
        receipts: of each batch, in order.
        refused: the documents that were refused.
        document_count: how many were taken.
        session_count: how many sessions these were of.
        event_count: how many completed turns they had, each a usage event; `attributed_count` of them are some
            collective's altogether, `partly_count` in part, and the rest not at all.
        conflict_count: how many pieces of content two collectives claim, which are nobody's.
    """

    receipts: list[Receipt]
    refused: list[RefusedDocument]
    document_count: int
    session_count: int
    event_count: int
    attributed_count: int
    partly_count: int
    conflict_count: int

    @property
    def unattributed_count(self) -> int:
        """How many turns are nobody's."""
        return self.event_count - self.attributed_count - self.partly_count


class Documents:
    """Telemetry documents on their way to sessions.

    A session document is a session. Standalone events and batches are put together by their `session_id`, and are a
    session once no more documents come. What was sent twice counts once: an event with an id is known by it, and any
    other counts as often as the one document has it that has it most often. Events without a session, such as an edge's
    retrievals and the clicks that a shop reports by `ctx_token`, are valid and make no usage.

    Attributes:
        count: how many documents were taken, the refused ones not among them.
    """

    def __init__(self) -> None:
        self.count = 0
        self._held: dict[str, _Parts] = {}
        self._held_count = 0
        self._held_text = 0

    def take(
        self, document: object, position: int, line: int | None = None
    ) -> TelemetrySession | RefusedDocument | None:
        """Take a document, and return its session or why it is refused; None if it is a part of a session."""
        if found := violations(document):
            return RefusedDocument(position, line, _id_of(document), tuple(found[:VIOLATIONS_MAX]))
        valid = cast("dict[str, Any]", document)
        if kind_of(valid) == SESSION:
            self.count += 1
            events = tuple(_event_of(event) for _, event in _kept(valid))
            return TelemetrySession(valid["session_id"].lower(), events)
        if self._held_count >= EVENTS_HELD_MAX or self._held_text >= TEXT_HELD_MAX:
            held = f"{EVENTS_HELD_MAX:,} standalone events, or {TEXT_HELD_MAX:,} characters of them"
            reason = f"comes after {held}; submit whole sessions in files of their own"
            return RefusedDocument(position, line, _id_of(document), (Violation("$", reason),))
        self.count += 1
        if "session_id" in valid:
            session_id = valid["session_id"].lower()
            is_new = session_id not in self._held
            fresh = self._held.setdefault(session_id, _Parts()).add(valid)
            self._held_count += len(fresh) or is_new  # a session takes room too, before it has an event
            self._held_text += sum(map(_text_of, fresh))
        return None

    def sessions(self) -> Iterator[TelemetrySession]:
        """Return the sessions that were put together, in the order in which they began to come."""
        for session_id, parts in self._held.items():
            yield TelemetrySession(session_id, tuple(parts.events))


class _Parts:
    """The events of one session, out of any number of documents."""

    def __init__(self) -> None:
        self.events: list[TelemetryEvent] = []
        self._most: Counter[str | bytes] = Counter()

    def add(self, document: Mapping[str, Any]) -> list[TelemetryEvent]:
        """Take the events that are new, and return these."""
        before = len(self.events)
        here: Counter[str | bytes] = Counter()
        for _, event in _kept(document):
            key = event["id"].lower() if "id" in event else _digest(event)
            here[key] = 1 if "id" in event else here[key] + 1
            if here[key] > self._most[key]:
                self._most[key] = here[key]
                self.events.append(_event_of(event))
        return self.events[before:]


def _text_of(event: TelemetryEvent) -> int:
    """How much text an event holds on to."""
    fields = (getattr(event, name) for name in event.__slots__)
    size = sum(len(value) for value in fields if isinstance(value, str))
    return size + (len(json.dumps(event.evidence)) if event.evidence else 0)


def _digest(event: Mapping[str, Any]) -> bytes:
    return sha256(json.dumps(event, sort_keys=True).encode()).digest()


def _kept(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((path, event) for path, event in events_of(document) if event["type"] in _KEPT)


def _event_of(event: Mapping[str, Any]) -> TelemetryEvent:
    data = event.get("data", {})
    return TelemetryEvent(
        event["type"],
        cast("datetime", time_of(event["timestamp"])),
        id=event["id"].lower() if "id" in event else None,
        turn_id=event.get("turn_id"),
        content_url=event.get("content_url"),
        content_id=event.get("content_id"),
        output_id=event.get("output_id"),
        output_element_id=event.get("output_element_id"),
        scope=data.get("scope"),
        characters=integer_of(data.get("chars_ingested")),
        tokens=integer_of(data.get("tokens_ingested")),
        content_version=data.get("content_version"),
        content_hash=data.get("content_hash"),
        citation_type=data.get("citation_type"),
        license_ref=event.get("license_ref"),
        terms_ref=event.get("terms_ref"),
        evidence=tuple(data.get("evidence", ())),
    )


def _id_of(document: object) -> str | None:
    found = document.get("session_id") if isinstance(document, dict) else None
    return found[:_ID_CHARACTERS] if isinstance(found, str) else None
