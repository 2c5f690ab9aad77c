"""What a session document must look like: Content Telemetry, schema version 0.1, as tables.

The preview went through several drafts under that one number, from the published one of June 2026 to the last of
August 2026 (github.com/SPUR-Coalition/telemetry, `telemetry-session.json`), and a session does not say which it
follows. A session written to any of them is valid here: what later drafts renamed stands beside the older name, and
what they came to require of events that the first had too stays optional. Unknown fields are tolerated, as section
5.7.4 asks. Of the rules beyond the JSON Schema (section 5.7.5) one is held, as it is in all drafts: a content event
names its content. Text above a turn's privacy level is no reason to refuse (that section again); nothing of it is kept.
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

VERSION: Final = "0.1"

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x20\x7f\\]*")
_SHA256 = re.compile(r"sha256:[a-f0-9]{64}")
_COUNTRY = re.compile(r"[A-Z]{2}")
_FIRST_YEAR = 1970


def violations(document: object) -> list[Violation]:
    """Give what is wrong with a session document; nothing where it is valid. Fields are JSON paths (`$` is the
    session).
    """
    found: list[Violation] = []
    # Of another version or kind of document nothing else is known, and a list of its differences would hide the reason.
    _KIND(document, "$", found)
    if not found:
        _SESSION(document, "$", found)
    return found


def _event(value: object, path: str, found: list[Violation]) -> None:
    """An event: what all have in common, then what its type asks for."""
    _COMMON(value, path, found)
    if not isinstance(value, dict) or not isinstance(kind := value.get("type"), str):
        return
    if kind in _BY_TYPE:
        _BY_TYPE[kind](value, path, found)
    if kind.startswith("content_") and not any(
        isinstance(value.get(name), str) for name in ("content_url", "content_id")
    ):
        found.append(Violation(path, "has neither content_url nor content_id"))


_TEXT = test(lambda value: isinstance(value, str), "must be text")
_BOOLEAN = test(lambda value: isinstance(value, bool), "must be true or false")
_COUNT = integer(0)
_IDENTIFIER = matching(_UUID, "must be a UUID")
_HASH = matching(_SHA256, "must be sha256: and 64 hexadecimal digits")
_LOCATION = matching(_URI, "must be a URI")
_MOMENT = test(lambda value: time_of(value) is not None, "must be an RFC 3339 time")
_OCCURRENCE = test(
    lambda value: (time := time_of(value)) is not None and time.year >= _FIRST_YEAR,
    "must be an RFC 3339 time, 1970 or later",
)
_NULLABLE_TEXT = or_null(_TEXT)

_DATA: Final[Mapping[str, tuple[Mapping[str, Check], Sequence[str]]]] = {
    "content_retrieved": (
        {
            "media_type": _TEXT,
            "user_agent": _TEXT,
            "bot_category": _TEXT,
            "bot_name": _TEXT,
            "verified": _BOOLEAN,
            "cache_status": _TEXT,
            "response_status": integer(100, 599),
            "response_bytes": _COUNT,
            "ja4": _TEXT,
            "asn": integer(),
            "asn_org": _TEXT,
            "country": matching(_COUNTRY, "must be two capital letters"),
            "ip_hash": _HASH,
        },
        (),
    ),
    "content_grounded": (
        {
            "scope": one_of("session", "turn"),
            "cached": _BOOLEAN,
            "provenance": one_of("agent_fetched", "agent_cached", "third_party_sourced"),
            "tokens_ingested": _COUNT,
            "chars_ingested": _COUNT,
            "content_version": _TEXT,
            "content_last_modified": _MOMENT,
            "content_hash": _HASH,
            "media_type": _TEXT,
            "content_fingerprint": object_of({"scheme": _TEXT, "detected": _BOOLEAN}, ("scheme", "detected")),
        },
        (),
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
        (),
    ),
    "content_reproduced": (
        {
            "reproduction_type": one_of("verbatim", "near_verbatim", "unclassified"),
            "media_type": _TEXT,
            "reproduced_chars": _COUNT,
            "reproduced_tokens": _COUNT,
            "reproduced_hash": _HASH,
            "content_hash": _HASH,
        },
        ("reproduction_type",),
    ),
    "content_displayed": ({"display_type": _TEXT, "media_type": _TEXT}, ()),
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
    "content_reproduced": ("id", "output_id", "data"),
    "content_presented": ("id", "output_id", "data"),
}
"""What an event of a type needs besides `type` and `timestamp`."""

_BY_TYPE: Final = {
    kind: object_of({"data": object_of(fields, required)}, _REQUIRED.get(kind, ()))
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

_COMMON: Final = object_of(
    {
        "id": _IDENTIFIER,
        "type": one_of(*_DATA),
        "timestamp": _OCCURRENCE,
        "turn_id": _NULLABLE_TEXT,
        "output_id": _TEXT,
        "output_element_id": _TEXT,
        "citation_id": _IDENTIFIER,
        "presentation_id": _IDENTIFIER,
        "ctx_token": _TEXT,
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

_ACCESS_CONTEXT: Final = object_of(
    {"identifiers": list_of(object_of({"scheme": _TEXT, "value": _TEXT}, ("scheme", "value")))}
)

_KIND: Final = object_of({"document_type": one_of("session"), "schema_version": one_of(VERSION)})

_SESSION: Final = object_of(
    {
        "conformance_level": one_of("retrieval", "grounding", "citation", "attribution"),
        "session_id": _IDENTIFIER,
        "parent_session_id": _IDENTIFIER,
        "agent_id": _NULLABLE_TEXT,
        "content_scope": _NULLABLE_TEXT,
        "manifest_ref": _NULLABLE_TEXT,
        "started_at": _MOMENT,
        "ended_at": or_null(_MOMENT),
        "data": or_null(object_of({"access_context": _ACCESS_CONTEXT})),
        "events": list_of(_event),
    },
    ("schema_version", "session_id", "started_at"),
)
