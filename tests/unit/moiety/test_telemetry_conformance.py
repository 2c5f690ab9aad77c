"""The standard's own conformance suite, by the names of its documents and our verdicts.

Content Telemetry 1.0 comes with documents that are valid and documents that are not. Each is remade here in its
essence, as a change to a document of ours, and judged as the suite judges it. There is one exception, which the
standard makes itself (end of section 5.7.5): a consumer strips text above a turn's privacy level, and does not refuse
the document. Left out are manifests, which are not usage, and the documents of the evidence profile, which is not core.
"""

from __future__ import annotations

import copy
from typing import Any, Final

import pytest

from moiety import RefusedDocument, Telemetry, TelemetrySession

Document = dict[str, Any]

SESSION_ID: Final = "5b7a1f7e-6a0c-4d0e-9a55-0c9d3d7f1e01"
URL: Final = "https://tunes.example/1"
OTHER_URL: Final = "https://tunes.example/2"
HASH: Final = "sha256:" + "0a" * 32
TOKEN: Final = "ct_0123456789abcdef"


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def event(kind: str, second: int = 1, **more: Any) -> Document:
    return {"type": kind, "timestamp": f"2026-09-10T10:00:{second:02}Z", **more}


def retrieved(**more: Any) -> Document:
    return event("content_retrieved", source_role="agent", content_url=URL) | more


def grounded(**data: Any) -> Document:
    return event("content_grounded", content_url=URL, data={"scope": "session"} | data)


def cited(number: int = 1, **more: Any) -> Document:
    event_ = event("content_cited", 2, id=uuid(number), output_id="answer:1", turn_id="1", content_url=URL)
    return event_ | {"data": {"citation_type": "paraphrase"}} | more


def presented(number: int = 2, **more: Any) -> Document:
    data = {"presentation_kind": "source_reference", "presentation_type": "link"}
    event_ = event("content_presented", 3, id=uuid(number), output_id="answer:1", turn_id="1", content_url=URL)
    return event_ | {"data": data} | more


def engaged(number: int | None = 2, **more: Any) -> Document:
    named = {} if number is None else {"presentation_id": uuid(number)}
    return event("content_engaged", 9, content_url=URL, data={"engagement_type": "link_click"}) | named | more


def started(**turn: Any) -> Document:
    return event("turn_started", 0, turn_id="1", turn={"privacy_level": "intent"} | turn)


def completed(**turn: Any) -> Document:
    return event("turn_completed", 4, turn_id="1", turn={"privacy_level": "intent"} | turn)


def session(*events: Document, **more: Any) -> Document:
    return {
        "schema_version": "1.0",
        "session_id": SESSION_ID,
        "started_at": "2026-09-10T10:00:00Z",
        "events": list(events),
    } | more


def alone(event_: Document, **more: Any) -> Document:
    return {"document_type": "event", "schema_version": "1.0", "session_id": SESSION_ID, "event": event_} | more


def batch(*events: Document, **more: Any) -> Document:
    return {
        "document_type": "event_batch",
        "schema_version": "1.0",
        "session_id": SESSION_ID,
        "events": list(events),
    } | more


def without(document: Document, path: str) -> Document:
    """A document without the field at a path."""
    found = copy.deepcopy(document)
    *way, last = path.split(".")
    inner: Any = found
    for step in way:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    del inner[last]
    return found


FUNNEL: Final = (started(), retrieved(), grounded(), cited(), presented(citation_id=uuid(1)), completed(), engaged())
EDGE: Final = {"purpose": "inference", "verified": True, "response_status": 200, "country": "IE", "cache_status": "hit"}

VALID: Final[dict[str, Document]] = {
    "event-batch-agent": batch(retrieved(), cited(), agent_id="a", started_at="2026-09-10T10:00:00Z"),
    "event-batch-destination-engagements": without(batch(engaged(None), engaged(None), ctx_token=TOKEN), "session_id"),
    "event-batch-edge": without(batch(retrieved(source_role="edge", data=EDGE)), "session_id"),
    "event-batch-grounding-provenance": batch(
        grounded(provenance="agent_fetched", cached=False),
        grounded(provenance="agent_cached", cached=True),
        grounded(provenance="third_party_sourced"),
    ),
    "event-standalone-agent": alone(retrieved(), agent_id="a", manifest_ref=None),
    "event-standalone-child-session": alone(grounded(), parent_session_id=uuid(9)),
    "event-standalone-edge": without(alone(retrieved(source_role="edge", data=EDGE)), "session_id"),
    "event-standalone-engaged-ctx-token": without(alone(engaged(None), ctx_token=TOKEN), "session_id"),
    "event-standalone-engaged-redirect": without(alone(engaged(None), ctx_token=TOKEN + "-_x"), "session_id"),
    "event-standalone-grounded-provenance": alone(grounded(provenance="agent_fetched", cached=False)),
    "event-standalone-grounding-fingerprint": alone(
        grounded(content_fingerprint={"scheme": "org.example.mark", "detected": True, "value": "7"})
    ),
    "event-standalone-index": alone(
        retrieved(source_role="index", content_id="mkt:a:1", data={"content_depth": "full"})
    ),
    "event-standalone-origin": without(alone(retrieved(source_role="origin", data={"user_agent": "x"})), "session_id"),
    "event-standalone-presented": alone(presented()),
    "event-standalone-terms-ref": alone(grounded() | {"terms_ref": "https://terms.example/1", "license_ref": "l"}),
    "session-access-context": session(
        data={"access_context": {"identifiers": [{"scheme": "ror", "value": "x"}, {"scheme": "new", "value": "y"}]}}
    ),
    "session-cached-grounding": session(grounded(cached=True, content_hash=HASH), completed(), completed()),
    "session-citation-contradiction": session(cited(data={"citation_type": "contradiction"}), completed()),
    "session-citation-tier": session(*FUNNEL, conformance_level="citation", document_type="session"),
    "session-custom-media-type": session(grounded(media_type="3d")),
    "session-custom-response-mode": session(completed(response_mode="podcast_generation", query_intent="price_check")),
    "session-earlier-turn-click": session(*FUNNEL, event("turn_started", 7, turn_id="2"), engaged()),
    "session-engagement-types": session(
        presented(), *(engaged(data={"engagement_type": kind}) for kind in ("copy", "agent_navigate", "a_new_one"))
    ),
    "session-evidence-reference": session(
        grounded(evidence=[{"scheme": "a", "ref": URL, "digest": HASH}, {"scheme": "unknown", "note": 1}])
    ),
    "session-funnel-exception-cited-no-grounded": session(cited(), completed()),
    "session-funnel-exception-presented-no-cited": session(grounded(), presented(), completed()),
    "session-funnel-exception-presented-no-grounded": session(presented(), completed()),
    "session-grounding-tier": session(started(), grounded(), completed(), conformance_level="grounding"),
    "session-minimal": without(session(), "events"),
    "session-multi-agent-child": session(grounded(), parent_session_id=uuid(9)),
    "session-multi-owner-catalogue": session(
        retrieved(source_role="index"),
        grounded(),
        without(grounded(), "content_url") | {"content_id": "mkt:b:1"},
        completed(),
    ),
    "session-multi-turn": session(*FUNNEL, event("turn_completed", 20, turn_id="2")),
    "session-presentation-multimodal": session(
        presented(2, data={"presentation_kind": "content", "presentation_type": "embed", "media_type": "video"}),
        presented(3, data={"presentation_kind": "source_reference", "presentation_type": "spoken_credit"}),
        presented(4, data={"presentation_kind": "content", "presentation_type": "hologram"}),
    ),
    "session-repeated-link-engagement": session(presented(2), presented(3), engaged(2), engaged(3)),
    "session-retrieval-tier": session(retrieved(), conformance_level="retrieval"),
    "turn-privacy-full": session(completed(privacy_level="full", query_text="q", response_text="r")),
    "turn-privacy-intent": session(completed(privacy_level="intent", query_intent="question", model_id="m")),
    "turn-privacy-minimal": session(completed(privacy_level="minimal", query_tokens=1, response_tokens=None)),
    "turn-privacy-summary": session(completed(privacy_level="summary", query_text="s", topics=["t"])),
}
"""What is taken."""

STRIPPED: Final[dict[str, Document]] = {
    "privacy-violation-ad-rendered-at-minimal": session(completed(privacy_level="minimal", ad_rendered=True)),
    "privacy-violation-model-id-at-minimal": session(completed(privacy_level="minimal", model_id="secret")),
    "privacy-violation-query-at-intent": session(completed(query_text="secret")),
    "privacy-violation-query-at-minimal": session(completed(privacy_level="minimal", query_text="secret")),
    "privacy-violation-query-at-minimal-batch": batch(completed(privacy_level="minimal", query_text="secret")),
    "privacy-violation-query-at-minimal-standalone": alone(completed(privacy_level="minimal", query_text="secret")),
    "privacy-violation-query-intent-at-minimal": session(completed(privacy_level="minimal", query_intent="secret")),
    "privacy-violation-response-mode-at-minimal": session(completed(privacy_level="minimal", response_mode="secret")),
    "privacy-violation-response-text-at-intent": session(completed(response_text="secret")),
    "privacy-violation-response-text-at-minimal": session(completed(privacy_level="minimal", response_text="secret")),
    "privacy-violation-response-type-at-minimal": session(completed(privacy_level="minimal", response_type="secret")),
    "privacy-violation-topics-at-minimal": session(completed(privacy_level="minimal", topics=["secret"])),
}
"""What the suite has as invalid, and a consumer takes without the field that is too much."""

FIRST: Final = "$.events[0]"

REFUSED: Final[dict[str, tuple[Document, str]]] = {
    "access-context-identifier-missing-value": (
        session(data={"access_context": {"identifiers": [{"scheme": "ror"}]}}),
        "$.data.access_context.identifiers[0].value",
    ),
    "access-context-identifiers-not-array": (
        session(data={"access_context": {"identifiers": {}}}),
        "$.data.access_context.identifiers",
    ),
    "batch-ctx-token-bad-pattern": (without(batch(engaged(None), ctx_token="ct_short"), "session_id"), "$.ctx_token"),
    "batch-ctx-token-non-engagement": (batch(grounded(), ctx_token=TOKEN), FIRST),
    "batch-empty-events": (batch(), "$.events"),
    "batch-engaged-missing-presentation-id": (batch(engaged(None)), f"{FIRST}.presentation_id"),
    "batch-missing-schema-version": (without(batch(retrieved()), "schema_version"), "$.schema_version"),
    "batch-missing-session-and-ctx-token": (without(batch(grounded()), "session_id"), "$"),
    "batch-missing-session-mixed-retrieval": (without(batch(retrieved(), grounded()), "session_id"), "$"),
    "citation-id-on-grounded": (session(grounded() | {"citation_id": uuid(1)}), f"{FIRST}.citation_id"),
    "citation-position-invalid": (
        session(cited(data={"citation_type": "reference", "position": "top"})),
        f"{FIRST}.data.position",
    ),
    "citation-type-invalid": (session(cited(data={"citation_type": "gossip"})), f"{FIRST}.data.citation_type"),
    "cited-missing-citation-type": (session(cited(data={})), f"{FIRST}.data.citation_type"),
    "cited-missing-data": (session(without(cited(), "data")), f"{FIRST}.data"),
    "cited-missing-id": (session(without(cited(), "id")), f"{FIRST}.id"),
    "cited-missing-output-id": (session(without(cited(), "output_id")), f"{FIRST}.output_id"),
    "cited-missing-source-reference": (session(without(cited(), "content_url")), FIRST),
    "cited-negative-excerpt-chars": (
        session(cited(data={"citation_type": "reference", "excerpt_chars": -1})),
        f"{FIRST}.data.excerpt_chars",
    ),
    "cited-null-source-reference": (session(cited(content_url=None, content_id=None)), FIRST),
    "content-event-missing-identifier": (session(without(grounded(), "content_url")), FIRST),
    "ctx-token-bad-pattern": (without(alone(engaged(None), ctx_token="token"), "session_id"), "$.ctx_token"),
    "ctx-token-on-grounded": (session(grounded() | {"ctx_token": TOKEN}), f"{FIRST}.ctx_token"),
    "duplicate-event-id": (session(presented(2), presented(2)), "$.events[1].id"),
    "empty-output-id": (session(cited(output_id="")), f"{FIRST}.output_id"),
    "engaged-missing-identifier": (session(presented(), without(engaged(), "content_url")), "$.events[1]"),
    "engaged-missing-presentation-id": (session(presented(), engaged(None)), "$.events[1].presentation_id"),
    "engaged-presentation-content-mismatch": (
        session(presented(), engaged(content_url=OTHER_URL)),
        "$.events[1].presentation_id",
    ),
    "engaged-presentation-id-no-presentations": (session(engaged()), f"{FIRST}.presentation_id"),
    "engaged-presentation-id-unmatched": (session(presented(), engaged(7)), "$.events[1].presentation_id"),
    "engaged-standalone-missing-presentation-and-token": (alone(engaged(None)), "$.event.presentation_id"),
    "event-level-ctx-token-bad-pattern": (session(presented(), engaged(ctx_token="ct_x")), "$.events[1].ctx_token"),
    "grounded-missing-identifier-batch": (batch(without(grounded(), "content_url")), FIRST),
    "grounded-missing-identifier-standalone": (alone(without(grounded(), "content_url")), "$.event"),
    "grounded-negative-chars-ingested": (session(grounded(chars_ingested=-1)), f"{FIRST}.data.chars_ingested"),
    "grounded-negative-tokens-ingested": (session(grounded(tokens_ingested=-1)), f"{FIRST}.data.tokens_ingested"),
    "grounding-fingerprint-missing-detected": (
        session(grounded(content_fingerprint={"scheme": "x"})),
        f"{FIRST}.data.content_fingerprint.detected",
    ),
    "grounding-fingerprint-missing-scheme": (
        session(grounded(content_fingerprint={"detected": True})),
        f"{FIRST}.data.content_fingerprint.scheme",
    ),
    "grounding-fingerprint-preserved-in-output": (
        session(grounded(content_fingerprint={"scheme": "x", "detected": True, "preserved_in_output": True})),
        f"{FIRST}.data.content_fingerprint.preserved_in_output",
    ),
    "grounding-missing-data": (session(without(grounded(), "data")), f"{FIRST}.data"),
    "grounding-provenance-cached-conflict": (
        session(grounded(provenance="agent_fetched", cached=True)),
        f"{FIRST}.data.cached",
    ),
    "grounding-provenance-cached-conflict-agent-cached": (
        session(grounded(provenance="agent_cached")),
        f"{FIRST}.data.cached",
    ),
    "grounding-provenance-invalid": (session(grounded(provenance="found")), f"{FIRST}.data.provenance"),
    "grounding-scope-invalid": (session(grounded(scope="forever")), f"{FIRST}.data.scope"),
    "grounding-scope-missing": (session(grounded() | {"data": {}}), f"{FIRST}.data.scope"),
    "invalid-event-type": (session(event("content_summarised", content_url=URL)), f"{FIRST}.type"),
    "invalid-privacy-level": (session(completed(privacy_level="secret")), f"{FIRST}.turn.privacy_level"),
    "invalid-schema-version": (session(schema_version="9.9"), "$.schema_version"),
    "invalid-source-role": (session(retrieved(source_role="guest")), f"{FIRST}.source_role"),
    "legacy-content-displayed": (session(event("content_displayed", content_url=URL)), f"{FIRST}.type"),
    "legacy-schema-version-0-1": (session(schema_version="0.1"), "$.schema_version"),
    "malformed-citation-id": (session(presented(citation_id="c-1")), f"{FIRST}.citation_id"),
    "malformed-content-hash": (session(grounded(content_hash="md5:00")), f"{FIRST}.data.content_hash"),
    "malformed-content-urls-cited": (
        session(completed(content_urls_cited=["no url"])),
        f"{FIRST}.turn.content_urls_cited[0]",
    ),
    "malformed-event-id": (session(cited() | {"id": "1"}), f"{FIRST}.id"),
    "malformed-parent-session-id": (session(parent_session_id="parent"), "$.parent_session_id"),
    "malformed-presentation-id": (session(engaged(None, presentation_id="p")), f"{FIRST}.presentation_id"),
    "malformed-session-id": (session(session_id="s-1"), "$.session_id"),
    "malformed-started-at": (session(started_at="yesterday"), "$.started_at"),
    "presentation-id-on-cited": (session(cited(presentation_id=uuid(2))), f"{FIRST}.presentation_id"),
    "presented-citation-content-mismatch": (
        session(cited(), presented(citation_id=uuid(1), content_url=OTHER_URL)),
        "$.events[1].citation_id",
    ),
    "presented-citation-id-unmatched": (session(presented(citation_id=uuid(7))), f"{FIRST}.citation_id"),
    "presented-missing-data": (session(without(presented(), "data")), f"{FIRST}.data"),
    "presented-missing-identifier": (session(without(presented(), "content_url")), FIRST),
    "retrieved-bad-country": (session(retrieved(data={"country": "Eire"})), f"{FIRST}.data.country"),
    "retrieved-missing-identifier": (session(without(retrieved(), "content_url")), FIRST),
    "retrieved-missing-source-role": (session(without(retrieved(), "source_role")), f"{FIRST}.source_role"),
    "retrieved-response-status-out-of-range": (
        session(retrieved(data={"response_status": 1000})),
        f"{FIRST}.data.response_status",
    ),
    "shared-ctx-token-two-presentations": (
        session(presented(2), presented(3), engaged(2, ctx_token=TOKEN), engaged(3, ctx_token=TOKEN)),
        "$.events[3].ctx_token",
    ),
    "standalone-ctx-token-non-engagement": (alone(grounded(), ctx_token=TOKEN), "$.event"),
    "standalone-malformed-session-id": (alone(retrieved(), session_id="s-1"), "$.session_id"),
    "standalone-missing-schema-version": (without(alone(retrieved()), "schema_version"), "$.schema_version"),
    "standalone-missing-session-and-ctx-token": (without(alone(grounded()), "session_id"), "$"),
    "turn-on-content-event": (session(grounded() | {"turn": {"privacy_level": "full"}}), f"{FIRST}.turn"),
    "withdrawn-ip-hash": (alone(retrieved(data={"ip_hash": HASH})), "$.event.data.ip_hash"),
    "withdrawn-ip-hash-batch": (batch(retrieved(data={"ip_hash": HASH})), f"{FIRST}.data.ip_hash"),
    "withdrawn-ip-hash-session": (session(retrieved(data={"ip_hash": HASH})), f"{FIRST}.data.ip_hash"),
}
"""What is refused, with the first place that is named."""


@pytest.mark.parametrize("name", VALID)
def test_what_is_valid_is_taken(name: str) -> None:
    telemetry = Telemetry([VALID[name]])
    assert [str(found) for found in telemetry if isinstance(found, RefusedDocument)] == []
    assert telemetry.document_count == 1


@pytest.mark.parametrize("name", STRIPPED)
def test_text_above_the_privacy_level_is_stripped_and_the_rest_taken(name: str) -> None:
    (found,) = Telemetry([STRIPPED[name]])
    assert isinstance(found, TelemetrySession)
    assert len(found.events) == 1
    assert "secret" not in repr(found)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_invalid_is_refused_where_it_is_wrong(name: str) -> None:
    document, field = REFUSED[name]
    (found,) = Telemetry([document])
    assert isinstance(found, RefusedDocument)
    assert field in [violation.field for violation in found.violations]


@pytest.mark.parametrize("more", [{"novelty": {}}, {"schema_version": "1.9"}], ids=str)
def test_what_is_valid_stays_so_in_a_later_minor_and_with_unknown_fields(more: Document) -> None:
    for name, document in VALID.items():
        assert not [str(found) for found in Telemetry([document | more]) if isinstance(found, RefusedDocument)], name
