"""What a telemetry document must look like: Content Telemetry 1.0 (2 September 2026), as tables.

A document is a session, a standalone event or an event batch. Any 1.x is accepted (section 5.7.4): unknown fields pass,
and so do unknown event types of a later minor, and in 1.0 event types with a namespace (section 5.3), such as
`com.example.checkout_completed`. The rules that a JSON schema cannot express are in `rules.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from moiety.errors import Violation
from moiety.telemetry.checks import (
    Check,
    integer,
    list_of,
    matching,
    object_of,
    one_of,
    or_null,
    test,
    time_of,
)

SESSION: Final = "session"
EVENT: Final = "event"
BATCH: Final = "event_batch"

_VERSION: Final = re.compile(r"1\.(?:0|[1-9][0-9]{0,3})")
_FIRST_VERSION: Final = "1.0"
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x20\x7f\\]*")
_SHA256: Final = re.compile(r"sha256:[a-f0-9]{64}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_TOKEN: Final = re.compile(r"ct_[A-Za-z0-9_-]{16,240}")
_FIRST_YEAR: Final = 1970

_TEXT: Final = test(lambda value: isinstance(value, str), "must be text")
_NAME: Final = test(lambda value: isinstance(value, str) and value != "", "must be text, and not empty")
_BOOLEAN: Final = test(lambda value: isinstance(value, bool), "must be true or false")
_COUNT: Final = integer(0)
_IDENTIFIER: Final = matching(_UUID, "must be a UUID")
_HASH: Final = matching(_SHA256, "must be sha256: and 64 hexadecimal digits")
_LOCATION: Final = matching(_URI, "must be a URI")
_CLICK_TOKEN: Final = matching(_TOKEN, "must be ct_ and 16 to 240 letters, digits, - or _")
_MOMENT: Final = test(lambda value: time_of(value) is not None, "must be an RFC 3339 time")
_OCCURRENCE: Final = test(
    lambda value: (time := time_of(value)) is not None and time.year >= _FIRST_YEAR,
    "must be an RFC 3339 time, 1970 or later",
)
_NULLABLE_TEXT: Final = or_null(_TEXT)
_SCHEMED: Final = object_of({"scheme": _NAME, "ref": _LOCATION, "digest": _HASH}, ("scheme",))

_DATA: Final[Mapping[str, tuple[Mapping[str, Check], Sequence[str]]]] = {
    "content_retrieved": (
        {
            "media_type": _TEXT,
            "content_depth": _TEXT,
            "user_agent": _TEXT,
            "purpose": _TEXT,
            "bot_name": _TEXT,
            "verified": _BOOLEAN,
            "cache_status": _TEXT,
            "response_status": integer(100, 599),
            "response_bytes": _COUNT,
            "ja4": _TEXT,
            "asn": integer(),
            "asn_org": _TEXT,
            "country": matching(_COUNTRY, "must be two capital letters"),
        },
        (),
    ),
    "content_grounded": (
        {
            "scope": one_of("session", "turn"),
            "cached": _BOOLEAN,
            "provenance": one_of("agent_fetched", "agent_cached", "third_party_sourced"),
            "chars_ingested": _COUNT,
            "tokens_ingested": _COUNT,
            "content_version": _TEXT,
            "content_last_modified": _MOMENT,
            "content_hash": _HASH,
            "media_type": _TEXT,
            "content_fingerprint": object_of(
                {"scheme": _NAME, "detected": _BOOLEAN, "value": _NAME}, ("scheme", "detected")
            ),
        },
        ("scope",),
    ),
    "content_cited": (
        {
            "citation_type": one_of("direct_quote", "paraphrase", "reference", "contradiction", "unclassified"),
            "media_type": _TEXT,
            "excerpt_tokens": _COUNT,
            "excerpt_chars": _COUNT,
            "excerpt_hash": _HASH,
            "position": one_of("primary", "supporting", "mentioned", "unclassified"),
            "content_hash": _HASH,
            "url_verified": _BOOLEAN,
        },
        ("citation_type",),
    ),
    "content_presented": (
        {"presentation_kind": one_of("content", "source_reference"), "presentation_type": _TEXT, "media_type": _TEXT},
        ("presentation_kind", "presentation_type"),
    ),
    "content_engaged": ({"engagement_type": _TEXT}, ()),
    "turn_started": ({}, ()),
    "turn_completed": ({}, ()),
}
"""What an event's `data` may hold, by the event's type, and what of it is required."""

_REQUIRED: Final[Mapping[str, Sequence[str]]] = {
    "content_grounded": ("data",),
    "content_cited": ("id", "output_id", "data"),
    "content_presented": ("id", "output_id", "data"),
}
"""What an event of a type needs besides `type` and `timestamp`."""

_OTHER: Final = object_of({"data": object_of({"evidence": list_of(_SCHEMED)})})
_BY_TYPE: Final = {
    kind: object_of({"data": object_of({"evidence": list_of(_SCHEMED), **fields}, required)}, _REQUIRED.get(kind, ()))
    for kind, (fields, required) in _DATA.items()
}

_TURN: Final = object_of(
    {
        "privacy_level": one_of("full", "summary", "intent", "minimal"),
        **dict.fromkeys(
            ("query_text", "response_text", "query_intent", "response_type", "response_mode", "model_id"),
            _NULLABLE_TEXT,
        ),
        "topics": list_of(_TEXT),
        "content_urls_retrieved": list_of(_LOCATION),
        "content_urls_cited": list_of(_LOCATION),
        "query_tokens": or_null(_COUNT),
        "response_tokens": or_null(_COUNT),
        "ad_rendered": or_null(_BOOLEAN),
    },
    ("privacy_level",),
)

_TYPE_OF_FIRST: Final = test(
    lambda value: isinstance(value, str) and (value in _DATA or "." in value.strip(".")),
    f"must be one of {', '.join(_DATA)}, or a type with a namespace",
)
"""The types of events in 1.0; in later minors there may be more."""

_COMMON: Final = object_of(
    {
        "id": _IDENTIFIER,
        "type": _NAME,
        "timestamp": _OCCURRENCE,
        "turn_id": _NULLABLE_TEXT,
        "output_id": _NAME,
        "output_element_id": _NAME,
        "citation_id": _IDENTIFIER,
        "presentation_id": _IDENTIFIER,
        "ctx_token": _CLICK_TOKEN,
        "source_role": one_of("origin", "edge", "index", "agent"),
        "content_telemetry_id": or_null(_IDENTIFIER),
        "content_url": or_null(_LOCATION),
        "content_id": _NULLABLE_TEXT,
        "license_ref": _NULLABLE_TEXT,
        "terms_ref": _NULLABLE_TEXT,
        "turn": or_null(_TURN),
    },
    ("type", "timestamp"),
)


def _event(value: object, path: str, found: list[Violation]) -> None:
    """Check an event: what all have in common, then what its type asks for."""
    _COMMON(value, path, found)
    if isinstance(value, dict) and isinstance(kind := value.get("type"), str):
        _BY_TYPE.get(kind, _OTHER)(value, path, found)


def _first_event(value: object, path: str, found: list[Violation]) -> None:
    """Check an event of 1.0."""
    _event(value, path, found)
    if isinstance(value, dict) and isinstance(kind := value.get("type"), str):
        _TYPE_OF_FIRST(kind, f"{path}.type", found)


def _some(check: Check) -> Check:
    """Make a check of a list that is not empty."""

    def each(value: object, path: str, found: list[Violation]) -> None:
        list_of(check)(value, path, found)
        if value == []:
            found.append(Violation(path, "must have at least one event"))

    return each


_ACCESS_CONTEXT: Final = object_of(
    {"identifiers": list_of(object_of({"scheme": _TEXT, "value": _TEXT}, ("scheme", "value")))}
)

_CONTEXT: Final = {
    "session_id": _IDENTIFIER,
    "parent_session_id": _IDENTIFIER,
    "manifest_ref": or_null(_LOCATION),
    "started_at": _MOMENT,
}
"""What every document may say of its session."""


def _documents(event: Check) -> Mapping[str, Check]:
    envelope = {**_CONTEXT, "ctx_token": _CLICK_TOKEN, "agent_id": _TEXT}
    return {
        SESSION: object_of(
            {
                **_CONTEXT,
                "conformance_level": one_of("retrieval", "grounding", "citation"),
                "agent_id": _NULLABLE_TEXT,
                "content_scope": _NULLABLE_TEXT,
                "ended_at": or_null(_MOMENT),
                "data": or_null(object_of({"access_context": _ACCESS_CONTEXT})),
                "events": list_of(event),
            },
            ("session_id", "started_at"),
        ),
        EVENT: object_of({**envelope, "event": event}, ("event",)),
        BATCH: object_of({**envelope, "events": _some(event)}, ("events",)),
    }


_FIRST: Final = _documents(_first_event)
_LATER: Final = _documents(_event)

_KIND: Final = object_of(
    {
        "document_type": one_of(SESSION, EVENT, BATCH),
        "schema_version": matching(_VERSION, "must be 1.0 or a later 1.x"),
    },
    ("schema_version",),
)


def kind_of(document: Mapping[str, object]) -> str:
    """Return what kind of document one is; without a word of its own it is a session."""
    return str(document.get("document_type", SESSION))


def shape_violations(document: object) -> list[Violation]:
    """Give where a document has not the form that its schema asks for. Fields are JSON paths (`$` is the document)."""
    found: list[Violation] = []
    # Of another version or kind of document nothing else is known, and a list of its differences would hide the reason.
    _KIND(document, "$", found)
    if not found and isinstance(document, dict):
        checks = _FIRST if document["schema_version"] == _FIRST_VERSION else _LATER
        checks[kind_of(document)](document, "$", found)
    return found
