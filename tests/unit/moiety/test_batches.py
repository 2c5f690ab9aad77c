from __future__ import annotations

import unicodedata
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from ledger.usage.shares import parse_batch
from moiety import (
    IdScheme,
    InvalidUsageError,
    Mode,
    UsageEvent,
    batch_of,
    event_id_of,
    ordered_event_id_of,
    usage_batches,
    uuid7,
)
from moiety import batches as module
from moiety.batches import USAGE_SCHEMA, decode, encode, record_batches
from moiety.events import event_to_message
from moiety.matrices import cuts
from moiety.slices import slices

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS: Final[dict[str, list[Any]]] = {
    "event_id": [bytes([number]) * 16 for number in range(3)],
    "work_id": ["urn:iscc:a", None, "urn:iscc:ü"],
    "occurred_at": [NOON + timedelta(microseconds=number) for number in range(3)],
    "units": [1, 2, 1_000_000_000],
    "mode": [1, 2, 1],
    "collectives": [["scottish", "irish"], [], ["irish"]],
    "shares": [[400_000_000, 600_000_000], [], [1]],
}
TABLE: Final = pa.table(COLUMNS)
PARTS: Final = (slice(0, 1), slice(1, 3))
SCHEMA: Final = pl.DataFrame(COLUMNS).schema


def batches(table: Any, events_per_batch: int = 10_000) -> list[bytes]:
    return list(usage_batches(table, events_per_batch=events_per_batch))


def rows(table: Any, id_scheme: IdScheme = IdScheme.OWN) -> list[dict[str, Any]]:
    return [row for batch in usage_batches(table, id_scheme=id_scheme) for row in decode(batch).to_pylist()]


def with_column(name: str, values: Any) -> pa.Table:
    return TABLE.set_column(TABLE.schema.get_field_index(name), name, values)


def refusal(table: Any) -> tuple[str, int | None, str]:
    with pytest.raises(InvalidUsageError) as caught:
        batches(table)
    return caught.value.field, caught.value.position, caught.value.reason


def test_a_batch_is_one_record_batch_of_the_exact_schema() -> None:
    (data,) = batches(TABLE)
    batch = decode(data)
    assert batch.schema.equals(USAGE_SCHEMA)
    assert batch.schema.metadata is None
    assert encode(batch) == data
    assert sent_schema(data).equals(schema_of(pa.int8(), pa.int32()))
    assert batch.to_pylist() == TABLE.to_pylist()


def sent_schema(data: bytes) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(data))


def schema_of(width: pa.DataType, units: pa.DataType) -> pa.Schema:
    """The schema of a batch as it is sent, with indices and units of so many bits."""
    kinds = {"units": units, "collectives": pa.list_(pa.dictionary(width, pa.utf8()))}
    return pa.schema([field.with_type(kinds.get(field.name, field.type)) for field in USAGE_SCHEMA])


@pytest.mark.parametrize("most", [1, 127, 128, 32_767, 32_768, 10**9])
def test_units_are_as_narrow_as_all_of_them_allow_and_read_as_the_same(most: int) -> None:
    (data,) = batches(with_column("units", pa.array([1, most, 1])))
    width = sent_schema(data).field("units").type.bit_width
    assert 1 << (width - 1) > most
    assert width == 8 or most >= 1 << (width // 2 - 1)
    assert parse_batch(data).units.tolist() == [1, most, 1]


@pytest.mark.parametrize(
    ("ids", "width"),
    [(1, pa.int8()), (128, pa.int8()), (129, pa.int16()), (32_768, pa.int16()), (32_769, pa.int32())],
)
def test_indices_are_as_narrow_as_all_ids_allow_and_read_as_the_same(ids: int, width: pa.DataType) -> None:
    of_events = [list(range(begin, min(ids, begin + 1_000))) for begin in range(0, ids, 1_000)] + [[], [ids - 1]]
    names = [f"c-{number:05d}" for number in range(ids)]
    columns = {name: COLUMNS[name][:1] * len(of_events) for name in ("occurred_at", "units", "mode")} | {
        "event_id": [place.to_bytes(16, "big") for place in range(1, 1 + len(of_events))],
        "collectives": [[names[number] for number in of_event] for of_event in of_events],
        "shares": [[1 + number for number in of_event] for of_event in of_events],
    }
    (batch,) = record_batches(pa.table(columns))
    for part, expected in ((batch, of_events), (batch.slice(1), of_events[1:])):
        data = encode(part)
        assert sent_schema(data).equals(schema_of(width, pa.int8()))
        assert decode(data).equals(part)
        read = parse_batch(data)
        found = [read.name_index[begin:end].tolist() for begin, end in pairwise(read.offsets)]
        assert [[read.names[place] for place in of_event] for of_event in found] == [
            [names[number] for number in of_event] for of_event in expected
        ]
        assert read.amounts.tolist() == [1 + number for of_event in expected for number in of_event]


def test_the_service_takes_what_this_makes() -> None:
    (data,) = batches(TABLE)
    batch = parse_batch(data)
    assert batch.names == ("irish", "scottish")
    assert batch.name_index.tolist() == [1, 0, 0]
    assert batch.amounts.tolist() == [400_000_000, 600_000_000, 1]


def test_tables_of_every_library_give_the_same_bytes() -> None:
    expected = batches(TABLE)
    relation = duckdb.from_arrow(TABLE)  # noqa: F841 - DuckDB finds it by name
    tables = {
        "polars": pl.DataFrame(COLUMNS, schema_overrides={"event_id": pl.Binary}),
        "polars, narrow": pl.DataFrame(COLUMNS).with_columns(
            pl.col("units").cast(pl.UInt32), pl.col("mode").cast(pl.Int8)
        ),
        "polars, categories": pl.DataFrame(COLUMNS).with_columns(
            pl.col("collectives").cast(pl.List(pl.Categorical)), pl.col("work_id").cast(pl.Categorical)
        ),
        "polars, chunks": pl.concat(
            [pl.DataFrame({name: values[part] for name, values in COLUMNS.items()}, SCHEMA) for part in PARTS],
            rechunk=False,
        ),
        "pandas": pd.DataFrame(COLUMNS),
        "pandas with an index": pd.DataFrame(COLUMNS, index=["x", "y", "z"]),
        "duckdb": duckdb.sql("SELECT * FROM relation"),
        "record batch": TABLE.to_batches()[0],
        "chunks": pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1, 2)]),
        "reader": TABLE.to_reader(),
        "floating-point units": with_column("units", TABLE["units"].cast(pa.float64())),
        "half floats": with_column("mode", TABLE["mode"].cast(pa.float16())),
        "decimals": with_column("units", TABLE["units"].cast(pa.decimal128(22, 2))),
        "columns in another order": TABLE.select(list(reversed(TABLE.column_names))),
        "large lists": with_column("shares", TABLE["shares"].cast(pa.large_list(pa.uint64()))),
        "own batches": pa.Table.from_batches(map(decode, expected)),
    }
    for name, table in tables.items():
        assert batches(table) == expected, name


def test_event_ids_may_be_text() -> None:
    texts = [str(UUID(bytes=value)) for value in COLUMNS["event_id"]]
    assert batches(with_column("event_id", [texts])) == batches(TABLE)
    assert batches(with_column("event_id", [[text.upper() for text in texts]])) == batches(TABLE)


def test_event_ids_may_be_arrow_uuids() -> None:
    ids = pa.array(COLUMNS["event_id"], pa.uuid())
    assert batches(with_column("event_id", ids)) == batches(TABLE)


def test_modes_may_be_words() -> None:
    assert batches(with_column("mode", [["AI_ONLY", "HUMAN_AI", "AI_ONLY"]])) == batches(TABLE)


def test_times_may_be_text_or_in_other_zones_and_units() -> None:
    texts = [time.isoformat() for time in COLUMNS["occurred_at"]]
    lisbon = [time.astimezone(timezone(timedelta(hours=1))).isoformat() for time in COLUMNS["occurred_at"]]
    nanoseconds = TABLE["occurred_at"].cast(pa.timestamp("ns", tz="Europe/Lisbon"))
    for values in ([texts], [lisbon], nanoseconds):
        assert batches(with_column("occurred_at", values)) == batches(TABLE)


def test_nanoseconds_are_cut_to_microseconds() -> None:
    times = pa.array([1_000, 1_999, 2_000], pa.timestamp("ns", tz="UTC"))
    assert [row["occurred_at"].microsecond for row in rows(with_column("occurred_at", times))] == [1, 1, 2]


def test_units_may_be_decimals_without_a_fraction() -> None:
    units = pa.array([Decimal(value) for value in COLUMNS["units"]], pa.decimal128(38, 0))
    assert batches(with_column("units", units)) == batches(TABLE)


def test_a_work_id_may_be_left_out() -> None:
    assert [row["work_id"] for row in rows(TABLE.drop(["work_id"]))] == [None] * 3


def test_no_list_is_an_empty_list() -> None:
    table = with_column("collectives", [[["scottish", "irish"], None, ["irish"]]])
    table = table.set_column(6, "shares", [[[400_000_000, 600_000_000], None, [1]]])
    assert batches(table) == batches(TABLE)


def test_the_dictionary_holds_what_occurs_in_the_batch_sorted_by_bytes() -> None:
    words = pa.array(["zulu", "älv", "absent", "zulu", "irish"])
    lists = pa.ListArray.from_arrays([0, 2, 3, 5], pa.DictionaryArray.from_arrays(pa.array([1, 0, 3, 4, 0]), words))
    table = with_column("collectives", lists).set_column(6, "shares", [[[1, 2], [3], [4, 5]]])
    first, second = (decode(data) for data in batches(table, events_per_batch=2))
    assert first["collectives"].values.dictionary.to_pylist() == ["zulu", "älv"]
    assert second["collectives"].values.dictionary.to_pylist() == ["irish", "zulu"]
    assert first["collectives"].to_pylist() == [["älv", "zulu"], ["zulu"]]
    assert second["collectives"].to_pylist() == [["irish", "zulu"]]


def test_an_id_of_the_platforms_own_gives_the_same_event_id_whatever_the_time() -> None:
    """The same id with its time cut to the second, or in another zone by mistake, is the same event."""
    table = TABLE.drop(["event_id"]).append_column("id", [["play-1", "play-2", "play-1"]])
    ids = [row["event_id"] for row in rows(table)]
    assert ids[0] == ids[2] == event_id_of("play-1").bytes
    assert ids[1] == event_id_of("play-2").bytes
    moved = pa.array([time + timedelta(hours=1) for time in COLUMNS["occurred_at"]])
    later = table.set_column(table.schema.get_field_index("occurred_at"), "occurred_at", moved)
    assert [row["event_id"] for row in rows(later)] == ids


def test_an_ordered_id_has_the_time_in_it() -> None:
    table = TABLE.drop(["event_id"]).append_column("id", [["play-1", "play-2", "play-1"]])
    ids = [row["event_id"] for row in rows(table, IdScheme.ORDERED)]
    assert ids[0] == ordered_event_id_of("play-1", NOON).bytes
    assert ids[0] == ids[2], "the times differ by less than a millisecond"
    assert {UUID(bytes=value).version for value in ids} == {8}


def test_a_scheme_may_be_given_by_its_name_and_no_other_is_taken_for_one() -> None:
    own = TABLE.drop(["event_id"]).append_column("id", [["a", "b", "c"]])
    for scheme in IdScheme:
        assert list(usage_batches(own, id_scheme=str(scheme))) == list(usage_batches(own, id_scheme=scheme))
    with pytest.raises(ValueError, match="'ordered' is not a valid IdScheme"):
        usage_batches(own, id_scheme="ordered")


def test_an_own_id_is_a_hash() -> None:
    """UUIDv8 in RFC 9562 section 5.8: version and variant stand in the digest's place, its other bits stay."""
    digest = int.from_bytes(sha256("pläy-1".encode()).digest()[:16], "big")
    found = event_id_of("pläy-1")
    assert (found.version, found.variant) == (8, "specified in RFC 4122")
    marks = 0xF << 76 | 3 << 62
    assert found.int & ~marks == digest & ~marks
    assert event_id_of("pläy-1") != event_id_of(unicodedata.normalize("NFD", "pläy-1"))


def test_a_uuid_or_ulid_is_itself() -> None:
    text = "01890a5d-ac96-774b-bcce-b302099a8057"
    assert event_id_of(text) == event_id_of(text.upper()) == UUID(text)
    # The time of the example of github.com/ulid/spec: 1469918176385 ms.
    ulid = "01ARYZ6S41TSV4RRFFQ69G5FAV"
    assert event_id_of(ulid) == event_id_of(ulid.lower())
    assert event_id_of(ulid).int >> 80 == 1_469_918_176_385
    assert event_id_of("7" + "Z" * 25).int == 2**128 - 1
    assert event_id_of("0" * 25 + "1").int == 1


@pytest.mark.parametrize(
    "text",
    [
        "01890A5d-ac96-774b-bcce-b302099a8057",
        "01890a5dac96774bbcceb302099a8057",
        "{01890a5d-ac96-774b-bcce-b302099a8057}",
        "01ARYZ6S41tsv4rrffq69g5fav",
        "01ARYZ6S41TSV4RRFFQ69G5FAU",
        "81ARYZ6S41TSV4RRFFQ69G5FAV",
        "01ARYZ6S41TSV4RRFFQ69G5FA",
        "01890a5d-ac96-774b-bcce-b302099a8057 ",
        "01ARYZ6S41TSV4RRFFQ69G5FAV\n",
        "\u06601ARYZ6S41TSV4RRFFQ69G5FAV",
    ],
)
def test_what_only_looks_like_one_is_a_text_of_its_own(text: str) -> None:
    assert event_id_of(text).version == 8


def test_ids_that_differ_in_case_alone_are_different() -> None:
    """An id in base 62 may be as long as a ULID."""
    text = "0ABCDEFGHJKMNPQRSTVWXYZabc"
    assert len({event_id_of(each) for each in (text, text[:-1] + "C", text.swapcase())}) == 3


def test_an_ordered_event_id_is_the_time_and_the_digest() -> None:
    digest = int.from_bytes(sha256(b"play-1").digest()[:10], "big")
    found = ordered_event_id_of("play-1", datetime.fromtimestamp(1, UTC)).int
    assert found >> 80 == 1_000
    assert found >> 64 & 0xFFF == digest >> 64 & 0xFFF
    assert found & (1 << 56) - 1 == int.from_bytes(sha256(b"play-1").digest()[3:10], "big")


@pytest.mark.parametrize(
    ("own_id", "time"),
    [("", NOON), ("play", NOON.replace(tzinfo=None)), ("play", datetime(1969, 12, 31, tzinfo=UTC))],
)
def test_an_ordered_event_id_is_not_derived_from_nothing(own_id: str, time: datetime) -> None:
    with pytest.raises(ValueError, match=r"empty|time zone|1970"):
        ordered_event_id_of(own_id, time)


@pytest.mark.parametrize("own_id", ["", "play-\ud800"])
def test_an_event_id_is_not_derived_from_nothing(own_id: str) -> None:
    with pytest.raises(ValueError, match=r"empty|surrogate"):
        event_id_of(own_id)


def test_a_uuid7_has_the_time_first() -> None:
    before = datetime.now(UTC)
    found = [uuid7() for _ in range(1000)]
    after = datetime.now(UTC)
    assert {value.version for value in found} == {7}
    assert {value.variant for value in found} == {"specified in RFC 4122"}
    assert len(set(found)) == 1000
    assert before.timestamp() - 0.002 <= (found[0].int >> 80) / 1000 <= after.timestamp()
    assert [value.int >> 64 for value in found] == sorted(value.int >> 64 for value in found)


def test_batches_are_cut_at_the_same_places_whatever_the_chunks() -> None:
    table = pa.concat_tables([TABLE] * 5)
    chunked = pa.concat_tables([table.slice(0, 4), table.slice(4, 0), table.slice(4, 9), table.slice(13)])
    assert [len(decode(data)) for data in batches(table, 4)] == [4, 4, 4, 3]
    assert batches(chunked, 4) == batches(table, 4)


def test_a_table_without_rows_has_no_batches() -> None:
    assert batches(TABLE.slice(0, 0)) == []


@pytest.mark.parametrize("count", [0, 65_537])
def test_a_batch_has_1_to_65536_events(count: int) -> None:
    with pytest.raises(ValueError, match="events_per_batch"):
        batches(TABLE, count)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(TypeError, match="list is no table"):
        batches([1, 2, 3])


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("event_id", [[b"1" * 16, b"2" * 15, b"3" * 16]], ("event_id", 1, "is not 16 bytes")),
        ("event_id", [["x", None, "y"]], ("event_id", 1, "is missing")),
        ("event_id", [["x", "y", "z"]], ("event_id", 0, "is not a UUID in text form")),
        ("event_id", [[1, 2, 3]], ("event_id", None, "must be 16 bytes or UUID text, got int64")),
        ("work_id", [[1, 2, 3]], ("work_id", None, "must be text, got int64")),
        (
            "occurred_at",
            [[NOON.replace(tzinfo=None)] * 3],
            ("occurred_at", None, "has no time zone; make it a timestamp in UTC, for example"),
        ),
        ("units", [[1, None, 2]], ("units", 1, "is missing")),
        ("units", [[1.0, 2.5, 3.0]], ("units", 1, "'2.5' is not a whole number of 64 bits")),
        ("units", [[1.0, 1e19, float("nan")]], ("units", 1, "'1e+19' is not a whole number of 64 bits")),
        ("units", [[Decimal("1.00"), Decimal("2.50"), 3]], ("units", 1, "'2.50' is not a whole number of 64 bits")),
        ("mode", [[1.0, 2.0, 1.5]], ("mode", 2, "'1.5' is not a whole number of 64 bits")),
        ("units", pa.array([1, 2, 2**64 - 1], pa.uint64()), ("units", 2, f"'{2**64 - 1}' does not fit 64 bits")),
        ("mode", [["AI_ONLY", "HUMAN", "AI_ONLY"]], ("mode", 1, "is not one of AI_ONLY, HUMAN_AI")),
        ("mode", [[1, 2, 300]], ("mode", 2, "'300' must be 1 (AI_ONLY) or 2 (HUMAN_AI)")),
        ("collectives", [[["irish"], [], ["irish", None]]], ("collectives", 2, "contains a null")),
        ("collectives", [[[1], [], [2]]], ("collectives", None, "must be lists of text, got list<item: int64>")),
        ("collectives", [["irish", "irish", ""]], ("collectives", None, "must be lists, got string")),
        ("shares", [[[1, 2], [], [None]]], ("shares", 2, "contains a null")),
        ("shares", [[[1, 2], [], [2**31]]], ("shares", 2, f"{2**31} does not fit 32 bits")),
        (
            "shares",
            [[[0.5, 0.5], [], [1.0]]],
            (
                "shares",
                None,
                "must be lists of integers, which are billionths: 0.9 is 900000000; got list<item: double>",
            ),
        ),
    ],
)
def test_what_a_batch_cannot_hold_is_refused_by_column_and_position(
    name: str, values: Any, expected: tuple[str, int | None, str]
) -> None:
    assert refusal(with_column(name, values)) == expected


def test_a_time_without_a_zone_in_text_is_refused() -> None:
    field, position, reason = refusal(with_column("occurred_at", [["2026-03-01T12:00:00Z", "2026-03-01T12:00:00", ""]]))
    assert (field, position) == ("occurred_at", 1)
    assert "'2026-03-01T12:00:00' is not an ISO 8601 time with a zone" in reason


def test_positions_count_over_the_whole_table() -> None:
    table = pa.concat_tables([TABLE, TABLE, with_column("units", [[1, 2, None]])])
    with pytest.raises(InvalidUsageError, match=r"^events\[8\]\.units: is missing$"):
        batches(table, events_per_batch=2)


def test_batches_before_the_faulty_one_are_given() -> None:
    table = pa.concat_tables([TABLE, with_column("units", [[1, 2, None]])])
    found = usage_batches(table, events_per_batch=3)
    assert decode(next(found)).to_pylist() == TABLE.to_pylist()
    with pytest.raises(InvalidUsageError):
        next(found)


@pytest.mark.parametrize(
    ("table", "field", "reason"),
    [
        (TABLE.drop(["units"]), "units", "is missing from the table"),
        (TABLE.drop(["event_id"]), "event_id", "is missing from the table"),
        (TABLE.rename_columns({"work_id": "workid"}), "workid", "is not a column of usage"),
        (TABLE.append_column("id", [["a", "b", "c"]]), "id", "is given in addition to event_id"),
        (TABLE.append_column("units", [[1, 2, 3]]), "units", "is in the table twice"),
    ],
)
def test_columns_are_checked_before_a_row_is_read(table: Any, field: str, reason: str) -> None:
    with pytest.raises(InvalidUsageError) as caught:
        usage_batches(table)
    assert caught.value.field == field
    assert caught.value.position is None
    assert caught.value.reason.startswith(reason)


EVENTS: Final = [
    UsageEvent(UUID(bytes=COLUMNS["event_id"][0]), NOON, 1, Mode.AI_ONLY, {"irish": 7, "scottish": 5}, "urn:a"),
    UsageEvent(UUID(bytes=COLUMNS["event_id"][1]), NOON, 2, Mode.HUMAN_AI, {}),
]


def test_events_as_objects_make_a_table() -> None:
    assert rows(batch_of(EVENTS)) == [
        {
            "event_id": COLUMNS["event_id"][0],
            "work_id": "urn:a",
            "occurred_at": NOON,
            "units": 1,
            "mode": 1,
            "collectives": ["irish", "scottish"],
            "shares": [7, 5],
        },
        {
            "event_id": COLUMNS["event_id"][1],
            "work_id": None,
            "occurred_at": NOON,
            "units": 2,
            "mode": 2,
            "collectives": [],
            "shares": [],
        },
    ]


def test_an_event_that_does_not_fit_is_named() -> None:
    huge = UsageEvent(uuid7(), NOON, 2**63, Mode.AI_ONLY, {})
    with pytest.raises(InvalidUsageError, match=r"events\[2\]\.units"):
        batch_of([*EVENTS, huge])
    naive = UsageEvent(uuid7(), NOON.replace(tzinfo=None), 1, Mode.AI_ONLY, {})
    with pytest.raises(InvalidUsageError, match=r"events\[0\]\.occurred_at: has no time zone"):
        batch_of([naive])


def test_an_event_as_a_message_says_the_same() -> None:
    message = event_to_message(EVENTS[0])
    assert message.event_id == str(EVENTS[0].event_id)
    assert message.work_id == "urn:a"
    assert message.occurred_at.ToDatetime(UTC) == NOON
    assert {share.collective_id: share.share_nano for share in message.shares} == {"irish": 7, "scottish": 5}
    assert not event_to_message(EVENTS[1]).HasField("work_id")


@pytest.mark.parametrize(
    ("changed", "field", "told"),
    [
        ({"units": 2.5}, "units", "must be a whole number of 64 bits, got 2.5"),
        ({"units": 2.0}, "units", "must be a whole number of 64 bits, got 2.0"),
        ({"units": True}, "units", "must be a whole number of 64 bits, got True"),
        ({"units": 2**63}, "units", f"must be a whole number of 64 bits, got {2**63}"),
        ({"shares": {"irish": 0.6}}, "shares", "must be whole numbers of billionths, of 32 bits, got 0.6"),
        ({"shares": {"irish": "6"}}, "shares", "must be whole numbers of billionths, of 32 bits, got '6'"),
        ({"shares": {"irish": 2**31}}, "shares", f"must be whole numbers of billionths, of 32 bits, got {2**31}"),
        ({"shares": None}, "shares", "must be a mapping, got None"),
        ({"shares": {None: 1}}, "collectives", "must be text, got None"),
        ({"shares": {"\ud800": 1}}, "collectives", "must be text, got '\\ud800'"),
        ({"work_id": "\udfff"}, "work_id", "must be text, got '\\udfff'"),
        ({"work_id": b"urn:a"}, "work_id", "must be text, got b'urn:a'"),
        ({"event_id": "play-1"}, "event_id", "must be a UUID, got 'play-1'"),
        ({"occurred_at": "2026-03-01T12:00Z"}, "occurred_at", "must be a datetime, got '2026-03-01T12:00Z'"),
        ({"occurred_at": NOON.date()}, "occurred_at", "must be a datetime, got datetime.date(2026, 3, 1)"),
        ({"occurred_at": pd.NaT}, "occurred_at", "has no time zone"),
        (
            {"occurred_at": datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2)))},
            "occurred_at",
            "is out of range: 9999-12-31 23:00:00-02:00",
        ),
        ({"mode": 0}, "mode", "must be Mode.AI_ONLY or Mode.HUMAN_AI, got 0"),
        ({"mode": 7}, "mode", "must be Mode.AI_ONLY or Mode.HUMAN_AI, got 7"),
        ({"mode": 1.0}, "mode", "must be Mode.AI_ONLY or Mode.HUMAN_AI, got 1.0"),
        ({"mode": "AI_ONLY"}, "mode", "must be Mode.AI_ONLY or Mode.HUMAN_AI, got 'AI_ONLY'"),
    ],
)
def test_an_event_whose_values_are_of_other_types_is_refused_and_nothing_is_cut(
    changed: dict[str, Any], field: str, told: str
) -> None:
    whole = UsageEvent(uuid7(), datetime(2026, 3, 1, tzinfo=UTC), 1, Mode.AI_ONLY, {"irish": 1})
    wrong = replace(whole, **changed)
    for refuse in (lambda: batch_of([whole, wrong]), lambda: event_to_message(wrong, 1)):
        with pytest.raises(InvalidUsageError) as caught:
            refuse()
        assert (caught.value.field, caught.value.position, caught.value.reason) == (field, 1, told)


def test_an_event_of_another_library_s_numbers_and_times_is_the_same_event() -> None:
    whole = UsageEvent(uuid7(), NOON, 3, Mode.HUMAN_AI, {"irisch-ü": 7})
    theirs: dict[str, Any] = {
        "units": np.int64(3),
        "occurred_at": pd.Timestamp(NOON),
        "shares": {"irisch-ü": np.int32(7)},
    }
    other = replace(whole, **theirs)
    assert batch_of([other]) == batch_of([whole])
    assert event_to_message(other) == event_to_message(whole)


def pairs_of(column: list[list[str]], amounts: list[list[Any]], amount: str) -> list[list[dict[str, Any]]]:
    return [
        [{"id": name, amount: value} for name, value in zip(names, values, strict=True)]
        for names, values in zip(column, amounts, strict=True)
    ]


PAIRED: Final = pa.table(
    {name: COLUMNS[name] for name in COLUMNS if name not in ("collectives", "shares")}
    | {"collectives": pairs_of(COLUMNS["collectives"], COLUMNS["shares"], "share")}
)


@pytest.mark.parametrize(
    "paired",
    [
        PAIRED,
        pl.from_arrow(PAIRED),
        pd.DataFrame(PAIRED.to_pylist()),
        duckdb.sql("SELECT * FROM PAIRED"),
        pa.concat_tables([PAIRED.slice(0, 1), PAIRED.slice(1)]),
    ],
    ids=["pyarrow", "polars", "pandas", "duckdb", "chunks"],
)
def test_ids_and_shares_in_pairs_are_the_same_batch(paired: Any) -> None:
    assert batches(paired) == batches(TABLE)


def test_pairs_that_are_none_are_refused_with_what_they_must_be() -> None:
    def told(column: list[Any], **more: Any) -> str:
        table = PAIRED.set_column(5, "collectives", [column])
        for name, values in more.items():
            table = table.append_column(name, [values])
        with pytest.raises(InvalidUsageError) as caught:
            batches(table)
        return str(caught.value)

    wanted = "collectives: must be lists of structs of id and share, got list<"
    assert told([[{"id": "irish", "score": 1}]] * 3).startswith(wanted)
    assert told([[{"id": "irish", "share": 1, "why": "?"}]] * 3).startswith(wanted)
    assert "events[1].collectives: contains a null" in told([[{"id": "a", "share": 1}], [None], []])
    assert "events[1].shares: contains a null" in told([[], [{"id": "a", "share": None}], [{"id": "a", "share": 1}]])
    assert "billionths" in told([[{"id": "a", "share": 0.5}]] * 3)
    pair = [{"id": "a", "share": 1}]
    assert told([pair] * 3, shares=[[1]] * 3) == "shares: is given in addition to collectives with a share each"


def test_scores_in_pairs_are_the_same_batch() -> None:
    shared = {name: COLUMNS[name] for name in ("event_id", "occurred_at", "units", "mode")}
    scores = [[0.5, 0.25], [], [1.0]]
    apart = pa.table(shared | {"sources": COLUMNS["collectives"], "scores": scores})
    paired = pa.table(shared | {"sources": pairs_of(COLUMNS["collectives"], scores, "score")})
    assert batches(paired) == batches(apart)


def test_what_is_a_table_in_another_way_is_taken(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "usage.parquet")
    lazy = pl.LazyFrame(COLUMNS, schema=SCHEMA)
    dataset = ds.dataset(tmp_path)
    for table in (lazy, dataset, dataset.scanner(), COLUMNS, TABLE.to_pylist(), tuple(TABLE.to_pylist())):
        assert batches(table) == batches(TABLE)
    without_work = [{key: value for key, value in row.items() if value is not None} for row in TABLE.to_pylist()[::-1]]
    assert len(batches(without_work)) == 1


def test_rows_that_make_no_table_are_refused() -> None:
    rows = TABLE.to_pylist()
    for wrong, told in (
        ([*rows, rows[0] | {"units": "many"}], r"^events\[3\]\.units: cannot be made a column: .*'many'"),
        ([*rows, rows[0] | {"units": 2**70}], r"^events\[3\]\.units: cannot be made a column"),
        ([*rows, rows[0] | {"work_id": "\ud800"}], r"^events\[3\]\.work_id: cannot be made a column: .*surrogates"),
        ([rows[0] | {7: 1}], "^table: has a column whose name is not text: 7"),
        (COLUMNS | {"units": [1]}, "^table: has columns of several lengths"),
        (COLUMNS | {"units": 1}, "^units: cannot be made a column"),
        (pl.DataFrame(COLUMNS, schema=SCHEMA)["units"], "^table: cannot be read by Arrow"),
        (pa.array([1, 2]), "^table: cannot be read by Arrow"),
        (pd.DataFrame({"units": pd.Series([1, "x"], dtype=object)}), "^table: cannot be read by Arrow: .*units"),
        ([*rows, rows[0] | {"unit": 1}], "unit: is not a column"),
        ([rows[0] | {"shares": [0.4, 0.6]}], "billionths"),
    ):
        with pytest.raises(InvalidUsageError, match=told):
            batches(wrong)


@pytest.mark.parametrize(("names", "amounts"), [("collectives", "shares"), ("sources", "scores")])
def test_a_batch_ends_before_it_has_more_ids_amounts_or_bytes_than_the_service_takes(
    names: str, amounts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 64
    table = pa.table(
        {
            "event_id": [bytes([number]) * 16 for number in range(count)],
            "occurred_at": [NOON] * count,
            "units": [1] * count,
            "mode": [1] * count,
            names: [[f"{number}-a", f"{number}-b"] for number in range(count)],
            amounts: [[1, 2]] * count,
        }
    )
    whole = [row for data in batches(table) for row in decode(data).to_pylist()]

    def cut_by(name: str, value: Any) -> list[int]:
        with monkeypatch.context() as smaller:
            smaller.setattr(module, name, value)
            parts = [decode(data) for data in batches(table)]
        assert [row for part in parts for row in part.to_pylist()] == whole
        return [part.num_rows for part in parts]

    assert max(cut_by("IDS_PER_BATCH", {names: 16})) == 8
    assert max(cut_by("SHARES_PER_BATCH" if names == "collectives" else "SCORES_PER_BATCH", 20)) == 10
    assert len(cut_by("BYTES_PER_BATCH", 3_000)) > 1
    monkeypatch.setattr(module, "IDS_PER_BATCH", {names: 1})
    with pytest.raises(InvalidUsageError, match=rf"events\[0\]\.{names}: are 2 ids"):
        batches(table)


def test_a_hostile_batch_is_refused_before_it_is_used() -> None:
    (data,) = batches(TABLE)
    batch = decode(data)
    named = batch.column("collectives")
    ends = pa.array([0, 2, 10**6, 3], pa.int32())
    hostile = pa.ListArray.from_buffers(named.type, 3, [None, ends.buffers()[1]], children=[named.values])
    wrong = pa.RecordBatch.from_arrays([*batch.columns[:5], hostile, batch.column(6)], schema=batch.schema)
    with pytest.raises(InvalidUsageError, match="collectives: is damaged"):
        batches(wrong)
    with pytest.raises(ValueError, match="out of bounds"):
        decode(encode_unchecked(wrong))


def encode_unchecked(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_a_time_that_nothing_can_show_is_refused_by_its_position(unit: str) -> None:
    """Microseconds that are labelled as another unit."""
    times = pa.array([1, 1_767_607_200_000_000 * 1_000], pa.timestamp(unit, "UTC"))
    table = pa.table(
        {"id": ["a", "b"], "occurred_at": times, "units": [1, 1], "mode": [1, 1], "collectives": [["irish"]] * 2,
         "shares": [[1]] * 2}
    )  # fmt: skip
    with pytest.raises(InvalidUsageError) as caught:
        list(usage_batches(table))
    assert (caught.value.field, caught.value.position) == ("occurred_at", 1)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100])
def test_tables_end_at_the_same_rows_however_many_come_at_a_time(chunk: int) -> None:
    counts = [number * 7 % 11 + (30 if number == 50 else 0) for number in range(100)]
    table = pa.table({"shares": [[0] * count for count in counts], "row": range(100)})
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=chunk))
    found = [piece.column("row").to_pylist() for piece in slices(reader, 40, "shares", 20)]
    windows = [(first, counts[first : first + 40]) for first in range(0, 100, 40)]
    assert found == [
        list(range(first + start, first + end)) for first, window in windows for start, end in cuts(window, 40, 20)
    ]
