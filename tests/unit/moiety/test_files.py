import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moiety import InvalidUsageError, MoietyError, UsageFileError, count_events, read_usage, usage_batches

IDS = [UUID(int=number) for number in range(5)]
TABLE = pa.table(
    {
        "event_id": [value.bytes for value in IDS],
        "work_id": ["a", None, "b", "ü", None],
        "occurred_at": [datetime(2026, 3, 1, tzinfo=UTC)] * 5,
        "units": [1, 2, 3, 4, 5],
        "mode": [1, 2, 1, 2, 1],
        "collectives": [["scottish", "irish"], [], ["irish"], ["irish"], ["scottish"]],
        "shares": [[1, 2], [], [3], [4], [5]],
    }
)
ROWS = TABLE.to_pylist()


def csv_text(mode: Callable[[int], object] = int) -> str:
    lines = [
        f"{UUID(bytes=row['event_id'])},{row['work_id'] or ''},2026-03-01T00:00:00Z,{row['units']},{mode(row['mode'])},"
        f"{';'.join(row['collectives'])},{';'.join(map(str, row['shares']))}"
        for row in ROWS
    ]
    return "\n".join([",".join(TABLE.column_names), *lines]) + "\n"


def json_text(mode: Callable[[int], object] = int) -> str:
    return "".join(
        json.dumps(
            row
            | {
                "event_id": str(UUID(bytes=row["event_id"])),
                "occurred_at": "2026-03-01T01:00:00+01:00",
                "mode": mode(row["mode"]),
            }
        )
        + "\n"
        for row in ROWS
    )


def word(mode: int) -> str:
    return ["AI_ONLY", "HUMAN_AI"][mode - 1]


def write_arrow_file(path: Path) -> None:
    with pa.ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)


def write_arrow_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)


FILES: dict[str, tuple[Callable[[Path], Any], int | None]] = {
    "usage.arrow": (write_arrow_file, 5),
    "usage.feather": (write_arrow_file, 5),
    "stream.arrow": (write_arrow_stream, None),
    "usage.arrows": (write_arrow_stream, None),
    "usage.PARQUET": (lambda path: pq.write_table(TABLE, path, row_group_size=2), 5),
    "usage.csv": (lambda path: path.write_text(csv_text(), "utf-8"), None),
    "words.csv": (lambda path: path.write_text(csv_text(word), "utf-8"), None),
    "usage.csv.gz": (lambda path: path.write_bytes(gzip.compress(csv_text().encode())), None),
    "usage.ndjson": (lambda path: path.write_text(json_text(), "utf-8"), None),
    "words.jsonl": (lambda path: path.write_text(json_text(word), "utf-8"), None),
    "2026.03.jsonl.gz": (lambda path: path.write_bytes(gzip.compress(json_text().encode())), None),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_batches(name: str, tmp_path: Path) -> None:
    write, count = FILES[name]
    write(tmp_path / name)
    expected = list(usage_batches(TABLE, events_per_batch=2))
    assert list(usage_batches(read_usage(tmp_path / name), events_per_batch=2)) == expected
    assert count_events(tmp_path / name) == count


def refusal(path: Path) -> MoietyError:
    with pytest.raises(MoietyError) as caught:
        list(usage_batches(read_usage(path)))
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("usage.xlsx", b"", "is of no known format"),
        ("usage", b"", "is of no known format"),
        ("usage.parquet.gz", b"", "is of no known format"),
        ("usage.parquet", b"no", "cannot be read"),
        ("usage.arrow", b"no arrow at all", "cannot be read"),
        ("usage.arrow", b"ARROW1\0\0", "cannot be read"),
        ("usage.csv", b"", "cannot be read"),
        ("usage.csv.gz", b"no", "inflate"),
        ("usage.csv", csv_text().encode("latin-1"), "invalid UTF8"),
        ("usage.csv", (csv_text() + "1,2\n").encode(), "Expected 7 columns, got 2"),
        ("usage.ndjson", b" \n", "holds no events"),
        ("usage.ndjson", b"{\n", "its first line is not JSON"),
        ("usage.ndjson", b"[]\n", "its first line is not a JSON object"),
        ("usage.ndjson", (json_text() + "{").encode(), "JSON parse error"),
        ("usage.ndjson", json_text().replace('"units": 3', '"units": 0.5').encode(), "cannot be read"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert isinstance(error, UsageFileError)
    assert error.path == tmp_path / name
    assert reason in error.reason


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in str(refusal(tmp_path / "usage.csv"))
    assert "is not a file" in str(refusal(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("usage.csv", csv_text().replace(",3,1,", ",many,1,"), "events[2].units: must be an integer, is 'many'"),
        ("usage.csv", csv_text().replace(",3,1,", ",,1,"), "events[2].units: is missing"),
        ("usage.csv", csv_text().replace("1;2\n", "0.5;0.5\n"), "events[0].shares: must be integers separated by ;"),
        ("usage.csv", csv_text().replace(",3,1,", ",3,3,"), "events[2].mode: is not one of AI_ONLY, HUMAN_AI"),
        ("usage.csv", csv_text().replace("work_id", "workid"), "workid: is not a column of usage"),
        ("usage.ndjson", json_text().replace('"units": 3, ', ""), "events[2].units: is missing"),
        ("usage.ndjson", json_text().replace('"units": 3', '"units": 3, "unit": 3'), "unit: is not a column of usage"),
    ],
)
def test_a_wrong_cell_is_named_by_column_and_position(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    error = refusal(tmp_path / name)
    assert isinstance(error, InvalidUsageError)
    assert str(error).startswith(message)


def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    header, *lines = csv_text().splitlines(keepends=True)
    path.write_text(header + "".join(lines) * 40_000, "utf-8")
    assert path.stat().st_size > 10 << 20
    sizes = [batch.num_rows for batch in read_usage(path)]
    assert sum(sizes) == 200_000
    assert max(sizes) < 100_000
