"""Tables and files of raw scores made into batches, and memberships in files."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledger.usage import membership as rules
from ledger.usage.scores import parse_score_batch
from moiety import InvalidUsageError, Mode, UsageFileError, batches, read_membership, read_usage, usage_batches
from moiety.attribution import score_batches
from moiety.batches import SCORE_SCHEMA, decode, encode
from moiety.memberships import parse_membership, render_membership

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS: Final[dict[str, list[Any]]] = {
    "event_id": [bytes([number]) * 16 for number in range(3)],
    "work_id": ["urn:w:a", None, "urn:w:ü"],
    "occurred_at": [NOON] * 3,
    "units": [1, 2, 1_000_000_000],
    "mode": [1, 2, 1],
    "sources": [["reel-2", "reel-1"], [], ["reel-2"]],
    "scores": [[0.25, -1e-300], [], [5.0]],
}
TABLE: Final = pa.table(COLUMNS)


def with_column(name: str, values: Any) -> pa.Table:
    return TABLE.set_column(TABLE.schema.get_field_index(name), name, pa.array(values))


def refusal(table: Any) -> tuple[str, int | None, str]:
    with pytest.raises(InvalidUsageError) as caught:
        list(usage_batches(table))
    return caught.value.field, caught.value.position, caught.value.reason


def test_a_table_with_scores_gives_batches_of_scores_whatever_made_it() -> None:
    (data,) = usage_batches(TABLE)
    assert decode(data).schema.equals(SCORE_SCHEMA)
    assert encode(decode(data)) == data
    assert decode(data).to_pylist() == TABLE.to_pylist()
    assert decode(data).column("sources").values.dictionary.to_pylist() == ["reel-1", "reel-2"]
    batch = parse_score_batch(data)
    assert (batch.names, batch.amounts.tolist()) == (("reel-1", "reel-2"), [0.25, -1e-300, 5.0])
    relation = duckdb.from_arrow(TABLE)
    for same in (pl.DataFrame(COLUMNS), pd.DataFrame(COLUMNS), relation, TABLE.to_batches()[0]):
        assert list(usage_batches(same)) == [data]


def test_a_table_and_a_matrix_of_the_same_scores_give_the_same_bytes() -> None:
    matrix = np.array([[-1e-300, 0.0, 0.0], [0.25, 0.0, 5.0]])
    (batch,) = score_batches(
        matrix, items=["reel-1", "reel-2"], works=COLUMNS["work_id"], occurred_at=NOON, units=COLUMNS["units"],
        mode=[Mode.AI_ONLY, Mode.HUMAN_AI, Mode.AI_ONLY], event_ids=COLUMNS["event_id"],
    )  # fmt: skip
    ordered = [["reel-1", "reel-2"], [], ["reel-2"]]
    by_item = pa.table({**COLUMNS, "sources": ordered, "scores": [[-1e-300, 0.25], [], [5.0]]})
    assert list(usage_batches(by_item)) == [encode(batch)]


@pytest.mark.parametrize("numbers", [pa.int64(), pa.float32(), pa.int8(), pa.uint64()])
def test_scores_may_be_numbers_of_any_width(numbers: pa.DataType) -> None:
    (data,) = usage_batches(with_column("scores", pa.array([[3, 1], None, [2]], pa.list_(numbers))))
    assert decode(data).column("scores").to_pylist() == [[3.0, 1.0], [], [2.0]]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (TABLE.drop_columns("scores"), ("scores", None, "is missing from the table")),
        (TABLE.drop_columns("sources"), ("sources", None, "is missing from the table")),
        (with_column("scores", [[0.5, None], [], [1.0]]), ("scores", 0, "contains a null")),
        (with_column("sources", [["a", "b"], [], [None]]), ("sources", 2, "contains a null")),
        (
            with_column("scores", [["a", "b"], [], ["c"]]),
            ("scores", None, "must be lists of numbers, got list<string>"),
        ),
        (with_column("sources", [[1, 2], [], [3]]), ("sources", None, "must be lists of text, got list<int64>")),
    ],
)  # fmt: skip
def test_what_is_no_table_of_scores_is_refused_by_name(table: pa.Table, expected: tuple[str, int | None, str]) -> None:
    field, position, reason = refusal(table)
    assert (field, position, reason.replace("item: ", "")) == expected


def test_scores_and_shares_do_not_stand_in_one_table() -> None:
    field, position, reason = refusal(TABLE.append_column("shares", pa.array([[1], [], [2]])))
    assert (field, position) == ("shares", None)
    assert reason.startswith("is not a column of usage")


def test_a_batch_ends_before_it_has_more_scores_than_the_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SCORES_PER_BATCH", 2)
    found = [decode(data) for data in usage_batches(TABLE)]
    assert [batch.num_rows for batch in found] == [2, 1]
    assert [row for batch in found for row in batch.to_pylist()] == TABLE.to_pylist()
    monkeypatch.setattr(batches, "SCORES_PER_BATCH", 1)
    assert refusal(TABLE) == ("scores", 0, "are 2, more than 1 for a batch")


def as_json(path: Path) -> None:
    rows = [
        row | {"event_id": str(UUID(bytes=row["event_id"])), "occurred_at": "2026-03-01T12:00:00Z"}
        for row in TABLE.to_pylist()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_csv(path: Path) -> None:
    lines = [
        f"{UUID(bytes=row['event_id'])},{row['work_id'] or ''},2026-03-01T12:00:00Z,{row['units']},{row['mode']},"
        f"{';'.join(row['sources'])},{';'.join(map(repr, row['scores']))}"
        for row in TABLE.to_pylist()
    ]
    path.write_text("\n".join([",".join(TABLE.column_names), *lines]) + "\n")


def as_arrow(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("scores.ndjson", as_json),
        ("scores.csv", as_csv),
        ("scores.arrow", as_arrow),
        ("scores.parquet", lambda path: pq.write_table(TABLE, path)),
    ],
)
def test_a_file_of_scores_gives_the_same_bytes_as_the_table(
    tmp_path: Path, name: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / name)
    assert list(usage_batches(read_usage(tmp_path / name))) == list(usage_batches(TABLE))


def test_a_cell_of_a_csv_file_that_is_no_list_of_numbers_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    as_csv(path)
    path.write_text(path.read_text().replace("0.25", "a quarter"))
    with pytest.raises(InvalidUsageError) as caught:
        list(usage_batches(read_usage(path)))
    assert str(caught.value).startswith("events[0].scores: must be numbers, got 'a quarter")


# Memberships.


def test_a_membership_has_the_bytes_that_the_ledger_gives_it() -> None:
    whose = {"z": "irish", "ü": "scottish", "a b": "irish", "\U0001f3bb": "irish", "\uff41": "irish"}
    assert render_membership(whose) == rules.render_membership(whose)
    assert parse_membership(render_membership(whose)) == whose
    assert parse_membership(render_membership({})) == {}


@pytest.mark.parametrize("text", ["a,b", 'a"b', "a\nb", "a\rb", "\ud800"])
def test_what_cannot_stand_in_a_membership_is_refused_before_it_is_sent(text: str) -> None:
    for whose in ({text: "irish"}, {"a": text}):
        with pytest.raises(InvalidUsageError):
            render_membership(whose)


def test_a_membership_file_may_be_in_any_order_and_quoted(tmp_path: Path) -> None:
    path = tmp_path / "items.csv"
    path.write_text('\ufeffsource,collective\r\n"b",irish\r\na,"scottish"\r\n', encoding="utf-8", newline="")
    assert read_membership(path) == {"a": "scottish", "b": "irish"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its first line is not source,collective"),
        ("collective,source\n", "its first line is not source,collective"),
        ("source,collective\na\n", "line 2 has 1 fields, not 2"),
        ("source,collective\na,b,c\n", "line 2 has 3 fields, not 2"),
        ("source,collective\na,irish\nb,irish\na,scottish\n", "line 4 names 'a' again"),
        ('source,collective\n"a', "is not CSV in UTF-8"),
    ],
)
def test_a_file_that_is_no_membership_is_refused_with_its_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "items.csv"
    path.write_text(text)
    with pytest.raises(UsageFileError) as caught:
        read_membership(path)
    assert caught.value.reason.startswith(reason)


def test_a_membership_file_without_end_is_refused() -> None:
    with pytest.raises(UsageFileError, match="more than 67,108,864 bytes"):
        read_membership(Path("/dev/zero"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_membership_file_may_end_its_lines_in_any_way(tmp_path: Path, end: str) -> None:
    path = tmp_path / "m.csv"
    path.write_bytes("".join(line + end for line in ("source,collective", "a,irish")).encode())
    assert read_membership(path) == {"a": "irish"}


def test_a_membership_file_that_is_not_there_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageFileError, match="No such file"):
        read_membership(tmp_path / "absent.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageFileError, match="is not CSV in UTF-8"):
        read_membership(tmp_path / "bytes.csv")
