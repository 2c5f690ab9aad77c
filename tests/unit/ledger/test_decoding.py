"""What other writers make of a batch: the same columns, whatever their types, and nothing that Arrow cannot bear."""

from __future__ import annotations

import io
import struct
from datetime import UTC, datetime
from typing import Any, Final

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from ledger.errors import InvalidInputError
from ledger.registry import NANO
from ledger.usage.batch import Batch
from ledger.usage.format import MAX_DECODED_BYTES, MAX_SHARES
from ledger.usage.scores import parse_score_batch
from ledger.usage.shares import parse_batch
from tests.support.batches import Event, body_of, event_id, events_in, record_batch, replaced, stream

SHARES: Final = ((("irish", 400_000_000), ("scottish", 600_000_000)), (), (("irish", 1),), (("älv", NANO),))
EVENTS: Final = [
    Event(event_id(2**40 + number), f"urn:{number}" if number % 2 else None, 1_767_225_600_000_000 + number * 10**6,
          number + 1, 1 + number % 2, shares)
    for number, shares in enumerate(SHARES)
]  # fmt: skip
PLAIN: Final = record_batch(EVENTS)
NAMES: Final = [[name for name, _ in shares] for shares in SHARES]
AMOUNTS: Final = [[amount for _, amount in shares] for shares in SHARES]
PAIRS: Final = [[{"id": name, "share": amount} for name, amount in shares] for shares in SHARES]


def read(batch: pa.RecordBatch) -> list[Event]:
    return events_in(parse_batch(stream(batch)))


def violations(body: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as refused:
        parse_batch(body)
    return [(violation.field, violation.reason) for violation in refused.value.violations]


def cast(column: str, kind: pa.DataType) -> pa.RecordBatch:
    values = PLAIN.column(column)
    if column == "collectives":
        values = pa.array(NAMES)
    return replaced(PLAIN, column, pa.array(values.to_pylist(), kind), field=pa.field(column, kind))


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("event_id", pa.binary()),
        ("event_id", pa.large_binary()),
        ("event_id", pa.binary_view()),
        ("work_id", pa.large_utf8()),
        ("work_id", pa.string_view()),
        ("occurred_at", pa.timestamp("s", tz="UTC")),
        ("occurred_at", pa.timestamp("ms", tz="+00:00")),
        ("occurred_at", pa.timestamp("us", tz="Europe/Lisbon")),
        ("occurred_at", pa.timestamp("ns", tz="UTC")),
        ("units", pa.int8()),
        ("units", pa.uint64()),
        ("mode", pa.int64()),
        ("mode", pa.int8()),
        ("collectives", pa.list_(pa.utf8())),
        ("collectives", pa.list_(pa.large_utf8())),
        ("collectives", pa.list_(pa.string_view())),
        ("collectives", pa.large_list(pa.string_view())),
        ("collectives", pa.large_list(pa.dictionary(pa.uint32(), pa.large_utf8()))),
        ("collectives", pa.list_(pa.dictionary(pa.int8(), pa.utf8()))),
        ("collectives", pa.list_(pa.dictionary(pa.uint64(), pa.utf8(), ordered=True))),
        ("shares", pa.list_(pa.int64())),
        ("shares", pa.list_(pa.uint32())),
        ("shares", pa.large_list(pa.int32())),
    ],
)
def test_a_column_of_any_fitting_type_is_read_as_the_same(column: str, kind: pa.DataType) -> None:
    assert read(cast(column, kind)) == EVENTS


def test_an_event_id_may_be_a_uuid_of_arrow() -> None:
    ids = pa.ExtensionArray.from_storage(pa.uuid(), PLAIN.column("event_id"))
    assert read(replaced(PLAIN, "event_id", ids, field=pa.field("event_id", pa.uuid()))) == EVENTS


def test_works_that_are_all_unknown_may_be_of_no_type() -> None:
    batch = replaced(PLAIN, "work_id", pa.nulls(4), field=pa.field("work_id", pa.null()))
    assert [event.work_id for event in read(batch)] == [None] * 4


def in_pairs(values: Any, kind: pa.DataType) -> pa.RecordBatch:
    place = PLAIN.schema.get_field_index("collectives")
    return PLAIN.drop_columns(["shares"]).set_column(place, pa.field("collectives", kind), pa.array(values, kind))


@pytest.mark.parametrize("text", [pa.utf8(), pa.large_utf8(), pa.string_view(), pa.dictionary(pa.int16(), pa.utf8())])
@pytest.mark.parametrize("number", [pa.int32(), pa.int64(), pa.uint32()])
@pytest.mark.parametrize("of", [pa.list_, pa.large_list])
def test_shares_may_stand_beside_their_collectives_in_structs(text: Any, number: Any, of: Any) -> None:
    assert read(in_pairs(PAIRS, of(pa.struct({"id": text, "share": number})))) == EVENTS
    assert read(in_pairs(PAIRS, of(pa.struct({"share": number, "id": text})))) == EVENTS


def test_pairs_of_a_slice_are_those_of_the_slice() -> None:
    kind = pa.list_(pa.struct({"id": pa.utf8(), "share": pa.int64()}))
    assert read(in_pairs(PAIRS, kind).slice(2)) == EVENTS[2:]
    assert read(PLAIN.slice(1, 2)) == EVENTS[1:3]


def test_scores_may_stand_beside_their_sources() -> None:
    kind = pa.list_(pa.struct({"id": pa.utf8(), "score": pa.float32()}))
    values = [[{"id": "a", "score": 0.5}], [], [{"id": "b", "score": -1.0}, {"id": "a", "score": 0.25}], []]
    batch = PLAIN.drop_columns(["collectives", "shares"]).append_column("sources", pa.array(values, kind))
    found = parse_score_batch(stream(batch))
    assert found.amounts.tolist() == [0.5, -1.0, 0.25]
    assert [found.names[place] for place in found.name_index] == ["a", "b", "a"]
    assert found.offsets.tolist() == [0, 1, 1, 3, 3]


# As libraries write them.


def test_what_polars_writes_is_taken() -> None:
    frame = pl.DataFrame(
        {
            "event_id": [event.event_id for event in EVENTS],
            "work_id": [event.work_id for event in EVENTS],
            "occurred_at": [datetime.fromtimestamp((event.occurred_at or 0) / 10**6, UTC) for event in EVENTS],
            "units": [event.units for event in EVENTS],
            "mode": [event.mode for event in EVENTS],
            "collectives": NAMES,
            "shares": AMOUNTS,
        }
    )
    categories = frame.with_columns(pl.col("collectives").cast(pl.List(pl.Categorical)))
    pairs = frame.drop("shares").with_columns(pl.Series("collectives", PAIRS))
    for each in (frame, categories, pairs):
        for compression in ("uncompressed", "lz4", "zstd"):
            sink = io.BytesIO()
            each.write_ipc_stream(sink, compression=compression)
            assert events_in(parse_batch(sink.getvalue())) == EVENTS


def test_what_duckdb_makes_is_taken() -> None:
    with duckdb.connect() as connection:
        connection.register("given", pa.Table.from_batches([cast("collectives", pa.list_(pa.utf8()))]))
        connection.execute("SET TimeZone = 'America/Havana'")
        event = "event_id, work_id, occurred_at::TIMESTAMPTZ AS occurred_at, units, mode"
        pairs = "[{'id': x[1], 'share': x[2]} FOR x IN list_zip(collectives, shares)] AS collectives"
        for lists in ("collectives, shares::BIGINT[] AS shares", pairs):
            (batch,) = connection.sql(f"SELECT {event}, {lists} FROM given").to_arrow_table().to_batches()
            assert read(batch) == EVENTS


# What is refused, and where.


@pytest.mark.parametrize(
    ("column", "kind", "value", "field", "reason"),
    [
        ("event_id", pa.binary(), b"short", "events[2].event_id", "must be 16 bytes"),
        ("event_id", pa.binary_view(), b"x" * 17, "events[2].event_id", "must be 16 bytes"),
        ("occurred_at", pa.timestamp("s", tz="UTC"), 1_767_225_600_000_000, "events[2].occurred_at", "must be in the"),
        ("occurred_at", pa.timestamp("ms", tz="UTC"), -1, "events[2].occurred_at", "must be in the years 1970 to 9999"),
        ("units", pa.uint64(), 2**64 - 1, "events[2].units", "must be 1 to 1,000,000,000"),
        ("units", pa.int8(), -1, "events[2].units", "must be 1 to 1,000,000,000"),
        ("mode", pa.int64(), 257, "events[2].mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)"),
        ("mode", pa.int32(), -255, "events[2].mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)"),
        ("shares", pa.list_(pa.int64()), [2**32 + 1], "events[2].shares", "must sum to at most 1,000,000,000"),
        ("shares", pa.list_(pa.int64()), [1 - 2**32], "events[2].shares", "must each be at least 1"),
        ("shares", pa.list_(pa.int64()), [None], "events[2].shares", "must not contain nulls"),
        ("shares", pa.large_list(pa.int64()), None, "events[2].shares", "must not be null"),
        ("collectives", pa.list_(pa.utf8()), [None], "events[2].collectives", "must not contain nulls"),
        ("collectives", pa.list_(pa.string_view()), ["a", "b"], "events[2].shares", "must be as many as collectives"),
        ("units", pa.int16(), None, "events[2].units", "must not be null"),
        ("event_id", pa.binary_view(), None, "events[2].event_id", "must not be null"),
    ],
)
def test_what_does_not_fit_is_named_with_its_event(
    column: str, kind: pa.DataType, value: Any, field: str, reason: str
) -> None:
    sound = NAMES if column == "collectives" else PLAIN.column(column).to_pylist()
    values = [*sound[:2], value, *sound[3:]]
    if pa.types.is_timestamp(kind) and value is not None:
        values = pa.array([0, 0, value, 0], pa.int64()).cast(kind)
    batch = replaced(PLAIN, column, pa.array(values, kind), field=pa.field(column, kind))
    ((found, said),) = violations(stream(batch))
    assert found == field
    assert said.startswith(reason)


@pytest.mark.parametrize(
    ("pairs", "field", "reason"),
    [
        ([None], "events[2].collectives", "must not contain nulls"),
        ([{"id": None, "share": 1}], "events[2].collectives", "must not contain nulls"),
        ([{"id": "a", "share": None}], "events[2].shares", "must not contain nulls"),
        ([{"id": "a", "share": 0}], "events[2].shares", "must each be at least 1"),
        (None, "events[2].collectives", "must not be null"),
    ],
)
def test_what_is_wrong_with_a_pair_is_named_with_its_event(pairs: Any, field: str, reason: str) -> None:
    kind = pa.list_(pa.struct({"id": pa.utf8(), "share": pa.int64()}))
    assert violations(stream(in_pairs([*PAIRS[:2], pairs, PAIRS[3]], kind))) == [(field, reason)]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": pa.utf8(), "amount": pa.int64()},
        {"id": pa.utf8()},
        {"id": pa.utf8(), "share": pa.float64()},
        {"id": pa.binary(), "share": pa.int64()},
        {"id": pa.utf8(), "share": pa.int64(), "more": pa.int8()},
    ],
)
def test_other_structs_are_refused_by_their_type(fields: dict[str, pa.DataType]) -> None:
    kind = pa.list_(pa.struct(fields))
    ((field, reason),) = violations(stream(in_pairs([[]] * 4, kind)))
    assert (field, reason) == ("shares", f"is missing, and collectives is {kind}")
    beside = PLAIN.set_column(5, pa.field("collectives", kind), pa.array([[]] * 4, kind))
    assert violations(stream(beside)) == [
        ("collectives", f"must be lists of text, or of structs of id and share, got {kind}")
    ]


def test_shares_beside_pairs_are_refused() -> None:
    kind = pa.list_(pa.struct({"id": pa.utf8(), "share": pa.int64()}))
    beside = PLAIN.set_column(5, pa.field("collectives", kind), pa.array(PAIRS, kind))
    assert violations(stream(beside)) == [("shares", "is given in addition to pairs")]


def test_a_type_is_shown_in_part_where_it_is_long() -> None:
    kind = pa.list_(pa.struct({f"f{number}" * 50: pa.utf8() for number in range(50)}))
    ((_, reason),) = violations(stream(in_pairs([[]] * 4, kind)))
    assert len(reason) < 300


# Hostile.


def views_of(times: int, size: int) -> pa.Array:
    """Views of the same bytes, again and again: 16 bytes each, whatever they stand for."""
    one = pa.array(["x" * size], pa.string_view())
    _, views, data = one.buffers()
    return pa.Array.from_buffers(pa.string_view(), times, [None, pa.py_buffer(views.to_pybytes() * times), data])


@pytest.mark.parametrize("times", [1, 4])
def test_views_of_more_bytes_than_a_body_may_have_are_refused_unread(times: int) -> None:
    size = MAX_DECODED_BYTES // 4
    works = views_of(4, size + times)
    batch = replaced(PLAIN, "work_id", works, field=pa.field("work_id", works.type))
    body = stream(batch, compression="zstd")
    assert len(body) < 2**20
    ((field, reason),) = violations(body)
    assert (field, reason) == (
        "work_id",
        f"has views of {4 * (size + times):,} bytes in total, more than {MAX_DECODED_BYTES:,}",
    )


def test_names_that_are_views_of_the_same_bytes_are_refused_unread() -> None:
    names = views_of(1_000, 2**20)
    offsets = pa.array([0, 1_000, 1_000, 1_000, 1_000], pa.int32())
    amounts = pa.ListArray.from_arrays(offsets, pa.array([1] * 1_000))
    lists = pa.ListArray.from_arrays(offsets, names)
    batch = replaced(PLAIN, "shares", amounts, field=pa.field("shares", amounts.type))
    batch = replaced(batch, "collectives", lists, field=pa.field("collectives", lists.type))
    assert violations(stream(batch, compression="zstd"))[0][0] == "collectives"


def test_more_plain_names_than_a_batch_may_have_are_refused() -> None:
    names = pa.array([f"c{number}" for number in range(65_537)])
    offsets = pa.array([0, 65_537, 65_537, 65_537, 65_537], pa.int32())
    batch = replaced(PLAIN, "collectives", pa.ListArray.from_arrays(offsets, names))
    batch = replaced(batch, "shares", pa.ListArray.from_arrays(offsets, pa.array(np.ones(65_537, dtype=np.int32))))
    assert violations(stream(batch)) == [
        ("collectives", "must have at most 65,536 different ids in a batch, got 65,537")
    ]


def test_more_pairs_than_a_batch_may_have_are_refused() -> None:
    count = MAX_SHARES + 1
    pairs = pa.StructArray.from_arrays(
        [pa.array(["a"]).take(pa.array(np.zeros(count, dtype=np.int8))), pa.array(np.ones(count, dtype=np.int8))],
        ["id", "share"],
    )
    lists = pa.ListArray.from_arrays(pa.array([0, count, count, count, count], pa.int32()), pairs)
    batch = PLAIN.drop_columns(["shares"]).set_column(5, pa.field("collectives", lists.type), lists)
    assert violations(stream(batch, compression="zstd")) == [
        ("shares", f"must be at most {MAX_SHARES:,} in a batch, got {count:,}")
    ]


def body_kinds() -> list[bytes]:
    kinds = {"event_id": pa.binary_view(), "work_id": pa.string_view(), "collectives": pa.large_list(pa.string_view())}
    batch = PLAIN
    for column, kind in kinds.items():
        values = NAMES if column == "collectives" else batch.column(column).to_pylist()
        batch = replaced(batch, column, pa.array(values, kind), field=pa.field(column, kind))
    pairs = in_pairs(PAIRS, pa.list_(pa.struct({"id": pa.string_view(), "share": pa.int64()})))
    return [stream(batch), stream(batch, compression="lz4"), stream(pairs), body_of(EVENTS)]


def test_no_byte_changed_in_a_body_of_any_kind_does_more_than_have_it_refused() -> None:
    """A few thousand of the bytes, each set to a few others: nothing but a refusal, or another batch, comes of it."""
    random = np.random.default_rng(7)
    for body in body_kinds():
        for at in random.integers(0, len(body), 700).tolist():
            for wrong in (0, 0x7F, 0xFF, body[at] ^ 1):
                changed = body[:at] + bytes([wrong]) + body[at + 1 :]
                try:
                    found = parse_batch(changed)
                except InvalidInputError:
                    continue
                assert isinstance(found, Batch)
                assert found.offsets[-1] == len(found.amounts) == len(found.name_index)


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}])
def test_a_validity_bitmap_must_have_the_nulls_that_are_said(options: dict[str, Any]) -> None:
    """Arrow believes the count, other readers the bitmap: the same bytes would be two batches."""
    body = stream(PLAIN, **options)
    assert [event.work_id for event in events_in(parse_batch(body))].count(None) == 2
    said = struct.pack("<qq", 4, 2)
    assert body.count(said) == 1
    lying = body.replace(said, struct.pack("<qq", 4, 0))
    assert violations(lying) == [("work_id", "is said to hold 0 nulls, and its validity bitmap has 2")]


def test_a_value_that_a_bitmap_hides_is_null_whatever_is_said() -> None:
    body = stream(replaced(PLAIN, "units", pa.array([1, None, 3, 4], pa.int64())))
    said = struct.pack("<qq", 4, 1)
    assert body.count(said) == 1
    hiding = body.replace(said, struct.pack("<qq", 4, 0))
    assert violations(hiding) == [("events[1].units", "must not be null")]


def test_a_bitmap_without_nulls_is_taken() -> None:
    """Java writes a bitmap for every column."""
    body = stream(replaced(PLAIN, "units", pa.array([1, None, 3, 4], pa.int64())))
    bitmap = bytes([0b1101, *[0] * 7])
    assert body.count(bitmap) == 1
    full = body.replace(struct.pack("<qq", 4, 1), struct.pack("<qq", 4, 0))
    full = full.replace(bitmap, bytes([0b1111, *[0] * 7]))
    with pytest.raises(InvalidInputError, match=r"events\[1\]\.units"):  # what lay under the null was no count
        parse_batch(full)
