"""The rules of Content Telemetry 1.0 that a JSON schema cannot say (section 5.7.5), for documents of the right form.

One is not enforced: text above a turn's privacy level is no reason to refuse a document (end of that section); none of
it is kept. Coverage and conformance levels are the reporter's promises, which a single document cannot break.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from moiety.errors import Violation
from moiety.telemetry.schema import EVENT, SESSION, kind_of, shape_violations

_Event = Mapping[str, Any]

_ONLY_ON: Final = {
    "presentation_id": ("content_engaged",),
    "ctx_token": ("content_engaged",),
    "citation_id": ("content_presented",),
    "turn": ("turn_started", "turn_completed"),
}
"""The fields that belong to some types of events."""

_CORE: Final = ("content_", "turn_")
_CACHED: Final = {"agent_fetched": False, "agent_cached": True}


def violations(document: object) -> list[Violation]:
    """Return what is wrong with a document; nothing where it is valid. Fields are JSON paths (`$` is the document)."""
    found = shape_violations(document)
    if not found and isinstance(document, dict):
        found += [violation for path, event in events_of(document) for violation in _of_event(event, path)]
        found += _of_session(document) if kind_of(document) == SESSION else _of_envelope(document)
    return found


def events_of(document: Mapping[str, Any]) -> Iterator[tuple[str, _Event]]:
    """Return the events of a document with their JSON paths."""
    if kind_of(document) == EVENT:
        yield "$.event", document["event"]
    else:
        yield from ((f"$.events[{place}]", event) for place, event in enumerate(document.get("events", ())))


def _of_event(event: _Event, path: str) -> Iterator[Violation]:
    kind: str = event["type"]
    data = event.get("data", {})
    if kind.startswith("content_") and not (event.get("content_url") or event.get("content_id")):
        yield Violation(path, "has neither content_url nor content_id")
    if kind == "content_retrieved" and "source_role" not in event:
        yield Violation(f"{path}.source_role", "is missing")
    for name, kinds in _ONLY_ON.items():
        if event.get(name) is not None and kind not in kinds and kind.startswith(_CORE):
            yield Violation(f"{path}.{name}", f"belongs to {' and '.join(kinds)} only")
    if "ip_hash" in data:
        yield Violation(f"{path}.data.ip_hash", "was withdrawn in 1.0 and must not be reported")
    if kind == "content_grounded":
        yield from _of_grounding(data, f"{path}.data")


def _of_grounding(data: Mapping[str, Any], path: str) -> Iterator[Violation]:
    cached = _CACHED.get(data.get("provenance", ""))
    if cached is not None and data.get("cached") is not cached:
        yield Violation(f"{path}.cached", f"must be {str(cached).lower()} where provenance is {data['provenance']}")
    if "preserved_in_output" in data.get("content_fingerprint", {}):
        yield Violation(f"{path}.content_fingerprint.preserved_in_output", "is not part of 1.0")


def _of_envelope(document: Mapping[str, Any]) -> Iterator[Violation]:
    token = document.get("ctx_token")
    kinds = {event["type"] for _, event in events_of(document)}
    if token is None and "session_id" not in document and kinds != {"content_retrieved"}:
        yield Violation("$", "has neither session_id nor ctx_token")
    for path, event in events_of(document):
        if event["type"] != "content_engaged" and token is not None:
            yield Violation(path, "is not content_engaged, the only type with a ctx_token")
        if event["type"] == "content_engaged" and token is None and "presentation_id" not in event:
            yield Violation(f"{path}.presentation_id", "is missing")


def _of_session(document: Mapping[str, Any]) -> Iterator[Violation]:
    """What holds between the events of a session document."""
    events = list(events_of(document))
    first: dict[tuple[str, str], _Event] = {}
    ids: set[str] = set()
    for path, event in events:
        if "id" in event:
            identity = event["id"].lower()
            if identity in ids:
                yield Violation(f"{path}.id", "is in the session twice")
            ids.add(identity)
            first.setdefault((event["type"], identity), event)
    bound: dict[str, str] = {}
    for path, event in events:
        if event["type"] == "content_engaged":
            yield from _reference(path, event, "presentation_id", "content_presented", first)
            token, presentation = event.get("ctx_token"), event.get("presentation_id", "").lower()
            if token is not None and bound.setdefault(token, presentation) != presentation:
                yield Violation(f"{path}.ctx_token", "identifies two presentations")
        elif event["type"] == "content_presented" and "citation_id" in event:
            yield from _reference(path, event, "citation_id", "content_cited", first)


def _reference(
    path: str, event: _Event, name: str, kind: str, first: Mapping[tuple[str, str], _Event]
) -> Iterator[Violation]:
    if name not in event:
        yield Violation(f"{path}.{name}", "is missing")
    elif (named := first.get((kind, event[name].lower()))) is None:
        yield Violation(f"{path}.{name}", f"names no {kind} of the session")
    elif any(_differ(event.get(field), named.get(field)) for field in ("content_id", "content_url")):
        yield Violation(f"{path}.{name}", f"names a {kind} of other content")


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other
