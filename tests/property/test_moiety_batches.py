"""What goes into a batch comes out of it, however the table was made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import given
from hypothesis import strategies as st

from ledger.usage.shares import parse_batch
from moiety import IdScheme, event_id_of, ordered_event_id_of, usage_batches
from moiety.batches import decode

COLLECTIVES: Final = st.text(alphabet="abcß-ж", min_size=1, max_size=4)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
TIMES: Final = st.integers(0, 2**52).map(lambda microseconds: EPOCH + timedelta(microseconds=microseconds))


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    collectives = draw(st.lists(COLLECTIVES, max_size=4, unique=True))
    return {
        "event_id": draw(st.binary(min_size=16, max_size=16)),
        "work_id": draw(st.none() | st.text(max_size=8)),
        "occurred_at": draw(TIMES),
        "units": draw(st.integers(1, 10**9)),
        "mode": draw(st.sampled_from([1, 2])),
        "collectives": collectives,
        "shares": [draw(st.integers(1, 10**9 // 4)) for _ in collectives],
    }


def table_of(rows: list[dict[str, Any]], collectives: pa.DataType) -> pa.Table:
    schema = pa.schema(
        {
            "event_id": pa.binary(),
            "work_id": pa.large_utf8(),
            "occurred_at": pa.timestamp("us", tz="Europe/Lisbon"),
            "units": pa.uint64(),
            "mode": pa.int8(),
            "collectives": pa.list_(collectives),
            "shares": pa.large_list(pa.int64()),
        }
    )
    return pa.Table.from_pylist(rows, schema=schema)


TEXT_TYPES: Final = st.sampled_from([pa.utf8(), pa.large_utf8(), pa.dictionary(pa.int8(), pa.utf8())])


@given(st.lists(events(), max_size=20), st.integers(1, 7), TEXT_TYPES)
def test_rows_come_out_as_they_went_in(rows: list[dict[str, Any]], size: int, text: pa.DataType) -> None:
    found = [decode(data) for data in usage_batches(table_of(rows, text), events_per_batch=size)]
    assert [row for batch in found for row in batch.to_pylist()] == rows
    assert [len(batch) for batch in found[:-1]] == [size] * (len(found) - 1)
    for batch in found:
        dictionary = batch["collectives"].values.dictionary.to_pylist()
        assert dictionary == sorted(
            {name for names in batch["collectives"].to_pylist() for name in names}, key=str.encode
        )


@given(st.lists(events(), min_size=1, max_size=20), TEXT_TYPES)
def test_the_service_takes_every_batch(rows: list[dict[str, Any]], text: pa.DataType) -> None:
    for data in usage_batches(table_of(rows, text), events_per_batch=8):
        assert len(parse_batch(data)) == len(decode(data))


@given(st.data(), st.lists(events(), max_size=20), st.integers(1, 7))
def test_the_same_rows_give_the_same_bytes_however_they_are_cut_and_encoded(
    data: st.DataObject, rows: list[dict[str, Any]], size: int
) -> None:
    plain = table_of(rows, pa.utf8())
    padded = pa.concat_tables([plain.slice(0, 3), table_of(rows, data.draw(TEXT_TYPES)).cast(plain.schema), plain])
    start = min(3, len(rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    pieces = [
        padded.slice(start + begin, end - begin) for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)
    ]
    assert list(usage_batches(pa.concat_tables(pieces), events_per_batch=size)) == list(
        usage_batches(plain, events_per_batch=size)
    )


@given(st.lists(events(), min_size=1, max_size=10), st.integers(1, 7))
def test_batches_cut_again_are_as_if_cut_at_once(rows: list[dict[str, Any]], size: int) -> None:
    table = table_of(rows, pa.utf8())
    batches = pa.Table.from_batches([decode(data) for data in usage_batches(table, events_per_batch=4)])
    assert list(usage_batches(batches, events_per_batch=size)) == list(usage_batches(table, events_per_batch=size))


@given(st.lists(st.tuples(TIMES, st.text(min_size=1, max_size=5)), min_size=1, max_size=20))
def test_ordered_event_ids_are_ordered_by_time_and_say_it(pairs: list[tuple[datetime, str]]) -> None:
    ids = [(ordered_event_id_of(text, time), time) for time, text in pairs]
    ordered = [time for _, time in sorted(ids)]
    for earlier, later in pairwise(ordered):
        assert earlier - later < timedelta(milliseconds=1)
    for found, time in ids:
        assert found.version == 8
        assert found.int >> 80 == (time - EPOCH) // timedelta(milliseconds=1)


@given(st.lists(st.tuples(TIMES, st.text(min_size=1, max_size=5)), min_size=1, max_size=20))
def test_a_column_of_own_ids_gives_the_ids_one_by_one(pairs: list[tuple[datetime, str]]) -> None:
    count = len(pairs)
    table = pa.table(
        {
            "id": [text for _, text in pairs],
            "occurred_at": pc.cast([time for time, _ in pairs], pa.timestamp("us", tz="UTC")),
            "units": [1] * count,
            "mode": [1] * count,
            "collectives": [["irish"]] * count,
            "shares": [[1]] * count,
        }
    )
    (data,) = usage_batches(table)
    assert decode(data)["event_id"].to_pylist() == [event_id_of(text).bytes for _, text in pairs]
    (data,) = usage_batches(table, id_scheme=IdScheme.ORDERED)
    assert decode(data)["event_id"].to_pylist() == [ordered_event_id_of(text, time).bytes for time, text in pairs]
