from __future__ import annotations

import copy
import gzip
import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import grpc
import pytest

from moiety import (
    Client,
    DomainMap,
    IdScheme,
    InvalidDomainError,
    Mode,
    RefusedDocument,
    ShareBasis,
    TelemetrySession,
    UsageEvent,
    UsageFileError,
    event_id_of,
    json_text,
    read_telemetry,
    usage_events_of,
)
from moiety.batches import decode
from moiety.files import sources
from moiety.telemetry import Owner, Telemetry, reading, sessions
from moiety.telemetry.rules import violations
from moiety.telemetry.sessions import VIOLATIONS_MAX, Documents
from moiety.v1 import usage_pb2, usage_pb2_grpc
from services.cli.app import main
from services.cli.base.exits import Exit, InputError
from services.cli.pools.telemetry import read_domains

EXAMPLE: Final = Path(__file__).parents[3] / "docs/examples/telemetry.ndjson"
DOCUMENTS: Final[list[dict[str, Any]]] = [json.loads(line) for line in EXAMPLE.read_text("utf-8").splitlines()]
SESSION_ID: Final = "3f1c8a52-9b0e-4a57-8d63-1d7e0c2b9a01"
DOMAINS: Final = DomainMap(
    {
        "irish": ["irish-music.example"],
        "scottish": ["scots-fiddle.example", "content-id:mkt:scots-fiddle:"],
        "bavarian": ["volksmusik-bayern.example"],
    }
)
IRISH: Final = "https://irish-music.example/1"
SCOTTISH: Final = "https://scots-fiddle.example/1"
BAVARIAN: Final = "https://volksmusik-bayern.example/1"
NOBODY: Final = "https://encyclopedia.example.org/1"
MILLIARD: Final = 1_000_000_000


def at(second: int) -> str:
    return f"2026-06-15T10:{second // 60:02}:{second % 60:02}Z"


def grounded(second: int, url: str | None, characters: int | None = None, **more: Any) -> dict[str, Any]:
    """Grounding for the session, or for a turn where one is named."""
    data: dict[str, Any] = {"scope": "session" if more.get("turn_id") is None else "turn"}
    data |= {name: more.pop(name) for name in ("scope", "tokens_ingested", *PIECE) if name in more}
    data |= {} if characters is None else {"chars_ingested": characters}
    location = {} if url is None else {"content_url": url}
    return {"type": "content_grounded", "timestamp": at(second), **location, "data": data, **more}


PIECE: Final = ("content_hash", "content_version", "evidence")
_numbers = count(1)


def event_id() -> str:
    return f"90a1f0aa-3d0c-4c36-9f3e-{next(_numbers):012}"


def cited(second: int, url: str, turn_id: str | None = None, kind: str = "reference", **more: Any) -> dict[str, Any]:
    element = {"id": event_id(), "output_id": "answer", "output_element_id": event_id()}
    event = {"type": "content_cited", "timestamp": at(second), "content_url": url, "turn_id": turn_id, **element}
    return event | {"data": {"citation_type": kind}} | more


def presented(second: int, url: str, turn_id: str | None = None, **more: Any) -> dict[str, Any]:
    data = {"presentation_kind": "source_reference", "presentation_type": "link"}
    event = {"type": "content_presented", "timestamp": at(second), "content_url": url, "turn_id": turn_id}
    return event | {"id": event_id(), "output_id": "answer", "data": data} | more


def completed(second: int, turn_id: str | None = None) -> dict[str, Any]:
    return {"type": "turn_completed", "timestamp": at(second), "turn_id": turn_id}


def session(*events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "schema_version": "1.0",
        "session_id": SESSION_ID,
        "started_at": "2026-06-15T10:00:00Z",
        "events": list(events),
        **more,
    }


def take(document: object, position: int = 0, line: int | None = None) -> TelemetrySession | RefusedDocument | None:
    return Documents().take(document, position, line)


def usage(
    document: object,
    by: str = "grounded-characters",
    domains: DomainMap = DOMAINS,
    id_scheme: IdScheme = IdScheme.OWN,
) -> list[UsageEvent]:
    found = take(document)
    assert isinstance(found, TelemetrySession), str(found)
    return usage_events_of(found, by=by, domains=domains, id_scheme=id_scheme)


def shares(*events: dict[str, Any], by: str = "grounded-characters") -> list[dict[str, int]]:
    return [dict(event.shares) for event in usage(session(*events), by)]


# What applies to a turn, and how it is shared.


def test_shares_are_floors_of_the_characters_and_the_rest_is_unattributed() -> None:
    found = shares(
        grounded(1, IRISH, 1, turn_id="1"),
        grounded(1, SCOTTISH, 1, turn_id="1"),
        grounded(1, NOBODY, 1, turn_id="1"),
        completed(2, "1"),
    )
    assert found == [{"irish": 333_333_333, "scottish": 333_333_333}]


def test_several_pieces_of_one_collective_are_added_before_they_are_divided() -> None:
    pieces = [grounded(1, f"https://a{place}.irish-music.example/", 1) for place in range(3)]
    assert shares(*pieces, grounded(1, NOBODY, 4), completed(2, "1")) == [{"irish": 428_571_428}]


def test_grounding_for_the_session_informs_every_turn_after_it_and_for_a_turn_only_that() -> None:
    found = shares(
        completed(1, "1"),
        grounded(2, IRISH, 300, scope="session", turn_id="2"),
        grounded(2, SCOTTISH, 100, scope="turn", turn_id="2"),
        completed(3, "2"),
        completed(4, "3"),
    )
    assert found == [{}, {"irish": 750_000_000, "scottish": 250_000_000}, {"irish": MILLIARD}]


def test_grounding_for_a_turn_that_names_none_is_for_the_turn_under_way() -> None:
    found = shares(grounded(1, IRISH, 1, scope="turn"), completed(2, "1"), completed(3, "2"))
    assert found == [{"irish": MILLIARD}, {}]


def test_without_a_turn_id_a_turn_takes_what_was_reported_since_the_last() -> None:
    found = shares(
        cited(1, IRISH),
        completed(2),
        cited(3, SCOTTISH),
        cited(4, IRISH),
        completed(5, "named"),
        cited(6, BAVARIAN),
        by="citations",
    )
    assert found == [{"irish": MILLIARD}, {"irish": 500_000_000, "scottish": 500_000_000}]


def test_times_order_the_events_and_equal_times_are_in_the_order_of_the_document() -> None:
    late, early = grounded(9, IRISH, 1, scope="session"), grounded(1, SCOTTISH, 1, scope="session")
    assert shares(late, completed(5, "1"), early) == [{"scottish": MILLIARD}]
    same = [completed(5, "1"), grounded(5, IRISH, 1, scope="session"), completed(5, "2")]
    assert shares(*same) == [{}, {"irish": MILLIARD}]


def test_a_citation_may_be_reported_after_its_turn() -> None:
    assert shares(completed(1, "1"), cited(2, IRISH, "1"), completed(3, "2"), by="citations") == [
        {"irish": MILLIARD},
        {},
    ]


def test_a_contradicting_citation_counts_and_is_credited_to_nobody() -> None:
    events = [cited(1, IRISH, "1"), cited(1, SCOTTISH, "1", "contradiction"), completed(2, "1")]
    assert shares(*events, by="citations") == [{"irish": 500_000_000}]


def test_only_the_events_of_the_basis_count() -> None:
    events = [grounded(1, IRISH, 5), cited(1, SCOTTISH, "1"), completed(2, "1")]
    assert shares(*events) == [{"irish": MILLIARD}]
    assert shares(*events, by="citations") == [{"scottish": MILLIARD}]


@pytest.mark.parametrize(
    ("irish", "scottish", "expected"),
    [
        ((3, 100), (1, 900), {"irish": 750_000_000, "scottish": 250_000_000}),  # both complete: characters
        ((3, 100), (None, 300), {"irish": 250_000_000, "scottish": 750_000_000}),  # only tokens are complete
        ((3, None), (1, 900), {"irish": 750_000_000, "scottish": 250_000_000}),  # only characters are complete
        ((3, None), (None, 900), {"irish": MILLIARD}),  # neither: characters, and the other weighs nothing
        ((None, 100), (None, None), {"irish": MILLIARD}),  # neither, and no characters at all: tokens
        ((None, None), (None, None), {}),
        ((0, 10), (0, 10), {}),
    ],
)
def test_characters_and_tokens_are_never_mixed_in_a_turn(
    irish: tuple[int | None, int | None], scottish: tuple[int | None, int | None], expected: dict[str, int]
) -> None:
    events = [
        grounded(1, url, characters, **({} if tokens is None else {"tokens_ingested": tokens}))
        for url, (characters, tokens) in ((IRISH, irish), (SCOTTISH, scottish))
    ]
    assert shares(*events, completed(2, "1")) == [expected]


def test_what_is_grounded_again_in_its_scope_counts_once() -> None:
    once = [grounded(1, IRISH, 300), grounded(1, NOBODY, 300), completed(3, "1")]
    again = [grounded(2, IRISH, 300), grounded(2, IRISH, 200)]
    assert shares(*once, *again) == [{"irish": 500_000_000}]
    assert shares(*once, grounded(2, IRISH, 300, turn_id="1")) == [{"irish": 666_666_666}]  # another scope


def test_pieces_of_content_are_told_apart_by_their_hashes_and_its_versions_by_name() -> None:
    first, second = ("sha256:" + digit * 64 for digit in "12")
    pieces = [
        grounded(1, IRISH, 100, content_hash=first),
        grounded(1, IRISH, 200, content_hash=second),
        grounded(2, IRISH, 200, content_hash=second),
        grounded(1, NOBODY, 100),
    ]
    assert shares(*pieces, completed(3, "1")) == [{"irish": 750_000_000}]
    newer = grounded(2, IRISH, 100, content_version="2", content_hash=first)
    assert shares(*pieces, newer, completed(3, "1")) == [{"irish": 800_000_000}]


def test_many_pieces_of_one_content_are_summed_as_they_come() -> None:
    pieces = [grounded(1, IRISH, 1, content_hash=f"sha256:{number:064x}") for number in range(20_000)]
    assert shares(*pieces, grounded(1, NOBODY, 60_000), completed(2, "1")) == [{"irish": 250_000_000}]


def test_a_piece_that_was_not_counted_leaves_its_content_uncounted() -> None:
    pieces = [
        grounded(1, IRISH, 100, tokens_ingested=1),
        grounded(1, IRISH, None, content_hash="sha256:" + "1" * 64, tokens_ingested=2),
        grounded(1, NOBODY, 100, tokens_ingested=1),
    ]
    assert shares(*pieces, completed(3, "1")) == [{"irish": 750_000_000}]


def test_content_is_one_by_its_id_whatever_its_address() -> None:
    named = [grounded(1, f"https://{place}.irish-music.example/", 100, content_id="tune-1") for place in "ab"]
    assert shares(*named, grounded(1, NOBODY, 100), completed(2, "1")) == [{"irish": 500_000_000}]


def test_a_citation_is_a_source_and_an_element_of_the_answer() -> None:
    element = {"output_element_id": "answer:1"}
    events = [cited(1, IRISH, "1", **element), cited(1, IRISH, "1", **element), cited(1, NOBODY, "1", **element)]
    assert shares(*events, completed(2, "1"), by="citations") == [{"irish": 500_000_000}]
    other = [cited(1, IRISH, "1", output_element_id="answer:2"), cited(1, IRISH, "1", output_id="summary", **element)]
    assert shares(*events, *other, completed(2, "1"), by="citations") == [{"irish": 750_000_000}]


def test_each_presentation_weighs_one() -> None:
    events = [
        presented(1, IRISH, "1"),
        presented(1, IRISH, "1"),
        presented(1, SCOTTISH, "1"),
        presented(1, NOBODY, "1"),
    ]
    assert shares(*events, grounded(1, BAVARIAN, 9), completed(2, "1"), by="presentations") == [
        {"irish": 500_000_000, "scottish": 250_000_000}
    ]


def test_a_share_below_a_billionth_is_left_out() -> None:
    assert shares(grounded(1, IRISH, 1), grounded(1, NOBODY, 2 * 10**9), completed(2, "1")) == [{}]


def test_an_owner_is_found_by_the_id_of_content_alone() -> None:
    found = shares(
        grounded(1, None, 2, content_id="mkt:scots-fiddle:7"),
        grounded(1, None, 1, content_id="mkt:scots:7"),
        grounded(1, IRISH, 1),
        completed(2, "1"),
    )
    assert found == [{"irish": 250_000_000, "scottish": 500_000_000}]


def test_content_that_two_collectives_claim_is_nobodys() -> None:
    contested = {"content_id": "mkt:scots-fiddle:7"}
    assert shares(grounded(1, IRISH, 3, **contested), grounded(1, SCOTTISH, 1), completed(2, "1")) == [
        {"scottish": 250_000_000}
    ]
    later = [grounded(1, None, 3, **contested), grounded(2, IRISH, 3, **contested), grounded(1, IRISH, 1)]
    assert shares(*later, completed(3, "1")) == [{"irish": 250_000_000}]


def test_numbers_of_any_size_are_exact() -> None:
    most = 10**30
    assert shares(grounded(1, IRISH, most), grounded(1, SCOTTISH, 2 * most), completed(2, "1")) == [
        {"irish": 333_333_333, "scottish": 666_666_666}
    ]


def test_an_unknown_basis_is_refused() -> None:
    with pytest.raises(ValueError, match="retrievals"):
        usage(session(), by="retrievals")


# The usage event.


def test_a_turn_is_one_unit_of_ai_only_use_at_its_completion() -> None:
    (event,) = usage(session(completed(61, "a"), session_id=SESSION_ID.upper()))
    assert event.occurred_at == datetime(2026, 6, 15, 10, 1, 1, tzinfo=UTC)
    assert (event.units, event.mode, event.shares) == (1, Mode.AI_ONLY, {})
    assert event.work_id == f"urn:content-telemetry:{SESSION_ID}:a"
    assert event.event_id == event_id_of(event.work_id)


def test_a_session_that_has_grown_repeats_its_events_and_adds_to_them() -> None:
    events = [completed(1, "1"), completed(2), grounded(3, IRISH, 5), completed(4, "2"), completed(5)]
    whole = usage(session(*events))
    assert [event.event_id for event in usage(session(*events[:3]))] == [event.event_id for event in whole[:2]]
    assert len({event.event_id for event in whole}) == 4
    ordered = [event.event_id for event in usage(session(*events), id_scheme=IdScheme.ORDERED)]
    assert ordered == sorted(ordered)


def test_a_turn_counts_once_at_its_first_completion() -> None:
    found = usage(session(completed(3, "1"), completed(1, "1"), completed(2, "2")))
    assert [event.occurred_at.second for event in found] == [1, 2]


@pytest.mark.parametrize("turn_id", ["", "1", "a b/ü", "#1", ":1", "x" * 150, "\ud800", "é" * 300, "x" * 10_000])
def test_a_work_id_fits_whatever_the_turn_is_called(turn_id: str) -> None:
    (named,) = usage(session(completed(1, turn_id)))
    (unnamed,) = usage(session(completed(1)))
    assert named.work_id is not None
    assert len(named.work_id.encode()) <= 256
    assert named.work_id.startswith(f"urn:content-telemetry:{SESSION_ID}:")
    assert named.work_id != unnamed.work_id
    assert named.event_id != unnamed.event_id


def test_long_turn_ids_stay_apart() -> None:
    first, second = usage(session(completed(1, "x" * 500 + "1"), completed(1, "x" * 500 + "2")))
    assert first.work_id != second.work_id
    assert first.event_id != second.event_id


# The schema.


@pytest.mark.parametrize("document", [item for item in DOCUMENTS if not item.get("session_id", "").endswith("03")])
def test_the_documents_of_the_example_are_valid(document: dict[str, Any]) -> None:
    assert violations(document) == []


def test_a_session_needs_no_more_than_its_three_fields() -> None:
    document = session()
    del document["events"]
    assert violations(document) == []
    assert usage(document) == []


def test_unknown_fields_and_null_are_tolerated_where_the_standard_says_so() -> None:
    document = session(
        completed(1) | {"turn": None, "content_url": None, "novelty": [1], "data": {"novelty": 1}},
        agent_id=None,
        ended_at=None,
        data=None,
        attribution={"reports": []},
    )
    assert violations(document) == []


def test_text_above_the_privacy_level_is_tolerated_and_not_kept() -> None:
    turn = {"privacy_level": "minimal", "query_text": "the secret question"}
    found = take(session(completed(1) | {"turn": turn}))
    assert isinstance(found, TelemetrySession)
    assert "secret" not in repr(found)


def test_a_later_minor_may_have_fields_and_types_of_events_that_nobody_knows_yet() -> None:
    unknown = {"type": "content_summarised", "timestamp": at(1), "content_url": IRISH, "data": {"novelty": 1}}
    later = session(unknown, completed(2), schema_version="1.7", novelty={})
    assert violations(later) == []
    assert len(usage(later)) == 1
    assert [item.field for item in violations(later | {"schema_version": "1.0"})] == ["$.events[0].type"]
    extension = unknown | {"type": "com.example.checkout_completed"}
    assert violations(session(extension, completed(2))) == []


def test_what_names_terms_and_evidence_is_kept_as_it_was_reported() -> None:
    evidence = [{"scheme": "org.example.receipt", "digest": "sha256:" + "0" * 64, "novelty": [1]}, {"scheme": "x"}]
    found = take(session(grounded(1, IRISH, 5, evidence=evidence, terms_ref="T-1", license_ref="L-2")))
    assert isinstance(found, TelemetrySession)
    (event,) = found.events
    assert (event.terms_ref, event.license_ref, list(event.evidence)) == ("T-1", "L-2", evidence)


# Sessions that come in parts.


ENVELOPE: Final = {"schema_version": "1.0", "session_id": SESSION_ID}


def alone(event: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"document_type": "event", **ENVELOPE, "event": event, **more}


def together(*events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"document_type": "event_batch", **ENVELOPE, "events": list(events), **more}


def put_together(*documents: dict[str, Any]) -> list[TelemetrySession]:
    found = list(Telemetry(documents))
    assert not [str(item) for item in found if isinstance(item, RefusedDocument)]
    return [item for item in found if isinstance(item, TelemetrySession)]


EVENTS: Final = [
    grounded(1, IRISH, 300),
    grounded(2, SCOTTISH, 100, turn_id="1"),
    cited(3, IRISH, "1"),
    presented(4, IRISH, "1"),
    completed(4, "1"),
    completed(9, "2"),
]


@pytest.mark.parametrize(
    "documents",
    [
        [session(*EVENTS)],
        [together(*EVENTS)],
        [alone(event) for event in EVENTS],
        [alone(event) for event in reversed(EVENTS)],
        [together(*EVENTS[:2]), alone(EVENTS[2]), together(*EVENTS[3:], session_id=SESSION_ID.upper())],
        [together(*EVENTS[:4]), together(*EVENTS[:4]), together(*EVENTS[2:]), *map(alone, EVENTS)],
    ],
)
def test_a_session_is_the_same_in_whatever_parts_it_comes_and_however_often(documents: list[dict[str, Any]]) -> None:
    (found,) = put_together(*documents)
    assert usage_events_of(found, by="grounded-characters", domains=DOMAINS) == usage(session(*EVENTS))
    assert usage_events_of(found, by="citations", domains=DOMAINS) == usage(session(*EVENTS), by="citations")


def test_events_that_look_the_same_count_as_often_as_one_document_has_them() -> None:
    twice = [grounded(1, IRISH, 5, scope="turn")] * 2
    (found,) = put_together(together(*twice), together(twice[0]), alone(twice[0]))
    assert len(found.events) == 2


def test_an_event_with_an_id_counts_once_even_where_its_retry_says_more() -> None:
    first = cited(1, IRISH, "1")
    checked = first | {"data": first["data"] | {"url_verified": True}, "id": first["id"].upper()}
    (found,) = put_together(alone(first), alone(checked))
    assert len(found.events) == 1


def test_events_without_a_session_are_taken_and_make_no_usage() -> None:
    retrieved = {"type": "content_retrieved", "timestamp": at(1), "source_role": "edge", "content_url": IRISH}
    clicked = {"type": "content_engaged", "timestamp": at(1), "content_url": IRISH}
    without = {name: value for name, value in alone(retrieved).items() if name != "session_id"}
    telemetry = Telemetry([without, without | {"event": clicked, "ctx_token": "ct_5f1e0c7a9b3d2846"}])
    assert list(telemetry) == []
    assert telemetry.document_count == 2


def test_too_many_events_that_wait_are_refused_and_whole_sessions_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "EVENTS_HELD_MAX", 2)
    found = list(Telemetry([alone(EVENTS[0]), alone(EVENTS[1]), alone(EVENTS[2]), session(*EVENTS)]))
    assert [type(item) for item in found] == [RefusedDocument, TelemetrySession, TelemetrySession]
    assert "comes after 2 standalone events" in str(found[0])


def test_long_events_that_wait_are_counted_by_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "TEXT_HELD_MAX", 1_000)
    found = list(Telemetry([alone(EVENTS[0]) for _ in range(3)] + [alone(EVENTS[0] | {"turn_id": "t" * 2_000})]))
    assert [type(item) for item in found] == [TelemetrySession]
    first = alone(EVENTS[0] | {"turn_id": "t" * 2_000})
    (refused, session) = Telemetry([first, alone(EVENTS[1])])
    assert isinstance(refused, RefusedDocument)
    assert "or 1,000 characters of them" in str(refused)
    assert isinstance(session, TelemetrySession)


def test_sessions_without_an_event_that_counts_are_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "EVENTS_HELD_MAX", 2)
    retrieved = {"type": "content_retrieved", "timestamp": at(1), "source_role": "edge", "content_url": IRISH}
    waiting = [alone(retrieved) | {"session_id": str(UUID(int=number, version=4))} for number in range(3)]
    (refused,) = [found for found in Telemetry(waiting) if isinstance(found, RefusedDocument)]
    assert refused.position == 2


def changed(path: str, value: object) -> dict[str, Any]:
    """A session with each kind of event, with another value at a path; `...` takes it away."""
    document = copy.deepcopy(DOCUMENTS[4])
    document["events"][0]["turn"] |= {"topics": ["a"], "query_tokens": 1}
    *way, last = path.split(".")
    inner: Any = document
    for step in way:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    if value is ...:
        del inner[last]
    else:
        inner[int(last) if last.isdigit() else last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "field", "reason"),
    [
        ("schema_version", ..., "$.schema_version", "is missing"),
        ("schema_version", "0.1", "$.schema_version", "must be 1.0 or a later 1.x, got '0.1'"),
        ("schema_version", "2.0", "$.schema_version", "must be 1.0 or a later 1.x, got '2.0'"),
        ("schema_version", "1.00", "$.schema_version", "must be 1.0 or a later 1.x, got '1.00'"),
        ("schema_version", 1.0, "$.schema_version", "must be 1.0 or a later 1.x, got 1.0"),
        ("document_type", "manifest", "$.document_type", "must be one of session, event, event_batch, got 'manifest'"),
        ("session_id", ..., "$.session_id", "is missing"),
        ("session_id", "session-1", "$.session_id", "must be a UUID, got 'session-1'"),
        ("session_id", None, "$.session_id", "must be a UUID, got null"),
        ("started_at", ..., "$.started_at", "is missing"),
        ("started_at", "2026-06-15", "$.started_at", "must be an RFC 3339 time, got '2026-06-15'"),
        ("started_at", "2026-02-30T00:00:00Z", "$.started_at", "must be an RFC 3339 time"),
        ("started_at", "2026-06-15T24:00:00Z", "$.started_at", "must be an RFC 3339 time"),
        ("started_at", "0001-01-01T00:00:00+14:00", "$.started_at", "must be an RFC 3339 time"),
        ("conformance_level", "gold", "$.conformance_level", "must be one of retrieval, grounding"),
        ("agent_id", 5, "$.agent_id", "must be text, got 5"),
        ("events", None, "$.events", "must be a list, got null"),
        ("events.1", "x", "$.events[1]", "must be an object, got 'x'"),
        ("events.1.type", ..., "$.events[1].type", "is missing"),
        ("events.1.type", "content_eaten", "$.events[1].type", "must be one of content_retrieved, "),
        ("events.1.timestamp", ..., "$.events[1].timestamp", "is missing"),
        ("events.1.timestamp", "2026-06-15T10:00:00", "$.events[1].timestamp", "must be an RFC 3339 time, 1970"),
        ("events.1.timestamp", "1969-12-31T23:59:59Z", "$.events[1].timestamp", "must be an RFC 3339 time, 1970"),
        ("events.1.turn_id", 1, "$.events[1].turn_id", "must be text, got 1"),
        ("events.1.content_url", ..., "$.events[1]", "has neither content_url nor content_id"),
        ("events.1.content_url", "no uri", "$.events[1].content_url", "must be a URI"),
        ("events.1.source_role", "guest", "$.events[1].source_role", "must be one of origin, edge, index, agent"),
        ("events.1.data", [], "$.events[1].data", "must be an object, got a list"),
        ("events.1.data.scope", "forever", "$.events[1].data.scope", "must be one of session, turn"),
        ("events.1.data.chars_ingested", -1, "$.events[1].data.chars_ingested", "must be an integer of at least 0"),
        ("events.1.data.tokens_ingested", 0.5, "$.events[1].data.tokens_ingested", "must be an integer of at least 0"),
        ("events.1.data.tokens_ingested", True, "$.events[1].data.tokens_ingested", "at least 0, got true"),
        ("events.1.data.content_hash", "sha256:00", "$.events[1].data.content_hash", "must be sha256: and 64"),
        ("events.1.data.content_fingerprint", {"scheme": "x"}, "$.events[1].data.content_fingerprint.detected", "is m"),
        ("events.3.data.citation_type", "gossip", "$.events[3].data.citation_type", "must be one of direct_quote, "),
        ("events.1.data.evidence", [{"ref": "x:y"}], "$.events[1].data.evidence[0].scheme", "is missing"),
        ("events.5.id", ..., "$.events[5].id", "is missing"),
        ("events.5.output_id", "", "$.events[5].output_id", "must be text, and not empty"),
        ("events.5.data", ..., "$.events[5].data", "is missing"),
        ("events.5.data.presentation_kind", "dance", "$.events[5].data.presentation_kind", "must be one of content, "),
        ("events.5.ctx_token", "ct_5f1e0c7a9b3d2846", "$.events[5].ctx_token", "belongs to content_engaged only"),
        ("events.0.turn.privacy_level", ..., "$.events[0].turn.privacy_level", "is missing"),
        ("events.0.turn.privacy_level", "secret", "$.events[0].turn.privacy_level", "must be one of full, summary"),
        ("events.0.turn.topics.0", 7, "$.events[0].turn.topics[0]", "must be text, got 7"),
        ("events.0.turn.query_tokens", "many", "$.events[0].turn.query_tokens", "must be an integer of at least 0"),
    ],
)
def test_a_violation_is_named_by_json_path_and_reason(path: str, value: object, field: str, reason: str) -> None:
    (found,) = violations(changed(path, value))
    assert found.field == field
    assert found.description.startswith(reason) or reason in found.description


def test_an_integer_may_be_written_with_a_point() -> None:
    assert violations(changed("events.1.data.chars_ingested", 9000.0)) == []
    assert shares(grounded(1, IRISH, 1), grounded(1, SCOTTISH, 3.0), completed(2)) == [  # type: ignore[arg-type]
        {"irish": 250_000_000, "scottish": 750_000_000}
    ]


def test_a_refused_session_tells_what_it_is_and_the_first_reasons() -> None:
    found = take(session(*[{} for _ in range(50)]), 7, 9)
    assert isinstance(found, RefusedDocument)
    assert (found.position, found.line, found.session_id) == (7, 9, SESSION_ID)
    assert len(found.violations) == VIOLATIONS_MAX
    assert str(found).startswith("line 9: $.events[0].type: is missing; ")


# Reading.


def read(data: bytes) -> list[str]:
    """What was found: the end of the session id, or why it was refused."""
    found = read_telemetry(io.BytesIO(data))
    return [str(item) if isinstance(item, RefusedDocument) else item.session_id[-2:] for item in found]


VALID: Final = [item for item in DOCUMENTS[:5] if item["session_id"][-2:] != "03"]
IDS: Final = [item["session_id"][-2:] for item in VALID]
LINES: Final = "".join(json.dumps(item) + "\n" for item in VALID).encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (LINES, IDS),
        (LINES.replace(b"\n", b"\r\n\r\n"), IDS),
        (b"\xef\xbb\xbf" + LINES.rstrip(), IDS),
        (json.dumps(VALID).encode(), IDS),
        (json.dumps(VALID, indent=2).encode(), IDS),
        (b"\xef\xbb\xbf \n" + json.dumps(VALID, indent="\t").encode() + b"\n", IDS),
        (json.dumps(VALID[0]).encode(), IDS[:1]),
        (json.dumps(VALID[0], indent=2).encode() + b"\n \n", IDS[:1]),
        (b'{"schema_version": "1.0",\n' + json.dumps(VALID[0]).encode()[1:], IDS[:1]),
        (b"", []),
        (b"\n \n", []),
        (b"[]", []),
        (b"[ \n]\n", []),
    ],
)
def test_one_document_and_lines_give_the_same_sessions(data: bytes, expected: list[str]) -> None:
    assert read(data) == expected


def test_a_bad_line_is_refused_and_the_others_go_on() -> None:
    first, second, *_ = LINES.splitlines(keepends=True)
    data = b"{broken\n" + first + b"\n5\n" + b'{"a": "\xff"}\n' + b'{"a": NaN}\n' + second + b"[" * 200_000
    assert read(data) == [
        "line 1: $: is not JSON: Expecting property name enclosed in double quotes at character 1",
        "01",
        "line 4: $: must be an object, got 5",
        "line 5: $: is not UTF-8",
        "line 6: $: is not JSON: it has no NaN",
        "02",
        "line 8: $: is nested too deeply",
    ]


def test_what_is_before_a_break_in_a_document_is_given() -> None:
    first, second = (json.dumps(item).encode() for item in VALID[:2])
    rest = "; nothing from here on can be read"
    assert read(b"[" + first + b", 5, " + second + b"]") == ["01", "documents[1]: $: must be an object, got 5", "02"]
    assert read(b"[" + first + b", " + second[:-1]) == [
        "01",
        f"documents[1]: $: is not JSON: Expecting ',' delimiter at character {len(second) - 1}{rest}",
    ]
    assert read(b"[" + first + b", \xff" + second) == ["01", f"documents[1]: $: is not UTF-8{rest}"]
    no_comma = "is not JSON: no comma and no end of the array before it"
    assert read(b"[" + first + b" " + second + b"]") == ["01", f"documents[1]: $: {no_comma}{rest}"]
    no_value = "is not JSON: Expecting value at character 0"
    assert read(b"[" + first + b",]") == ["01", f"documents[1]: $: {no_value}{rest}"]
    after = "follows the end of the document"
    assert read(b"[" + first + b"]" + second) == ["01", f"documents[1]: $: {after}{rest}"]
    assert read(b"[" * 200_000) == [f"documents[0]: $: is nested too deeply{rest}"]


def test_a_session_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "DOCUMENT_BYTES_MAX", 200_000)
    long = json.dumps(session(agent_id="x" * 400_000)).encode()
    first, second, *_ = LINES.splitlines()
    assert read(b"\n".join([first, long, second])) == ["01", "line 2: $: is longer than 200000 bytes", "02"]
    assert "is longer than" in read(b"[" + first + b"," + long)[1]


def test_numbers_at_the_edge_of_what_was_read_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_text, "_PIECE_BYTES", 1)
    monkeypatch.setattr(sources, "HEAD_BYTES", 3)
    assert read(b"[12, 34 ]") == [
        "documents[0]: $: must be an object, got 12",
        "documents[1]: $: must be an object, got 34",
    ]


class Endless(io.RawIOBase):
    """An array of sessions without an end; counts what was read of it."""

    def __init__(self) -> None:
        self.size = 0
        self.element = json.dumps(VALID[0]).encode() + b","

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        data = b"".join(
            b"[" if place == 0 else self.element[(place - 1) % len(self.element)].to_bytes()
            for place in range(self.size, self.size + size)
        )
        self.size += size
        return data


def test_sessions_are_given_as_they_are_read() -> None:
    stream = Endless()
    found = read_telemetry(stream)  # type: ignore[arg-type]
    for _ in range(100):
        assert isinstance(next(found), TelemetrySession)
    assert stream.size < 100 * len(stream.element) + 200_000


def test_a_stream_is_left_open() -> None:
    stream = io.BytesIO(LINES)
    assert len(list(read_telemetry(stream))) == len(VALID)
    assert not stream.closed


@pytest.mark.parametrize("name", ["sessions.ndjson", "sessions.json", "sessions"])
def test_a_file_may_have_any_name_and_be_compressed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(LINES)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(json.dumps(VALID, indent=1).encode()))
    assert len(list(read_telemetry(tmp_path / name))) == len(VALID)
    assert len(list(read_telemetry(str(tmp_path / f"{name}.gz")))) == len(VALID)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageFileError, match="does not exist"):
        read_telemetry(tmp_path / "none.json")
    with pytest.raises(UsageFileError, match="is not a file"):
        read_telemetry(tmp_path)
    (tmp_path / "bad.gz").write_bytes(gzip.compress(LINES)[:-9])
    with pytest.raises(UsageFileError, match=r"bad\.gz"):
        list(read_telemetry(tmp_path / "bad.gz"))


# Domains.


MAP: Final = DomainMap(
    {
        "one": ["example.org", "Bücher.example."],
        "two": ["news.example.org"],
        "three": ["co.uk", "localhost", "faß.example".encode("punycode").decode().join(("xn--", ""))],
    }
)


@pytest.mark.parametrize(
    ("url", "collective"),
    [
        ("https://example.org/a?b#c", "one"),
        ("https://www.example.org", "one"),
        ("https://EXAMPLE.Org./", "one"),
        ("https://user:secret@example.org:8443/x", "one"),
        ("https://news.example.org/x", "two"),
        ("https://sport.news.example.org/x", "two"),
        ("https://oldnews.example.org/x", "one"),
        ("https://badexample.org/", None),
        ("https://example.org.evil.example/", None),
        ("https://example.org@evil.example/", None),
        ("https://evil.example/?https://example.org/", None),
        ("https://evil.example\\@example.org/", None),
        ("https://evil.example\\.example.org/", None),
        ("https://bücher.example/x", "one"),
        ("https://BÜCHER.example/x", "one"),
        ("https://laden.xn--bcher-kva.example/x", "one"),
        ("https://bücher。example/x", "one"),
        ("https://strasse.co.uk/", "three"),
        ("https://straße.co.uk/", None),  # two readings: nobody's
        ("ftp://localhost/x", "three"),
        ("https://192.0.2.1/", None),
        ("https://[2001:db8::1]/", None),
        ("https://[broken/", None),
        ("https://a..example.org/", None),
        (f"https://{'a' * 64}.example.org/", None),
        (f"https://{'a.' * 200}example.org/", None),
        ("https:///path", None),
        ("urn:isbn:9780141036144", None),
        ("example.org", None),
        ("", None),
        (None, None),
    ],
)
def test_the_longest_domain_decides_label_by_label(url: str | None, collective: str | None) -> None:
    assert MAP.collective_of(url) == collective


@pytest.mark.parametrize(
    ("domain", "reason"),
    [
        ("https://example.org", "must be a domain alone"),
        ("example.org:443", "must be a domain alone"),
        ("*.example.org", "without a wildcard"),
        ("straße.example", "A-labels"),
        ("192.0.2.1", "is not a domain"),
        ("", "is not a domain"),
        (".", "is not a domain"),
        ("a..b", "is not a domain"),
        ("exa mple.org", "is not a domain"),
    ],
)
def test_what_is_no_domain_is_refused(domain: str, reason: str) -> None:
    with pytest.raises(InvalidDomainError, match="irish") as caught:
        DomainMap({"irish": [domain]})
    assert reason in caught.value.reason
    assert (caught.value.collective, caught.value.domain) == ("irish", domain)


@pytest.mark.parametrize(
    ("url", "content_id", "collective", "is_contested"),
    [
        (None, "ft:1", "a", False),
        (None, "ft:", "a", False),
        (None, "ft", None, False),
        (None, "FT:1", None, False),
        (None, "ft:uk:1", "b", False),
        (None, "doi:10.1234/x", "b", False),
        (None, "example.org", None, False),
        (None, "", None, False),
        (None, None, None, False),
        ("https://example.org/", "unknown:1", "a", False),
        ("https://nobody.example/", "ft:1", "a", False),
        ("https://example.org/", "ft:1", "a", False),
        ("https://example.org/", "ft:uk:1", None, True),
    ],
)
def test_the_longest_prefix_of_an_id_decides_beside_the_domain(
    url: str | None, content_id: str | None, collective: str | None, is_contested: bool
) -> None:
    owners = DomainMap({"a": ["example.org", "content-id:ft:"], "b": ["content-id:ft:uk:", "content-id:doi:10.1234/"]})
    assert owners.owner_of(url, content_id) == Owner(collective, is_contested)


@pytest.mark.parametrize("prefix", ["", "a b", "a\n", "x" * 257, "\u200b"])
def test_what_is_no_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidDomainError, match="must be content-id: and 1 to 256 bytes"):
        DomainMap({"irish": [f"content-id:{prefix}"]})


def test_a_prefix_belongs_to_one_collective() -> None:
    with pytest.raises(InvalidDomainError, match="is declared by 'a' too"):
        DomainMap({"a": ["content-id:ft:"], "b": ["content-id:ft:"]})


def test_a_collective_s_domains_are_given_as_they_are_compared() -> None:
    domains = DomainMap({"a": ["www.Example.org.", "EXAMPLE.org", "example.org"], "b": ["münchen.example"]})
    assert domains.domains_of("a") == ["example.org", "www.example.org"]
    assert domains.domains_of("b") == ["xn--mnchen-3ya.example"]
    assert domains.domains_of("c") == []


def test_a_domain_belongs_to_one_collective() -> None:
    assert len(DomainMap({"a": ["example.org", "EXAMPLE.org."], "b": "example.com"})) == 2
    with pytest.raises(InvalidDomainError, match="is declared by 'a' too"):
        DomainMap({"a": ["example.org"], "b": ["Example.Org"]})


# The client and the command.


class Intake(usage_pb2_grpc.UsageServiceServicer):
    """Accepts every batch, and counts as a service does."""

    def __init__(self) -> None:
        self.methods: list[str] = []
        self.events: dict[bytes, dict[str, Any]] = {}

    def GetIdScheme(self, *_: Any) -> usage_pb2.PlatformIdScheme:  # noqa: N802
        return usage_pb2.PlatformIdScheme(id_scheme=usage_pb2.ID_SCHEME_OWN, is_fixed=True)

    def AppendUsage(self, request_iterator: Any, _: Any) -> Iterator[usage_pb2.AppendUsageResponse]:  # noqa: N802
        for request in request_iterator:
            self.methods.append(request.method_id)
            rows = decode(request.arrow_stream).to_pylist()
            new = {row["event_id"]: row for row in rows if row["event_id"] not in self.events}
            self.events |= new
            receipt = usage_pb2.Receipt(
                name=f"{request.parent}/batches/melodia~{request.batch_id}",
                accepted_count=len(new),
                duplicate_count=len(rows) - len(new),
            )
            yield usage_pb2.AppendUsageResponse(batch_id=request.batch_id, receipt=receipt)


@pytest.fixture
def intake() -> Intake:
    return Intake()  # type: ignore[abstract]  # it takes usage only


@pytest.fixture
def address(intake: Intake) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    usage_pb2_grpc.add_UsageServiceServicer_to_server(intake, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


SOURCES: Final[dict[str, Callable[[], Any]]] = {
    "path": lambda: EXAMPLE,
    "text": lambda: str(EXAMPLE),
    "stream": lambda: io.BytesIO(EXAMPLE.read_bytes()),
    "documents": lambda: iter(DOCUMENTS),
}


@pytest.mark.parametrize("source", SOURCES)
def test_the_client_records_turns_and_gives_what_was_refused(source: str, address: str, intake: Intake) -> None:
    with Client(address, "secret") as client:
        found = client.submit_telemetry(
            "folk", SOURCES[source](), "characters", by="grounded-characters", domains=DOMAINS, events_per_batch=4
        )
    assert [receipt.accepted_count for receipt in found.receipts] == [4, 3]
    assert (found.document_count, found.session_count, found.event_count) == (10, 5, 7)
    assert (found.attributed_count, found.partly_count, found.unattributed_count) == (5, 1, 1)
    (refused,) = found.refused
    assert (refused.position, refused.session_id) == (2, DOCUMENTS[2]["session_id"])
    assert [item.field for item in refused.violations] == [
        "$.events[0].data.chars_ingested",
        "$.events[1].timestamp",
        "$.events[1].turn.privacy_level",
    ]
    rows = [(row["work_id"][-4:], row["units"], row["mode"], *_pairs(row)) for row in intake.events.values()]
    assert rows == [
        ("01:1", 1, 1, ("irish", 525_000_000), ("scottish", 225_000_000)),
        ("02:1", 1, 1, ("bavarian", MILLIARD)),
        ("02:2", 1, 1, ("bavarian", 750_000_000), ("irish", 250_000_000)),
        ("02:3", 1, 1, ("bavarian", MILLIARD)),
        ("04:a", 1, 1),
        ("05:1", 1, 1, ("irish", 250_000_000), ("scottish", 750_000_000)),
        ("07:1", 1, 1, ("irish", 750_000_000), ("scottish", 250_000_000)),
    ]


def _pairs(row: dict[str, Any]) -> list[tuple[str, int]]:
    return list(zip(row["collectives"], row["shares"], strict=True))


def test_one_session_document_is_submitted_as_it_is_and_again_without_effect(address: str, intake: Intake) -> None:
    grown = copy.deepcopy(DOCUMENTS[0])
    grown["events"].append(completed(0, "2") | {"timestamp": "2026-06-15T09:20:00Z"})
    with Client(address, "secret") as client:
        counts = []
        for document in (DOCUMENTS[0], grown):
            found = client.submit_telemetry(
                "folk", document, "citations", by=ShareBasis.CITATIONS, domains=DOMAINS
            ).receipts
            counts += [(receipt.accepted_count, receipt.duplicate_count) for receipt in found]
    assert counts == [(1, 0), (1, 1)]
    assert [_pairs(row) for row in intake.events.values()] == [[("irish", 666_666_666)], []]


def test_nothing_valid_is_nothing_sent(address: str, intake: Intake) -> None:
    with Client(address, "secret") as client:
        found = client.submit_telemetry("folk", [{}, 5], "m", by="citations", domains=DOMAINS)
        assert (found.receipts, found.session_count, len(found.refused)) == ([], 0, 2)
        with pytest.raises(ValueError, match="retrievals"):
            client.submit_telemetry("folk", [], "m", by="retrievals", domains=DOMAINS)
        with pytest.raises(UsageFileError, match="does not exist"):
            client.submit_telemetry("folk", Path("none.json"), "m", by="citations", domains=DOMAINS)
    assert intake.methods == []


DECLARATION: Final = """
platforms:
  melodia: {display_name: Melodia}
collectives:
  irish:
    display_name: Irish folk tradition
    members: 4200
    domains: [irish-music.example]
  scottish:
    domains: [scots-fiddle.example, "content-id:mkt:scots-fiddle:"]
  bavarian:
    domains: [volksmusik-bayern.example]
  breton:
    display_name: Breton folk tradition
"""


@pytest.fixture
def declaration(tmp_path: Path) -> Path:
    path = tmp_path / "pool.yaml"
    path.write_text(DECLARATION, "utf-8")
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["usage", "submit", "folk", *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_command_records_the_valid_sessions_and_ends_with_bad_input(
    address: str, intake: Intake, declaration: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = ["--address", address, "--api-key", "secret"]
    arguments = [EXAMPLE, "--method", "characters", "--telemetry", "--domains", declaration, *connection]
    assert run(*arguments) == Exit.BAD_INPUT
    people = capsys.readouterr()
    assert "10 documents accepted, 1 refused: 5 sessions with 7 completed turns.\n" in people.out
    assert "By grounded-characters, 5 attributed, 1 in part, 1 not at all.\n" in people.out
    assert "7 events accepted, 0 duplicates left out; 1 batch." in people.out
    assert "$.events[0].data.chars_ingested" in people.out
    assert "must be an integer of at least 0, got -5" in people.out
    assert people.err == ""
    assert run(*arguments, "--by", "citations", "--json") == Exit.BAD_INPUT
    data = json.loads(capsys.readouterr().out)
    assert (data["by"], data["document_count"], data["session_count"], data["turn_count"]) == ("citations", 10, 5, 7)
    assert (data["attributed_count"], data["partly_count"], data["unattributed_count"]) == (2, 2, 3)
    assert (data["accepted_count"], data["duplicate_count"]) == (0, 7)
    assert (data["refused"][0]["line"], data["refused"][0]["position"]) == (3, 2)
    assert data["refused"][0]["violations"][0]["field"] == "$.events[0].data.chars_ingested"
    assert len(intake.events) == 7


def test_the_command_ends_well_when_every_session_is_valid(
    address: str, intake: Intake, declaration: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sessions.json").write_text(json.dumps(DOCUMENTS[0], indent=2), "utf-8")
    options = ["--method", "citations", "--telemetry", "--domains", declaration, "--batch-id", "june"]
    assert run(tmp_path / "sessions.json", *options, "--address", address, "--api-key", "secret") == Exit.OK
    assert "1 document accepted, 0 refused: 1 session with 1 completed turn.\n" in capsys.readouterr().out
    assert [_pairs(row) for row in intake.events.values()] == [[("irish", 666_666_666)]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "citations"], "by: needs --telemetry\n"),
        (["--domains", "x.yaml"], "domains: needs --telemetry\n"),
    ],
)
def test_the_options_go_together(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(EXAMPLE, "--method", "m", "--api-key", "secret", *options) == Exit.BAD_INPUT
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("collectives: {irish: {display_name: Irish}}", "declares no domains of collectives"),
        ("", "declares no domains of collectives"),
        ("collectives: {irish: {domains: irish.example}}", "collectives.irish.domains: must be a list"),
        (
            "collectives: {irish: {domains: ['*.x.example']}}",
            "collectives.irish.domains: '*.x.example' must be written",
        ),
        ("collectives: {a: {domains: [x.example]}, b: {domains: [X.example]}}", "is declared by 'a' too"),
        ("a: [", "line "),
    ],
)
def test_a_file_that_declares_no_map_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(text, "utf-8")
    with pytest.raises(InputError) as caught:
        read_domains(tmp_path / "map.yaml")
    assert message in str(caught.value)
