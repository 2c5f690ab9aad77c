"""Sessions become usage in one way only, whatever they look like and however they arrive."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final
from unittest import mock
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety import (
    DomainMap,
    RefusedDocument,
    TelemetrySession,
    UsageEvent,
    UsageFileError,
    batch_of,
    json_text,
    read_telemetry,
    usage_events_of,
)
from moiety.files import sources
from moiety.telemetry import Telemetry
from moiety.telemetry.sessions import Documents

START: Final = datetime(2026, 6, 15, tzinfo=UTC)
SESSION_ID: Final = "3f1c8a52-9b0e-4a57-8d63-1d7e0c2b9a01"
OWNERS: Final = {"a": "a.example", "b": "b.example", "c": "sub.a.example"}
DOMAINS: Final = DomainMap({name: [domain] for name, domain in OWNERS.items()})
URLS: Final = [f"https://{domain}/x" for domain in (*OWNERS.values(), "nobody.example")]
BASES: Final = st.sampled_from(["grounded-characters", "citations", "presentations"])
TURNS: Final = st.none() | st.sampled_from(["1", "2", "3"])

EVENTS: Final = st.one_of(
    st.builds(
        lambda turn, url, characters, scope: {
            "type": "content_grounded",
            "turn_id": turn,
            "content_url": url,
            "data": {"chars_ingested": characters, "scope": scope} if characters is not None else {"scope": scope},
        },
        TURNS,
        st.sampled_from(URLS),
        st.none() | st.integers(0, 10**6) | st.integers(0, 10**20),
        st.sampled_from(["session", "turn"]),
    ),
    st.builds(
        lambda turn, url, kind, number: {
            "type": "content_cited",
            "output_id": f"answer {number}",
            "turn_id": turn,
            "content_url": url,
            "data": {"citation_type": kind},
        },
        TURNS,
        st.sampled_from(URLS),
        st.sampled_from(["reference", "paraphrase", "contradiction"]),
        st.integers(1, 2),
    ),
    st.builds(
        lambda turn, url: {
            "type": "content_presented",
            "output_id": "answer",
            "turn_id": turn,
            "content_url": url,
            "data": {"presentation_kind": "content", "presentation_type": "link"},
        },
        TURNS,
        st.sampled_from(URLS),
    ),
    st.builds(lambda turn: {"type": "turn_completed", "turn_id": turn}, TURNS),
    st.builds(lambda turn: {"type": "turn_started", "turn_id": turn}, TURNS),
)


def timed(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events, each a second after the one before, and with an id where they need one."""
    return [
        event
        | {"timestamp": (START + timedelta(seconds=place)).isoformat().replace("+00:00", "Z")}
        | ({"id": str(UUID(int=place))} if "output_id" in event else {})
        for place, event in enumerate(events)
    ]


SESSIONS: Final = st.lists(EVENTS, max_size=15).map(timed)


def document(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "schema_version": "1.0",
        "session_id": SESSION_ID,
        "started_at": "2026-06-15T00:00:00Z",
        "events": list(events),
    }


def take(value: object, position: int = 0) -> TelemetrySession | RefusedDocument | None:
    return Documents().take(value, position)


def usage(events: Sequence[dict[str, Any]], by: str) -> list[UsageEvent]:
    session = take(document(events))
    assert isinstance(session, TelemetrySession), str(session)
    return usage_events_of(session, by=by, domains=DOMAINS)


@given(SESSIONS, BASES)
def test_there_is_one_sound_usage_event_for_each_completed_turn(events: list[dict[str, Any]], by: str) -> None:
    found = usage(events, by)
    turns = [event["turn_id"] for event in events if event["type"] == "turn_completed"]
    assert len(found) == turns.count(None) + len({turn for turn in turns if turn is not None})
    assert len({event.event_id for event in found}) == len({event.work_id for event in found}) == len(found)
    for event in found:
        assert all(share >= 1 for share in event.shares.values())
        assert sum(event.shares.values()) <= 10**9
        assert list(event.shares) == sorted(event.shares)
    assert batch_of(found).num_rows == len(found)


@given(SESSIONS, BASES, st.randoms(use_true_random=False))
def test_the_times_decide_and_not_the_order_of_the_document(events: list[dict[str, Any]], by: str, random: Any) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    assert usage(shuffled, by) == usage(events, by)


@given(SESSIONS, BASES, st.integers(0, 15))
def test_a_session_that_grows_keeps_the_events_that_it_gave(events: list[dict[str, Any]], by: str, count: int) -> None:
    before = [event.event_id for event in usage(events[:count], by)]
    assert [event.event_id for event in usage(events, by)][: len(before)] == before


@given(SESSIONS, st.lists(st.integers(0, 15), max_size=4), st.booleans(), BASES)
def test_a_session_cut_in_any_parts_some_of_them_twice_gives_the_same(
    events: list[dict[str, Any]], cuts: list[int], twice: bool, by: str
) -> None:
    ends = sorted({0, len(events), *(cut for cut in cuts if cut < len(events))})
    parts = [events[start:end] for start, end in pairwise(ends)]
    envelope = {"document_type": "event_batch", "schema_version": "1.0", "session_id": SESSION_ID}
    batches = [envelope | {"events": part} for part in parts]
    found = list(Telemetry(batches + (batches[:2] if twice else [])))
    expected = usage(events, by) if events else []
    assert [event for item in found for event in usage_events_of(item, by=by, domains=DOMAINS)] == expected  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10**20)), max_size=12))
def test_a_share_is_the_floor_of_its_part_of_the_whole(pieces: list[tuple[int, int]]) -> None:
    events = timed(
        [
            *(
                {
                    "type": "content_grounded",
                    "content_url": f"{URLS[owner]}{place}",
                    "data": {"chars_ingested": characters, "scope": "session"},
                }
                for place, (owner, characters) in enumerate(pieces)
            ),
            {"type": "turn_completed"},
        ]
    )
    (found,) = usage(events, "grounded-characters")
    whole = sum(characters for _, characters in pieces)
    expected = {
        name: int(Fraction(10**9 * sum(characters for owner, characters in pieces if owner == place), whole))
        for place, name in enumerate(OWNERS)
        if whole
    }
    assert found.shares == {name: share for name, share in sorted(expected.items()) if share}


@given(
    st.lists(SESSIONS.map(document) | st.integers() | st.just({}), max_size=5),
    st.sampled_from([None, 1]),
    st.integers(1, 300),
)
def test_a_document_of_any_layout_read_in_pieces_of_any_size_gives_what_lines_give(
    documents: list[Any], indent: int | None, size: int
) -> None:
    lines = "".join(json.dumps(item) + "\n" for item in documents).encode()
    array = json.dumps(documents, indent=indent, ensure_ascii=False).encode()
    expected = [kept(item) for item in read_telemetry(io.BytesIO(lines))]
    with mock.patch.object(json_text, "_PIECE_BYTES", size), mock.patch.object(sources, "HEAD_BYTES", size + 3):
        assert [kept(item) for item in read_telemetry(io.BytesIO(array))] == expected
    assert [kept(take(item, place)) for place, item in enumerate(documents)] == expected


def kept(found: TelemetrySession | RefusedDocument | None) -> object:
    return (found.position, found.violations) if isinstance(found, RefusedDocument) else found


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(SESSIONS, JSON, st.data())
def test_no_document_is_anything_but_valid_or_refused(
    events: list[dict[str, Any]], value: Any, data: st.DataObject
) -> None:
    whole = document(events)
    inner: Any = whole
    while isinstance(inner, dict | list) and inner:
        key = data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
        if data.draw(st.booleans()) or not isinstance(inner[key], dict | list):
            inner[key] = value
            break
        inner = inner[key]
    found = take(whole)
    if isinstance(found, TelemetrySession):
        for by in ("grounded-characters", "citations", "presentations"):
            batch_of(usage_events_of(found, by=by, domains=DOMAINS))
    elif found is not None:
        assert found.violations
        assert str(found)


COMPRESSED: Final = (b"\x1f\x8b", b"BZh", b"\x28\xb5\x2f\xfd")
"""How files begin that are decompressed before they are read."""

DATA: Final = st.binary(max_size=200) | st.text(alphabet='[]{}",: \n01ü', max_size=60).map(str.encode)


@given(DATA.filter(lambda data: not data.startswith(COMPRESSED)))
def test_bytes_that_are_no_sessions_are_refused_and_nothing_is_raised(data: bytes) -> None:
    assert all(isinstance(found, RefusedDocument) for found in read_telemetry(io.BytesIO(data)))


@given(st.sampled_from(COMPRESSED), st.binary(max_size=200))
def test_what_only_begins_like_a_compressed_file_cannot_be_read(magic: bytes, data: bytes) -> None:
    with pytest.raises(UsageFileError):
        list(read_telemetry(io.BytesIO(magic + data)))


LABELS: Final = st.lists(st.sampled_from(["a", "b", "ab", "B", "ü"]), min_size=1, max_size=4)


@given(st.lists(LABELS, max_size=6), LABELS)
def test_the_longest_suffix_on_label_boundaries_wins(declared: list[list[str]], host: list[str]) -> None:
    def plain(labels: list[str]) -> tuple[str, ...]:
        return tuple(label.lower() for label in labels)

    names = {plain(labels): f"c{place}" for place, labels in enumerate(declared)}
    domains = DomainMap({name: [".".join(labels)] for labels, name in names.items()})
    suffixes = [plain(host)[place:] for place in range(len(host))]
    expected = next((names[suffix] for suffix in suffixes if suffix in names), None)
    url = f"https://someone@{'.'.join(host)}.:443/b"
    assert urlsplit(url).hostname
    assert domains.collective_of(url) == expected
