from __future__ import annotations

import gzip
import io
import json
import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moiety import InvalidUsageError, MoietyError, UsageFileError, count_events, read_usage, usage_batches
from moiety.batches import record_batches
from moiety.files.cells import ROW_BYTES_MAX

IDS: Final = [UUID(int=number) for number in range(5)]
TABLE: Final = pa.table(
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
ROWS: Final = TABLE.to_pylist()


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


def array_text() -> str:
    return json.dumps([json.loads(line) for line in json_text().splitlines()])


def word(mode: int) -> str:
    return ["AI_ONLY", "HUMAN_AI"][mode - 1]


def write_arrow_file(path: Path) -> None:
    with pa.ipc.new_file(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)


def write_arrow_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)


FILES: Final[dict[str, tuple[Callable[[Path], Any], int | None]]] = {
    "usage.arrow": (write_arrow_file, 5),
    "usage.feather": (write_arrow_file, 5),
    "stream.arrow": (write_arrow_stream, None),
    "usage.arrows": (write_arrow_stream, None),
    "usage.PARQUET": (lambda path: pq.write_table(TABLE, path, row_group_size=2), 5),
    "usage.csv": (lambda path: path.write_text(csv_text(), "utf-8"), None),
    "words.csv": (lambda path: path.write_text(csv_text(word), "utf-8"), None),
    "usage.csv.gz": (lambda path: path.write_bytes(gzip.compress(csv_text().encode())), None),
    "usage.ndjson": (lambda path: path.write_text(json_text(), "utf-8"), None),
    "usage.json": (lambda path: path.write_text(array_text(), "utf-8"), None),
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


def refusal(path: Path, row_bytes_max: int = ROW_BYTES_MAX) -> MoietyError:
    with pytest.raises(MoietyError) as caught:
        list(usage_batches(read_usage(path, row_bytes_max=row_bytes_max)))
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("usage.xlsx", b"PK\3\4" + bytes(20), "is of an unknown format"),
        ("usage", b"\xff\xfeu\0n\0", "is of an unknown format"),
        ("usage.parquet.gz", gzip.compress(b"PAR1", mtime=0), "is a Parquet file, which is read from its end"),
        ("usage.parquet", b"no", "cannot be read"),
        ("usage.arrow", b"no arrow at all", "cannot be read"),
        ("usage.arrow", b"ARROW1\0\0", "cannot be read"),
        ("usage.csv", b"", "is empty"),
        ("usage.csv.gz", gzip.compress(csv_text().encode(), mtime=0)[:-9], "cannot be read"),
        ("usage.csv", "\xfcnits,mode\n".encode("latin-1"), "its header is not UTF-8"),
        ("usage.csv", (csv_text() + "\n1,2\n").encode(), "row 6 has 2 cells, not 7"),
        ("usage.csv", (csv_text() + '"a"b,2\n').encode(), "line 7 is not CSV"),
        ("usage.ndjson", b"\n{\n", "row 1 (line 2) is not JSON"),
        ("usage.ndjson", b"null\n", "row 1 must be a JSON object, got None"),
        ("usage.ndjson", (json_text() + "null\n").encode(), "row 6 must be a JSON object, got None"),
        ("usage.ndjson", ("\n" + json_text() + "{").encode(), "row 6 (line 7) is not JSON"),
        ("usage.ndjson", (json_text() + '{"units":1} null {"units":1}').encode(), "row 6 (line 6) is not JSON"),
        ("usage.ndjson", (json_text() + '{"units":1,"units":2}').encode(), "row 6 (line 6) names 'units' twice"),
        ("usage.ndjson", json_text().replace("\u00fc", "u").encode() + b'{"id":"\xfc"}', "row 6 (line 6) is not UTF-8"),
        ("usage.ndjson", (json_text() + '{"id":' + "[" * 100_000).encode(), "row 6 (line 6) is nested too deeply"),
        ("usage.json", array_text()[:-3].encode(), "row 5 is not JSON"),
        ("usage.json", (array_text() + "[]").encode(), "row 6 follows the end of the array"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert isinstance(error, UsageFileError)
    assert error.path == tmp_path / name
    assert reason in error.reason


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("usage.csv", csv_text().partition("\n")[0]),
        ("usage.ndjson", ""),
        ("usage.ndjson", "\ufeff \n\r\n"),
        ("usage.json", "[ ]\n"),
    ],
    ids=repr,
)
def test_a_file_of_no_events_is_no_batch(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    assert list(usage_batches(read_usage(tmp_path / name))) == []


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in str(refusal(tmp_path / "usage.csv"))
    assert "is not a file" in str(refusal(tmp_path))


NOT_WHOLE: Final = ["many", "0x10", "050", "-050", "1e2", "1,000", "1_000", " 3", "+3", "3.5", "\uff13", "3."]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        *(
            ("usage.csv", csv_text().replace(",3,1,", f',"{text}",1,'), f"units: must be a whole number, got '{text}'")
            for text in NOT_WHOLE
        ),
        *(
            (
                "usage.ndjson",
                json_text().replace('"units": 3', f'"units": "{text}"'),
                f"units: must be a whole number, got '{text}'",
            )
            for text in NOT_WHOLE
        ),
        ("usage.csv", csv_text().replace(",3,1,", ",,1,"), "units: is missing"),
        ("usage.csv", csv_text().replace(",3,1,", f",{2**63},1,"), f"units: '{2**63}' is too large"),
        (
            "usage.csv",
            csv_text().replace(";3\n", ";0.5\n").replace("irish,3\n", "irish,0.5\n"),
            "shares: must be whole numbers; shares are billionths, so that 0.9 is 900000000, got '0.5'",
        ),
        ("usage.csv", csv_text().replace("irish,3\n", "irish,3;\n"), "shares: must be whole numbers"),
        *(
            (
                "usage.csv",
                csv_text().replace("irish,3\n", f"irish,{text}\n"),
                "shares: must be whole numbers; shares are",
            )
            for text in ("1.0", "1.00", "-1.0")
        ),
        ("usage.ndjson", json_text().replace("[3]", "[1.0]"), "shares: must be whole numbers; shares are billionths"),
        ("usage.ndjson", json_text().replace("[3]", '["1.0"]'), "shares: must be whole numbers; shares are billionths"),
        ("usage.csv", csv_text().replace(",3,1,", ",3,3,"), "mode: must be one of AI_ONLY, HUMAN_AI, 1, 2, got '3'"),
        ("usage.ndjson", json_text().replace('"units": 3, ', ""), "units: is missing"),
        ("usage.ndjson", json_text().replace('"units": 3', '"units": null'), "units: is missing"),
        ("usage.ndjson", json_text().replace('"units": 3', '"units": 3, "unit": 3'), "unit: is not a column of usage"),
        ("usage.ndjson", json_text().replace('"units": 3', '"units": 0.5'), "units: must be a whole number, got 0.5"),
        ("usage.ndjson", json_text().replace('"units": 3', '"units": 5e0'), "units: must be a whole number, got 5e0"),
        ("usage.ndjson", json_text().replace('"units": 3', '"units": true'), "units: must be a whole number, got True"),
        ("usage.ndjson", json_text().replace('"units": 3', f'"units": {2**63}'), f"units: {2**63} is too large"),
        (
            "usage.ndjson",
            json_text().replace('"shares": [3]', '"shares": [0.9]'),
            "shares: must be whole numbers; shares are billionths, so that 0.9 is 900000000, got 0.9",
        ),
        ("usage.ndjson", json_text().replace('"shares": [3]', '"shares": 3'), "shares: must be a list, got 3"),
        (
            "usage.ndjson",
            json_text().replace('"collectives": ["irish"], "shares": [3]', '"shares": [3]'),
            "collectives: is missing; an event without collectives has an empty list",
        ),
        (
            "usage.ndjson",
            json_text().replace('"shares": [3]', '"scores": [3]'),
            "scores: is in a file whose first row has collectives and shares; use only one of them",
        ),
        ("usage.ndjson", json_text().replace('"work_id": "b"', '"work_id": 5'), "work_id: must be text, got 5"),
        ("usage.ndjson", json_text().replace('"work_id": "b"', '"work_id": 5.5'), "work_id: must be text, got 5.5"),
        ("usage.ndjson", json_text().replace('"work_id": "b"', '"work_id": "\\ud800"'), "work_id: contains half of"),
        (
            "usage.ndjson",
            json_text().replace('"mode": 1, "collectives": ["irish"]', '"mode": 3, "collectives": []'),
            "mode: must be one of AI_ONLY, HUMAN_AI, 1, 2, got 3",
        ),
    ],
)
def test_a_wrong_cell_is_named_by_column_and_position(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    error = refusal(tmp_path / name)
    assert isinstance(error, InvalidUsageError)
    assert str(error).startswith(f"events[2].{message}")


def test_a_cell_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "usage.csv").write_bytes(csv_text().replace(",b,", ",\xfc,").encode("latin-1"))
    assert str(refusal(tmp_path / "usage.csv")) == "events[2].work_id: is not UTF-8"


@pytest.mark.parametrize("units", ["3", "3.0", "3.00", '"3"', '"3.0"'])
def test_a_whole_number_is_the_same_however_it_is_written(units: str, tmp_path: Path) -> None:
    expected = list(usage_batches(TABLE))
    (tmp_path / "usage.ndjson").write_text(
        json_text().replace('"units": 3', f'"units": {units}').replace('"shares": [3]', f'"shares": [{units}]')
    )
    (tmp_path / "usage.csv").write_text(
        csv_text().replace(",3,1,", f",{units},1,").replace("irish,3\n", f"irish,{units}\n")
    )
    assert list(usage_batches(read_usage(tmp_path / "usage.ndjson"))) == expected
    assert list(usage_batches(read_usage(tmp_path / "usage.csv"))) == expected


@pytest.mark.parametrize("share", ["0", "0.0", "1", "10", "10.0", "21.0", "101.00", "1000000000.0"])
def test_only_a_share_of_1_0_is_taken_for_a_fraction(share: str, tmp_path: Path) -> None:
    (tmp_path / "usage.csv").write_text(csv_text().replace("irish,3\n", f"irish,{share}\n"))
    (tmp_path / "usage.ndjson").write_text(json_text().replace('"shares": [3]', f'"shares": [{share}]'))
    for name in ("usage.csv", "usage.ndjson"):
        assert read_usage(tmp_path / name).read_all()["shares"].to_pylist()[2] == [int(float(share))]


def with_work_id(work_id: str | None) -> str:
    fields = {"id": f"play-{work_id}", "occurred_at": "2026-01-05T10:00:00Z", "units": 1, "mode": "AI_ONLY"}
    named = {} if work_id is None else {"work_id": work_id}
    return json.dumps(fields | {"collectives": ["irish"], "shares": [1]} | named) + "\n"


def work_ids(path: Path) -> list[str | None]:
    return [work_id for batch in record_batches(read_usage(path)) for work_id in batch.column("work_id").to_pylist()]


def test_a_line_means_the_same_whatever_stands_before_it(tmp_path: Path) -> None:
    path = tmp_path / "usage.ndjson"
    for lines in ([None, "2026-01-01"], ["2026-01-01", None], [None, None, "5"]):
        path.write_text("".join(map(with_work_id, lines)))
        assert work_ids(path) == lines


def test_a_field_may_come_after_any_number_of_lines_without_it(tmp_path: Path) -> None:
    path = tmp_path / "usage.ndjson"
    path.write_text(with_work_id(None) * 50_000 + with_work_id("late") * 5)
    assert path.stat().st_size > 5 << 20
    assert work_ids(path) == [None] * 50_000 + ["late"] * 5


@pytest.mark.parametrize("wrong", ['"units": "many"', '"units": 1, "unit": 1'])
def test_a_row_far_down_is_named_by_its_place_in_the_file(wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "usage.ndjson"
    path.write_text(with_work_id("a") * 60_000 + with_work_id("a").replace('"units": 1', wrong))
    error = refusal(path)
    assert isinstance(error, InvalidUsageError)
    assert error.position == 60_000


@pytest.mark.parametrize("name", ["usage.csv", "usage.ndjson", "usage.json"])
def test_a_row_may_be_as_long_as_a_batch(name: str, tmp_path: Path) -> None:
    sources = [f"https://example.com/{number:080}" for number in range(110_000)]
    row = json.loads(with_work_id("long")) | {"sources": sources, "scores": [0.5] * len(sources)}
    del row["collectives"], row["shares"]
    short = row | {"id": "short", "sources": [], "scores": []}
    path = tmp_path / name
    if name == "usage.csv":
        cells = [
            [
                cell if isinstance(cell, str) else str(cell)
                for cell in (
                    r["id"],
                    r["occurred_at"],
                    r["units"],
                    r["mode"],
                    ";".join(r["sources"]),
                    ";".join(map(str, r["scores"])),
                )
            ]
            for r in (row, short)
        ]
        path.write_text("\n".join(map(",".join, [["id", "occurred_at", "units", "mode", "sources", "scores"], *cells])))
    elif name == "usage.json":
        path.write_text(json.dumps([row, short]))
    else:
        path.write_text(f"{json.dumps(row)}\n{json.dumps(short)}\n")
    assert path.stat().st_size > 10 << 20
    (batch,) = record_batches(read_usage(path))
    assert batch.column("sources").to_pylist() == [sources, []]


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path,
) -> None:
    (tmp_path / "usage.csv").write_text(csv_text() + "x" * 100_000)
    (tmp_path / "lines.csv").write_text(csv_text() + '"' + "x\n" * 50_000)
    (tmp_path / "usage.ndjson").write_text(json_text() + '{"id": "' + "x" * 100_000)
    (tmp_path / "usage.json").write_text(array_text()[:-1] + ', {"id": "' + "x" * 200_000)
    for name in ("usage.csv", "lines.csv", "usage.ndjson"):
        assert "contains a row of more than 100,000 bytes" in str(refusal(tmp_path / name, 100_000))
    assert "row 6 is longer than 100000 bytes" in str(refusal(tmp_path / "usage.json", 100_000))


@pytest.mark.parametrize("name", FILES)
def test_what_a_file_is_called_need_not_say_what_it_is(name: str, tmp_path: Path) -> None:
    FILES[name][0](tmp_path / name)
    (tmp_path / name).rename(tmp_path / "usage")
    assert list(usage_batches(read_usage(tmp_path / "usage"))) == list(usage_batches(TABLE))


@pytest.mark.parametrize("name", ["stream.arrow", "usage.csv", "usage.ndjson", "usage.json", "usage.csv.gz"])
def test_a_pipe_is_read_by_what_it_holds(name: str, tmp_path: Path) -> None:
    FILES[name][0](tmp_path / name)
    reading, writing = os.pipe()
    with ThreadPoolExecutor() as pool, os.fdopen(reading, "rb") as stream:
        pool.submit(write_slowly, writing, (tmp_path / name).read_bytes())
        assert list(usage_batches(read_usage(stream))) == list(usage_batches(TABLE))


def write_slowly(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb", buffering=0) as pipe:
        for start in range(0, len(data), 7):
            pipe.write(data[start : start + 7])


@pytest.mark.parametrize("name", ["usage.arrow", "usage.PARQUET"])
def test_what_is_read_from_its_end_cannot_come_through_a_pipe(name: str, tmp_path: Path) -> None:
    FILES[name][0](tmp_path / name)
    with pytest.raises(UsageFileError, match="which is read from its end"):
        read_usage(io.BytesIO((tmp_path / name).read_bytes()))


@pytest.mark.parametrize("codec", ["gzip", "bz2", "zstd"])
@pytest.mark.parametrize("name", ["usage.csv", "usage.ndjson", "usage.json", "stream.arrow"])
def test_compression_is_told_by_the_content(name: str, codec: str, tmp_path: Path) -> None:
    FILES[name][0](tmp_path / name)
    plain = (tmp_path / name).read_bytes()
    with pa.CompressedOutputStream(str(tmp_path / "usage"), codec) as file:
        file.write(plain)
    assert list(usage_batches(read_usage(tmp_path / "usage"))) == list(usage_batches(TABLE))
    data = (tmp_path / "usage").read_bytes()
    (tmp_path / "usage").write_bytes(data[: len(data) * 2 // 3])
    assert "cannot be read" in str(refusal(tmp_path / "usage"))


ALIGNED: Final = 8


def hostile() -> bytes:
    """An Arrow file whose dictionary of collectives has an offset far out of bounds."""
    encoded = pa.ListArray.from_arrays([0, 1], pa.array(["irish"]).dictionary_encode())
    table = TABLE.slice(0, 1).set_column(5, "collectives", encoded).combine_chunks()
    table = table.set_column(6, "shares", pa.array([[1]]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    at = data.index(b"irish") - ALIGNED  # before the text stand its offsets, 0 and 5
    assert struct.unpack_from("<ii", data, at) == (0, 5)
    return data[:at] + struct.pack("<ii", 0, 2**30) + data[at + 8 :]


def test_a_hostile_arrow_file_is_refused_and_ends_no_process(tmp_path: Path) -> None:
    (tmp_path / "usage.arrow").write_bytes(hostile())
    assert "cannot be read" in str(refusal(tmp_path / "usage.arrow"))
    with pytest.raises(InvalidUsageError, match="collectives: is damaged"):
        list(usage_batches(pa.ipc.open_file(hostile()).read_all()))


@pytest.mark.parametrize("name", ["usage.arrow", "stream.arrow", "usage.PARQUET"])
def test_a_damaged_file_is_refused_wherever_it_is_damaged(name: str, tmp_path: Path) -> None:
    FILES[name][0](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    for at in range(0, len(data), 5):
        (tmp_path / name).write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with suppress(MoietyError):
            read_usage(tmp_path / name).read_all()
        with suppress(MoietyError):
            count_events(tmp_path / name)
        (tmp_path / name).write_bytes(data[:at])
        with suppress(MoietyError):
            read_usage(tmp_path / name).read_all()


@pytest.mark.parametrize("name", ["usage.arrow", "stream.arrow", "usage.PARQUET"])
def test_a_column_whose_name_is_not_utf_8_is_refused(name: str, tmp_path: Path) -> None:
    FILES[name][0](tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data.replace(b"work_id", b"work\xffid"))
    assert "UTF-8" in str(refusal(tmp_path / name)) or "UTF8" in str(refusal(tmp_path / name))


def test_a_large_file_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    header, *lines = csv_text().splitlines(keepends=True)
    path.write_text(header + "".join(lines) * 40_000, "utf-8")
    assert path.stat().st_size > 10 << 20
    sizes = [batch.num_rows for batch in read_usage(path)]
    assert sum(sizes) == 200_000
    assert max(sizes) < 100_000
