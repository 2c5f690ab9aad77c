"""Usage batches by example: design section 6 rule by rule, and hostile bytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from ledger.errors import InvalidInputError
from ledger.registry import NANO
from ledger.usage import arrow_stream
from ledger.usage.decoding import read_columns
from ledger.usage.format import (
    AI_ONLY,
    HUMAN_AI,
    MAX_BODY_BYTES,
    MAX_DECODED_BYTES,
    MAX_EVENTS,
    MAX_OCCURRED_AT,
    MAX_SHARES,
    MAX_UNITS,
    MAX_VIOLATIONS,
)
from ledger.usage.shares import MAX_COLLECTIVES, SHARES, USAGE_TYPES, first_occurrences, parse_batch, require_known
from tests.support.batches import (
    SCHEMA,
    Event,
    body_of,
    event_id,
    events_in,
    framed,
    joined,
    list_array,
    record_batch,
    replaced,
    some_events,
    stream,
)

FOUR: Final = some_events(4, shares=(("alpha", 1), ("beta", 2)))
DENSE: Final = [replace(event, event_id=sha256(b"%d" % number).digest()[:16]) for number, event in enumerate(FOUR)]
"""With ids that do not compress."""

V4: Final = pa.ipc.MetadataVersion.V4
LAST_MICROSECOND: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z


def refusal(body: bytes) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as refused:
        parse_batch(body)
    return refused.value


def violations(body: bytes) -> list[tuple[str, str]]:
    """The field and the reason of everything wrong."""
    error = refusal(body)
    assert error.total == len(error.violations)
    return [(violation.field, violation.reason) for violation in error.violations]


def only_violation(body: bytes) -> tuple[str, str]:
    (found,) = violations(body)
    return found


def with_length(metadata: bytes, *, offset: int, was: range, length: int) -> bytes:
    """A record batch's metadata with another length for the one buffer of such an offset and length."""
    pairs = {at: struct.unpack_from("<qq", metadata, at) for at in range(0, len(metadata) - 15, 8)}
    (place,) = [at for at, (begin, size) in pairs.items() if begin == offset and size in was]
    return metadata[: place + 8] + struct.pack("<q", length) + metadata[place + 16 :]


@pytest.fixture
def arrow_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is refused must be refused before Arrow, which allocates what a stream states, sees it."""

    def asked(*_: object) -> None:
        raise AssertionError("the stream was handed to Arrow")

    monkeypatch.setattr(pa.ipc, "open_stream", asked)


# What is taken.


def test_a_batch_is_read_as_it_was_sent() -> None:
    events = [
        Event(bytes(range(16)), "urn:iscc:1", 1_767_225_600_000_000, 7, HUMAN_AI, (("beta", 250), ("alpha", 750))),
        Event(bytes(16), None, 0, MAX_UNITS, AI_ONLY, ()),
        Event(b"\xff" * 16, "", MAX_OCCURRED_AT, 1, AI_ONLY, (("alpha", NANO),)),
    ]
    batch = parse_batch(body_of(events))
    assert events_in(batch) == events
    assert len(batch) == 3
    assert batch.names == ("beta", "alpha")
    assert batch.offsets.tolist() == [0, 2, 2, 3]
    assert batch.event_of_amount().tolist() == [0, 0, 2]
    assert batch.share_sums().tolist() == [1000, 0, NANO]


@pytest.mark.parametrize(
    "change",
    [
        {"units": 1},
        {"units": MAX_UNITS},
        {"mode": AI_ONLY},
        {"mode": HUMAN_AI},
        {"occurred_at": 0},
        {"occurred_at": LAST_MICROSECOND},
        {"work_id": None},
        {"work_id": ""},
        {"work_id": "x" * 256},
        {"work_id": "é" * 128},
        {"work_id": "€" * 85 + "x"},
        {"work_id": "🎵" * 64},
        {"shares": ()},
        {"shares": (("alpha", 1),)},
        {"shares": (("alpha", NANO),)},
        {"shares": (("alpha", NANO - 1), ("beta", 1))},
    ],
)
def test_an_event_at_a_bound_is_taken(change: dict[str, Any]) -> None:
    events = [*FOUR[:2], replace(FOUR[2], **change), FOUR[3]]
    assert events_in(parse_batch(body_of(events))) == events


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_compressed_batch_is_the_same_batch(compression: str) -> None:
    events = some_events(1000, work_id="urn:work", shares=(("alpha", 1), ("beta", 2)))
    compressed = stream(record_batch(events), compression=compression)
    assert len(compressed) < len(body_of(events)) / 2
    assert events_in(parse_batch(compressed)) == events


def test_a_batch_may_hold_65536_events_and_no_more_or_none() -> None:
    assert len(parse_batch(body_of(some_events(MAX_EVENTS)))) == 65_536
    field, reason = only_violation(body_of(some_events(MAX_EVENTS + 1)))
    assert (field, reason) == ("events", "must contain 1 to 65,536 events, got 65,537")
    assert only_violation(body_of([])) == ("events", "must contain 1 to 65,536 events, got 0")


def test_a_batch_may_hold_4194304_shares_and_no_more() -> None:
    def with_shares(count: int) -> bytes:
        lengths = np.full(MAX_EVENTS, MAX_SHARES // MAX_EVENTS)
        lengths[-1] += count - MAX_SHARES
        offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
        indices = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
        names = pa.array([f"c{number}" for number in range(lengths.max())], pa.utf8())
        batch = record_batch(some_events(MAX_EVENTS))
        encoded = pa.DictionaryArray.from_arrays(pa.array(indices), names)
        batch = replaced(batch, "collectives", pa.ListArray.from_arrays(offsets, encoded))
        ones = pa.array(np.ones(count, dtype=np.int32))
        return stream(replaced(batch, "shares", pa.ListArray.from_arrays(offsets, ones)), compression="zstd")

    assert len(parse_batch(with_shares(MAX_SHARES)).amounts) == 4_194_304
    assert only_violation(with_shares(MAX_SHARES + 1))[0] == "shares"


def test_lists_need_not_begin_at_offset_zero() -> None:
    lengths_022 = body_of([replace(FOUR[0], shares=()), FOUR[1], FOUR[2]])
    offsets, shifted = struct.pack("<4i", 0, 0, 2, 4), struct.pack("<4i", 1, 1, 2, 4)
    assert lengths_022.count(offsets) == 2  # of collectives and of shares
    batch = parse_batch(lengths_022.replace(offsets, shifted))
    assert [event.shares for event in events_in(batch)] == [(), (("beta", 2),), (("alpha", 1), ("beta", 2))]
    assert batch.offsets.tolist() == [0, 0, 1, 3]
    assert batch.share_sums().tolist() == [0, 2, 3]
    assert batch.event_of_amount().tolist() == [1, 2, 2]


def test_lists_of_collectives_and_shares_may_begin_at_different_offsets() -> None:
    body = body_of([replace(FOUR[0], shares=()), FOUR[1], replace(FOUR[2], shares=())])
    offsets, shifted = struct.pack("<4i", 0, 0, 2, 2), struct.pack("<4i", 1, 1, 2, 2)
    metadata, collectives, shares = body.partition(offsets)
    assert shares.count(offsets) == 1
    one_each = metadata + struct.pack("<4i", 0, 0, 1, 1) + shares.replace(offsets, shifted)
    assert [event.shares for event in events_in(parse_batch(one_each))] == [(), (("alpha", 2),), ()]
    assert collectives == offsets


def test_what_lies_under_a_null_does_not_matter() -> None:
    offsets = pa.array([0, 300, 301], pa.int32()).buffers()[1]
    work_id = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"x" * 301), pa.py_buffer(b"\x02"))
    batch = parse_batch(stream(replaced(record_batch(FOUR[:2]), "work_id", work_id)))
    assert [event.work_id for event in events_in(batch)] == [None, "x"]


def test_a_slice_of_a_larger_batch_is_read_as_what_it_holds() -> None:
    events = some_events(20, work_id="urn:work", shares=(("alpha", 1), ("beta", 2)))
    sliced = record_batch(events).slice(7, 5)
    assert events_in(parse_batch(stream(sliced))) == events[7:12]


def test_a_dictionary_may_hold_ids_that_no_event_names() -> None:
    batch = parse_batch(stream(record_batch(FOUR, dictionary=["unused", "beta", "alpha", "other"])))
    assert events_in(batch) == FOUR
    # Nothing that follows hears of the others, which cost it nothing.
    assert batch.names == ("beta", "alpha")
    require_known(batch, np.array([True, True]))


def test_the_children_of_lists_may_have_any_name_and_a_schema_its_notes() -> None:
    batch = record_batch(FOUR)
    element = pa.list_(pa.field("element", pa.int32()))
    shares = pa.ListArray.from_arrays(batch.column("shares").offsets, batch.column("shares").values, type=element)
    batch = replaced(batch, "shares", shares, field=pa.field("shares", element, nullable=False, metadata={"a": "b"}))
    batch = batch.replace_schema_metadata({"pandas": "{}", "ARROW:extension:name": "no.such"})
    assert events_in(parse_batch(stream(batch, custom_metadata={"note": "a"}))) == FOUR


# What is refused, event by event.


def test_a_batch_has_at_most_36_months_wherever_they_lie() -> None:
    def of(months: Sequence[int]) -> list[Event]:
        times = [datetime(1970 + month // 12, 1 + month % 12, 15, tzinfo=UTC) for month in months]
        return [
            Event(event_id(number), occurred_at=round(time.timestamp()) * 10**6) for number, time in enumerate(times)
        ]

    assert len(parse_batch(body_of(of([0, *range(500, 535)])))) == 36
    with pytest.raises(InvalidInputError) as caught:
        parse_batch(body_of(of([536, 0, *range(500, 536), 0])))
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["events[0].occurred_at", "events[37].occurred_at"]
    assert "first 36 months (UTC)" in caught.value.violations[0].reason


@pytest.mark.parametrize(
    ("change", "column", "reason"),
    [
        ({"units": 0}, "units", "must be 1 to 1,000,000,000"),
        ({"units": -1}, "units", "must be 1 to 1,000,000,000"),
        ({"units": -(2**63)}, "units", "must be 1 to 1,000,000,000"),
        ({"units": MAX_UNITS + 1}, "units", "must be 1 to 1,000,000,000"),
        ({"units": 2**63 - 1}, "units", "must be 1 to 1,000,000,000"),
        ({"mode": 0}, "mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)"),
        ({"mode": 3}, "mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)"),
        ({"mode": 255}, "mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)"),
        ({"occurred_at": -1}, "occurred_at", "must be in the years 1970 to 9999"),
        ({"occurred_at": LAST_MICROSECOND + 1}, "occurred_at", "must be in the years 1970 to 9999"),
        ({"work_id": "x" * 257}, "work_id", "must be at most 256 bytes"),
        ({"work_id": "é" * 128 + "x"}, "work_id", "must be at most 256 bytes"),
        ({"work_id": "🎵" * 65}, "work_id", "must be at most 256 bytes"),
        ({"shares": (("alpha", 0),)}, "shares", "must each be at least 1"),
        ({"shares": (("alpha", 5), ("beta", -5))}, "shares", "must each be at least 1"),
        ({"shares": (("alpha", -1), ("beta", -1))}, "shares", "must each be at least 1"),
        ({"shares": (("alpha", NANO + 1),)}, "shares", "must sum to at most 1,000,000,000"),
        ({"shares": (("alpha", NANO), ("beta", 1))}, "shares", "must sum to at most 1,000,000,000"),
        ({"shares": (("alpha", 2**31 - 1), ("beta", 2**31 - 1))}, "shares", "must sum to at most 1,000,000,000"),
        ({"shares": (("alpha", 1), ("alpha", 1))}, "collectives", "must not repeat in one event"),
        ({"shares": (("alpha", 1), ("beta", 1), ("alpha", 2))}, "collectives", "must not repeat in one event"),
        ({"shares": (("beta", 1), ("beta", 1), ("beta", 1))}, "collectives", "must not repeat in one event"),
    ],
)
def test_a_breach_is_named_with_its_position_and_reason(change: dict[str, Any], column: str, reason: str) -> None:
    for position in range(4):
        events = list(FOUR)
        events[position] = replace(events[position], **change)
        assert violations(body_of(events)) == [(f"events[{position}].{column}", reason)]


def test_the_same_collective_in_neighbouring_events_is_no_repeat() -> None:
    events = [replace(FOUR[0], shares=(("alpha", 1),)), replace(FOUR[1], shares=(("alpha", 1), ("beta", 1)))]
    assert events_in(parse_batch(body_of(events))) == events


def test_every_breach_is_named_in_the_order_of_the_events() -> None:
    events = list(FOUR)
    events[3] = replace(events[3], units=0, work_id="x" * 257)
    events[1] = replace(events[1], mode=9, shares=(("alpha", NANO), ("alpha", NANO)))
    events[0] = replace(events[0], occurred_at=-1)
    assert [field for field, _ in violations(body_of(events))] == [
        "events[0].occurred_at",
        "events[1].mode",
        "events[1].shares",
        "events[1].collectives",
        "events[3].units",
        "events[3].work_id",
    ]


def test_the_first_hundred_breaches_are_listed_and_all_are_counted() -> None:
    events = some_events(300, units=0)
    events[:10] = some_events(10, mode=0)
    error = refusal(body_of(events))
    expected = [f"events[{position}].mode" for position in range(10)]
    expected += [f"events[{position}].units" for position in range(10, MAX_VIOLATIONS)]
    assert [violation.field for violation in error.violations] == expected
    assert error.total == 300


@pytest.mark.parametrize("column", ["event_id", "occurred_at", "units", "mode"])
def test_a_null_is_named_with_its_position(column: str) -> None:
    changed = replace(FOUR[2], **{column: None})
    assert violations(body_of([*FOUR[:2], changed, FOUR[3]])) == [(f"events[2].{column}", "must not be null")]


def test_a_null_list_is_named_with_its_position() -> None:
    nulls = [FOUR[0], replace(FOUR[1], shares=None), FOUR[2], replace(FOUR[3], shares=None)]
    expected = [("events[1].collectives", "must not be null"), ("events[3].collectives", "must not be null")]
    assert violations(body_of(nulls)) == expected
    shares = pa.array([[], None, [], None], USAGE_TYPES["shares"])
    body = stream(replaced(record_batch(some_events(4)), "shares", shares))
    assert violations(body) == [("events[1].shares", "must not be null"), ("events[3].shares", "must not be null")]


def test_a_null_in_a_list_is_named_with_the_position_of_its_event() -> None:
    events = [FOUR[0], replace(FOUR[1], shares=()), replace(FOUR[2], shares=(("alpha", 1), (None, 1))), FOUR[3]]
    assert violations(body_of(events)) == [("events[2].collectives", "must not contain nulls")]
    events[2] = replace(FOUR[2], shares=(("alpha", None), ("beta", None)))
    assert violations(body_of(events)) == [("events[2].shares", "must not contain nulls")]


def test_a_null_in_a_list_that_does_not_begin_at_offset_zero_is_named_all_the_same() -> None:
    nulls = [replace(FOUR[1], shares=(("alpha", 1), ("beta", None))), replace(FOUR[2], shares=(("alpha", None),))]
    body = body_of([replace(FOUR[0], shares=()), *nulls])
    offsets, shifted = struct.pack("<4i", 0, 0, 2, 3), struct.pack("<4i", 1, 1, 2, 3)
    assert body.count(offsets) == 2
    expected = [("events[1].shares", "must not contain nulls"), ("events[2].shares", "must not contain nulls")]
    assert violations(body.replace(offsets, shifted)) == expected


def test_the_first_hundred_nulls_are_listed_and_all_are_counted() -> None:
    for column in ("units", "shares"):
        nulls = some_events(150, **{column: (("alpha", None),) if column == "shares" else None})
        error = refusal(body_of(nulls))
        assert [violation.field for violation in error.violations] == [f"events[{n}].{column}" for n in range(100)]
        assert error.total == 150


def test_lists_of_unequal_lengths_are_named_with_their_positions() -> None:
    longer = [*FOUR[:1], replace(FOUR[1], shares=(("alpha", 1),)), FOUR[2], replace(FOUR[3], shares=())]
    shares = record_batch(longer).column("shares")
    assert violations(stream(replaced(record_batch(FOUR), "shares", shares))) == [
        ("events[1].shares", "must be as many as collectives"),
        ("events[3].shares", "must be as many as collectives"),
    ]


# What is refused as a dictionary.


def test_a_dictionary_that_repeats_an_id_is_refused_even_unused() -> None:
    indices = pa.array([0, 1] * 4, pa.int32())
    for names in (["alpha", "alpha"], ["alpha", "beta", "gamma", "gamma"]):
        encoded = pa.DictionaryArray.from_arrays(indices, pa.array(names))
        body = stream(replaced(record_batch(FOUR), "collectives", list_array(FOUR, encoded)))
        assert only_violation(body) == ("collectives", "the dictionary must not repeat an id")


def test_a_dictionary_that_holds_a_null_is_refused_even_unused() -> None:
    body = stream(record_batch(FOUR, dictionary=["alpha", "beta", None]))
    assert only_violation(body) == ("collectives", "the dictionary must not contain nulls")


def test_a_collective_that_only_the_last_of_many_events_names_is_kept() -> None:
    shares = (("alpha", 1), ("beta", 1))
    events = [*some_events(40_000, shares=shares), Event(event_id(2**40), shares=(("gamma", 7),))]
    batch = parse_batch(stream(record_batch(events, dictionary=["alpha", "unused", "beta", "gamma"])))
    assert batch.names == ("alpha", "beta", "gamma")
    assert events_in(batch)[-2:] == events[-2:]


def test_a_dictionary_may_hold_65536_ids_and_no_more() -> None:
    names = ["alpha", "beta", *(f"unused-{number}" for number in range(MAX_COLLECTIVES - 2))]
    assert parse_batch(stream(record_batch(FOUR, dictionary=names))).names == ("alpha", "beta")
    field, reason = only_violation(stream(record_batch(FOUR, dictionary=[*names, "another"])))
    assert (field, reason) == ("collectives", "must have at most 65,536 different ids in a batch, got 65,537")


def test_a_dictionary_holds_no_more_text_than_so_many_ids_have() -> None:
    most = MAX_COLLECTIVES * 63
    unused = "x" * (most - len("alpha" + "beta"))
    assert parse_batch(stream(record_batch(FOUR, dictionary=["alpha", "beta", unused]))).names == ("alpha", "beta")
    refused = only_violation(stream(record_batch(FOUR, dictionary=["alpha", "beta", unused + "x"])))
    assert refused == ("collectives", f"the dictionary has {most + 1} bytes of ids, more than {most}")


def test_columns_that_are_written_here_have_the_bounds_of_those_that_are_read() -> None:
    body = body_of(FOUR)
    columns = read_columns(body, SHARES)
    assert events_in(parse_batch(body, columns)) == FOUR
    names = tuple(f"c{number}" for number in range(MAX_COLLECTIVES + 1))
    for sent, written, field in (
        (bytes(MAX_BODY_BYTES + 1), columns, "arrow_stream"),
        (body, replace(columns, units=np.ones(MAX_EVENTS + 1, dtype=np.int64)), "events"),
        (body, replace(columns, units=np.ones(0, dtype=np.int64)), "events"),
        (body, replace(columns, amounts=np.ones(MAX_SHARES + 1, dtype=np.int32)), "shares"),
        (body, replace(columns, names=names), "collectives"),
    ):
        with pytest.raises(InvalidInputError) as refused:
            parse_batch(sent, written)
        assert [violation.field for violation in refused.value.violations] == [field]


def test_an_index_outside_the_dictionary_is_refused() -> None:
    body = body_of([replace(event, units=9) for event in FOUR])
    indices = struct.pack("<8i", *[0, 1] * 4)
    assert body.count(indices) == 1
    for wrong in (2, -1, 2**31 - 1):
        assert (
            only_violation(body.replace(indices, struct.pack("<8i", 0, 1, 0, wrong, 0, 1, 0, 1)))[0] == "arrow_stream"
        )


def test_a_batch_without_its_dictionary_is_refused() -> None:
    schema, _, batch = framed(body_of(FOUR))
    assert only_violation(joined([schema, batch]))[0] == "arrow_stream"
    schema, _, batch = framed(body_of(some_events(4)))
    assert only_violation(joined([schema, batch]))[0] == "arrow_stream"


@pytest.mark.usefixtures("arrow_is_not_asked")
def test_a_second_or_growing_dictionary_is_refused() -> None:
    first = record_batch(FOUR, dictionary=["alpha", "beta"])
    second = record_batch(FOUR, dictionary=["alpha", "beta", "gamma"])
    schema, dictionary, batch = framed(stream(first))
    for others in (
        framed(stream(first, second, emit_dictionary_deltas=True))[:4],
        framed(stream(first, second))[:4],
        [schema, dictionary, dictionary, batch],
    ):
        assert only_violation(joined([*others[:2], others[-1], batch]))[0] == "arrow_stream"
        assert only_violation(joined(others))[0] == "arrow_stream"


# What is refused as a schema.


def test_a_missing_additional_misnamed_or_displaced_column_is_refused() -> None:
    batch = record_batch(FOUR)
    names = batch.schema.names
    for wrong in (
        batch.drop_columns(["work_id"]),
        batch.append_column("note", pa.array(["x"] * 4)),
        batch.select([*names[1:], names[0]]),
        batch.rename_columns([*names[:-1], "share"]),
        batch.rename_columns([*names[:-1], names[0]]),
        batch.append_column("shares", batch.column("shares")),
    ):
        field, reason = only_violation(stream(wrong))
        assert field == "arrow_stream"
        assert reason.startswith(
            "must have the columns event_id, work_id, occurred_at, units, mode, collectives, shares;"
        )


WANTED: Final = {
    "event_id": "16 bytes each",
    "work_id": "text",
    "occurred_at": "timestamps with a time zone",
    "units": "integers",
    "mode": "integers",
    "collectives": "lists of text, or of structs of id and share",
    "shares": "lists of integers",
}


@pytest.mark.parametrize(
    ("column", "wrong"),
    [
        ("event_id", pa.binary(15)),
        ("event_id", pa.binary(17)),
        ("event_id", pa.utf8()),
        ("work_id", pa.binary()),
        ("work_id", pa.dictionary(pa.int32(), pa.utf8())),
        ("occurred_at", pa.timestamp("us")),
        ("occurred_at", pa.int64()),
        ("occurred_at", pa.date64()),
        ("units", pa.float64()),
        ("units", pa.decimal128(18)),
        ("mode", pa.utf8()),
        ("mode", pa.bool_()),
        ("collectives", pa.list_(pa.dictionary(pa.int32(), pa.binary()))),
        ("collectives", pa.list_(pa.int32())),
        ("collectives", pa.list_(pa.list_(pa.utf8()))),
        ("collectives", pa.list_(pa.utf8(), 2)),
        ("collectives", pa.dictionary(pa.int32(), pa.utf8())),
        ("collectives", pa.map_(pa.utf8(), pa.int32())),
        ("collectives", pa.list_(pa.struct({"id": pa.utf8(), "score": pa.int32()}))),
        ("shares", pa.list_(pa.float32())),
        ("shares", pa.list_(pa.utf8())),
        ("shares", pa.list_(pa.int32(), 2)),
        ("shares", pa.int32()),
    ],
)
def test_a_column_of_another_type_is_refused_by_name(column: str, wrong: pa.DataType) -> None:
    batch = replaced(record_batch(FOUR), column, pa.nulls(4, wrong), field=pa.field(column, wrong))
    # The rest is of a sound batch, so that it is the type alone that is refused.
    body = joined([framed(stream(batch))[0], *framed(body_of(FOUR))[1:]])
    assert only_violation(body) == (column, f"must be {WANTED[column]}, got {wrong}")


def test_an_extension_type_of_another_kind_is_refused() -> None:
    values = pa.array(["{}"] * 4, pa.json_(pa.utf8()))
    batch = replaced(record_batch(FOUR), "work_id", values, field=pa.field("work_id", values.type))
    assert only_violation(stream(batch))[0] == "work_id"


# What is refused as bytes.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"ARROW1\x00\x00",
        b"not an arrow stream at all",
        b"\xff\xff\xff\xff\x00\x00\x00\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\x08\x00\x00\x00" + bytes(8),
        b"\xff\xff\xff\xff\x08\x00\x00\x00" + b"\xff" * 8,
    ],
)
@pytest.mark.usefixtures("arrow_is_not_asked")
def test_what_is_no_stream_is_refused(body: bytes) -> None:
    assert only_violation(body)[0] == "arrow_stream"


def test_an_arrow_file_is_refused() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_batch(record_batch(FOUR))
    assert only_violation(sink.getvalue().to_pybytes())[0] == "arrow_stream"


@pytest.mark.usefixtures("arrow_is_not_asked")
def test_no_record_batch_and_two_are_refused() -> None:
    schema, dictionary, batch = framed(body_of(FOUR))
    for wrong in (
        [schema],
        [schema, dictionary],
        [dictionary, batch],
        [batch],
        [schema, dictionary, batch, batch],
        [schema, schema, dictionary, batch],
        [schema, batch, dictionary],
        [schema, dictionary, batch, schema],
    ):
        field, reason = only_violation(joined(wrong))
        assert field == "arrow_stream"
        assert reason.startswith(
            "must contain one schema, at most one dictionary and one record batch, in this order, got "
        )


@pytest.mark.usefixtures("arrow_is_not_asked")
def test_what_a_stream_holds_instead_is_said() -> None:
    schema, dictionary, batch = framed(body_of(FOUR))
    counted = only_violation(joined([schema, dictionary, dictionary, batch]))[1].partition(", got ")[2]
    assert counted == "1 schema, 2 dictionaries, 1 record batch"


@pytest.mark.usefixtures("arrow_is_not_asked")
def test_bytes_after_the_end_mark_are_refused() -> None:
    body = body_of(FOUR)
    assert only_violation(body + b"\x00")[1].endswith("bytes follow the end of the stream")
    assert only_violation(body + body)[1].endswith("bytes follow the end of the stream")


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_a_truncated_stream_is_refused_wherever_it_is_cut(compression: str | None) -> None:
    body = stream(record_batch(FOUR), compression=compression)
    without_end_mark = len(body) - 8
    for length in range(len(body)):
        if length == without_end_mark:  # the end mark may be missing: the format lets the end of the bytes end a stream
            assert events_in(parse_batch(body[:length])) == FOUR
        else:
            assert only_violation(body[:length])[0] == "arrow_stream"


def test_invalid_utf8_is_refused() -> None:
    events = [replace(event, work_id="urn:work") for event in FOUR]
    for text in (b"urn:work", b"alpha"):
        body = body_of(events)
        at = body.rindex(text)
        for wrong in (b"\xff", b"\xc0", b"\xed\xa0\x80"):
            changed = body[:at] + wrong + body[at + len(wrong) :]
            assert only_violation(changed)[0] == "arrow_stream"


@pytest.mark.usefixtures("arrow_is_not_asked")
def test_more_than_32_mebibytes_are_refused_unread() -> None:
    field, reason = only_violation(bytes(MAX_BODY_BYTES + 1))
    assert (field, reason) == ("arrow_stream", "has 33,554,433 bytes, more than 33,554,432")


@pytest.mark.usefixtures("arrow_is_not_asked")
def test_frames_are_refused_for_what_is_wrong_with_them() -> None:
    body = body_of(FOUR)
    schema, dictionary, (metadata, content) = framed(body)
    # Arrow also reads frames from before version 0.15, which have no continuation mark; these are not walked here.
    for mark in (0, 1, len(metadata) - 8, 0xFFFFFFFE):
        changed = struct.pack("<I", mark) + metadata[4:]
        assert only_violation(joined([schema, dictionary, (changed, content)]))[1].endswith("the continuation mark")
    for metadata_bytes in (-1, -(2**31), len(body), 2**31 - 1):
        changed = metadata[:4] + struct.pack("<i", metadata_bytes) + metadata[8:]
        assert only_violation(joined([schema, dictionary, (changed, content)]))[1].endswith("metadata passes the end")
    assert only_violation(body[: -8 - len(content) // 2])[1].endswith("body passes the end")


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_message_is_measured_by_what_it_decodes_to(compression: str) -> None:
    """Of n events: 16 n of ids, 8 n of times and of units, n of modes, three times 4 (n + 1) of offsets."""
    batch = record_batch(some_events(1000))
    plain, packed = (
        list(arrow_stream.framed(stream(batch))),
        list(arrow_stream.framed(stream(batch, compression=compression))),
    )
    assert [message.kind for message in plain] == [message.kind for message in packed] == [1, 2, 3]
    buffers = 16_000 + 4_004 + 8_000 + 8_000 + 1_000 + 4_004 + 4_004
    bitmap = 125  # no event has a work id
    assert packed[2].decoded_bytes() == buffers + bitmap
    assert 0 <= plain[2].decoded_bytes() - packed[2].decoded_bytes() < 64 * 16  # padding


# What states more than it is.


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
@pytest.mark.parametrize("stated", [2**40, 2**62, 2**63 - 1, MAX_DECODED_BYTES + 1])
@pytest.mark.usefixtures("arrow_is_not_asked")
def test_a_forged_length_is_refused_before_anything_is_allocated(compression: str, stated: int) -> None:
    schema, dictionary, (metadata, content) = framed(stream(record_batch(FOUR), compression=compression))
    # The event ids come first, and there is no null bitmap before them.
    forged = joined([schema, dictionary, (metadata, struct.pack("<q", stated) + content[8:])])
    field, reason = only_violation(forged)
    assert field == "arrow_stream"
    assert reason.endswith("bytes, more than 134,217,728")
    schema, (metadata, content), batch = framed(stream(record_batch(FOUR), compression=compression))
    forged = joined([schema, (metadata, struct.pack("<q", stated) + content[8:]), batch])
    assert only_violation(forged)[1].endswith("bytes, more than 134,217,728")


@pytest.mark.parametrize("stated", [-2, -(2**63)])
@pytest.mark.usefixtures("arrow_is_not_asked")
def test_a_negative_length_is_refused_by_the_framing(stated: int) -> None:
    schema, dictionary, (metadata, content) = framed(stream(record_batch(FOUR), compression="zstd"))
    forged = joined([schema, dictionary, (metadata, struct.pack("<q", stated) + content[8:])])
    assert only_violation(forged)[1].endswith("a compressed buffer states a negative size")


@pytest.mark.parametrize("length", [-1, 10**6, 2**63 - 1, -(2**63)])
@pytest.mark.usefixtures("arrow_is_not_asked")
def test_a_compressed_buffer_outside_its_body_is_refused_by_the_framing(length: int) -> None:
    schema, dictionary, (metadata, content) = framed(stream(record_batch(DENSE), compression="zstd"))
    metadata = with_length(metadata, offset=0, was=range(65, 128), length=length)
    assert only_violation(joined([schema, dictionary, (metadata, content)]))[1].endswith("passes the end of its body")


@pytest.mark.usefixtures("arrow_is_not_asked")
def test_many_lengths_that_only_together_are_too_large_are_refused() -> None:
    """Each buffer alone would be within the limit."""
    half = MAX_DECODED_BYTES // 2 + 1
    schema, dictionary, (metadata, content) = framed(stream(record_batch(FOUR), compression="zstd"))
    dictionary = (dictionary[0], struct.pack("<q", half) + dictionary[1][8:])
    forged = joined([schema, dictionary, (metadata, struct.pack("<q", half) + content[8:])])
    assert only_violation(forged)[1].endswith("bytes, more than 134,217,728")


def test_a_buffer_that_stays_uncompressed_in_a_compressed_stream_is_measured_and_read() -> None:
    """-1 for a stated length says that the bytes are as they are."""
    schema, dictionary, (metadata, content) = framed(stream(record_batch(DENSE), compression="zstd"))
    as_they_are = struct.pack("<q", -1) + b"".join(event.event_id or b"" for event in DENSE)
    metadata = with_length(metadata, offset=0, was=range(65, 128), length=len(as_they_are))
    body = joined([schema, dictionary, (metadata, as_they_are + content[len(as_they_are) :])])
    assert events_in(parse_batch(body)) == DENSE
    *_, whole = arrow_stream.framed(stream(record_batch(DENSE), compression="zstd"))
    *_, in_part = arrow_stream.framed(body)
    assert in_part.decoded_bytes() == whole.decoded_bytes() + 8  # with the -1 itself, which is as they are too


@pytest.mark.usefixtures("arrow_is_not_asked")
def test_real_zeros_that_unpack_to_more_than_128_mebibytes_are_refused() -> None:
    offsets = pa.array([0, MAX_DECODED_BYTES], pa.int32()).buffers()[1]
    zeros = pa.py_buffer(bytes(MAX_DECODED_BYTES))
    work_id = pa.StringArray.from_buffers(1, offsets, zeros)
    bomb = stream(replaced(record_batch(FOUR[:1]), "work_id", work_id), compression="zstd")
    assert len(bomb) < 20_000
    assert only_violation(bomb)[1].endswith("bytes, more than 134,217,728")


@pytest.mark.usefixtures("arrow_is_not_asked")
def test_messages_from_before_arrow_1_are_refused() -> None:
    """Arrow 0.17 noted a batch's compression in its custom metadata, which Arrow heeds to this day in such messages.

    Here it would take the first eight bytes of the event ids as a length to allocate, and the framing would not see it.
    """
    first = replace(FOUR[0], event_id=struct.pack("<qq", 2**40, 0))
    note = {"ARROW:experimental_compression": "zstd"}
    forged = stream(record_batch([first, *FOUR[1:]]), metadata_version=V4, custom_metadata=note)
    assert only_violation(forged)[1].endswith("a message is not of metadata version 5")
    schema, dictionary, _ = framed(body_of(FOUR))
    assert only_violation(joined([schema, dictionary, framed(forged)[2]]))[1].endswith("version 5")


def test_offsets_of_no_whole_length_are_read_as_far_as_they_go() -> None:
    """Arrow allows a buffer to be longer than it need be, by any number of bytes."""
    schema, dictionary, (metadata, content) = framed(body_of(some_events(4, work_id="urn:work")))
    begin = content.index(struct.pack("<5i", 0, 8, 16, 24, 32))
    longer = with_length(metadata, offset=begin, was=range(20, 21), length=21)
    batch = parse_batch(joined([schema, dictionary, (longer, content)]))
    assert [event.work_id for event in events_in(batch)] == ["urn:work"] * 4


# Duplicates and unknown collectives.


def test_the_first_of_equal_ids_counts() -> None:
    numbers = [5, 3, 5, 9, 3, 5]
    batch = parse_batch(body_of([Event(event_id(number)) for number in numbers]))
    first, ascending = first_occurrences(batch)
    assert first.tolist() == [True, True, False, True, False, False]
    assert ascending.tolist() == [1, 0, 3]


def test_an_event_is_found_where_it_was_recorded_and_not_where_it_was_left_out() -> None:
    batch = parse_batch(body_of([Event(event_id(number)) for number in (5, 3, 5, 9)]))
    assert batch.position_of(event_id(5), np.array([2])) == 0
    assert batch.position_of(event_id(5), np.array([0, 1])) == 2
    assert batch.position_of(event_id(5), np.array([0, 2])) is None
    assert batch.position_of(event_id(4), np.array([], dtype=np.int64)) is None


def test_ids_are_compared_by_all_their_bytes_and_ordered_as_bytes() -> None:
    ids = [b"\x80" + bytes(15), bytes(16), bytes(15) + b"\x01", bytes(7) + b"\x01" + bytes(8), b"\x7f" + b"\xff" * 15]
    batch = parse_batch(body_of([Event(identity) for identity in ids]))
    first, ascending = first_occurrences(batch)
    assert first.all()
    assert [ids[position] for position in ascending] == sorted(ids)


def test_an_unregistered_collective_is_named_with_the_position_of_its_event() -> None:
    events = [
        replace(FOUR[0], shares=(("alpha", 1),)),
        replace(FOUR[1], shares=()),
        replace(FOUR[2], shares=(("beta", 1), ("alpha", 1), ("x" * 200, 1))),
        replace(FOUR[3], shares=(("beta", 1),)),
    ]
    batch = parse_batch(body_of(events))
    require_known(batch, np.array([True, True, True]))
    with pytest.raises(InvalidInputError) as refused:
        require_known(batch, np.array([name == "alpha" for name in batch.names]))
    assert [(violation.field, violation.reason) for violation in refused.value.violations] == [
        ("events[2].collectives", "'beta' is not registered"),
        ("events[2].collectives", f"'{'x' * 80}' is not registered"),
        ("events[3].collectives", "'beta' is not registered"),
    ]
    assert refused.value.total == 3


def test_the_first_hundred_unregistered_collectives_are_listed_and_all_are_counted() -> None:
    batch = parse_batch(body_of(some_events(90, shares=(("alpha", 1), ("beta", 1)))))
    with pytest.raises(InvalidInputError) as refused:
        require_known(batch, np.array([False, False]))
    assert [violation.field for violation in refused.value.violations] == [
        f"events[{number // 2}].collectives" for number in range(MAX_VIOLATIONS)
    ]
    assert refused.value.total == 180
