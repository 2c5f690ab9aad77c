"""A usage file goes in by as much memory as its first half takes, however long it is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.far_end import FarEnd, listening

ROWS: Final = 5_000
COPIES: Final = 40
TEXT: Final = "w" * 240
"""Makes rows long, so that many bytes are read in little time."""

GROWTH_BYTES_MAX: Final = 18_000_000
"""About half of the bytes that come in the second half."""

SUBMITTING: Final = """
import ctypes
import sys
import moiety
import pyarrow
from moiety.files import reading

reading._ROWS_PER_PIECE = 5_000  # many pieces of a short file

def own_bytes():
    pyarrow.default_memory_pool().release_unused()  # allocators keep more the more threads wait for the processor
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    for line in open("/proc/self/status"):  # not what is mapped of a file
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024

taken = []
usage = moiety.read_usage(sys.argv[2] if len(sys.argv) > 2 else sys.stdin.buffer)
with moiety.Client(sys.argv[1], "key") as client:
    client.submit_usage("folk", usage, "ngram", events_per_batch=2_500, progress=lambda _: taken.append(own_bytes()))
half = len(taken) // 2
print(len(taken), max(taken[:half]), max(taken[half:]))
"""


def ndjson() -> Iterator[bytes]:
    row = '{"id": "play-%d", "work_id": "%s", "occurred_at": "2026-01-05T10:00:00Z", "units": 1, "mode": "AI_ONLY", '
    row += '"collectives": ["irish"], "shares": [600000000]}\n'
    return repeat("".join(row % (number, TEXT) for number in range(ROWS)).encode(), COPIES)


def json_array() -> Iterator[bytes]:
    (piece, *_) = ndjson()
    rows = piece.rstrip().replace(b"\n", b",\n")
    yield b"["
    yield from repeat(rows + b",\n", COPIES - 1)
    yield rows + b"]"


def csv() -> Iterator[bytes]:
    yield b"id,work_id,occurred_at,units,mode,collectives,shares\n"
    row = "play-%d,%s,2026-01-05T10:00:00Z,1,AI_ONLY,irish,600000000\n"
    yield from repeat("".join(row % (number, TEXT) for number in range(ROWS)).encode(), COPIES)


def table() -> pa.Table:
    return pa.table(
        {
            "id": [f"play-{number}" for number in range(ROWS)],
            "work_id": [TEXT + str(number) for number in range(ROWS)],
            "occurred_at": [datetime(2026, 1, 5, 10, tzinfo=UTC)] * ROWS,
            "units": [1] * ROWS,
            "mode": ["AI_ONLY"] * ROWS,
            "collectives": [["irish"]] * ROWS,
            "shares": [[600_000_000]] * ROWS,
        }
    )


def parquet(path: Path) -> None:
    """One row group, which holds nearly all of the file's bytes."""
    pq.write_table(pa.concat_tables([table()] * COPIES), path, compression="none", use_dictionary=False,
                   row_group_size=ROWS * COPIES)  # fmt: skip


def arrow_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, table().schema) as writer:
        for _ in range(COPIES):
            writer.write_table(table())


def arrow_file(path: Path) -> None:
    with pa.ipc.new_file(path, table().schema) as writer:
        for _ in range(COPIES):
            writer.write_table(table())


PIPED: Final = {"NDJSON": ndjson, "JSON": json_array, "CSV": csv}
FILES: Final = {"Parquet": parquet, "Arrow stream": arrow_stream, "Arrow file": arrow_file}


@pytest.mark.parametrize("kind", [*PIPED, *FILES])
def test_memory_does_not_grow_with_the_file(kind: str, far_end: FarEnd, tmp_path: Path) -> None:
    pieces: Iterator[bytes] = iter(())
    arguments: list[str] = []
    if kind in PIPED:
        pieces = PIPED[kind]()
    else:
        FILES[kind](tmp_path / "usage")
        arguments.append(str(tmp_path / "usage"))
    with listening(far_end) as address:
        command = [sys.executable, "-c", SUBMITTING, address, *arguments]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            for piece in pieces:
                process.stdin.write(piece)
            printed, _ = process.communicate(timeout=300)
    batches, first, second = map(int, printed.split())
    assert batches == ROWS * COPIES / 2_500
    assert second - first < GROWTH_BYTES_MAX
