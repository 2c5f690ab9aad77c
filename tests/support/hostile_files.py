"""Usage files that are small, and large for whoever reads them as they are."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import struct
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NDJSON, CSV, JSON = "application/x-ndjson", "text/csv", "application/json"
ARROW_STREAM, ARROW_FILE = "application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.file"
PARQUET: Final = "application/vnd.apache.parquet"
MIB: Final = b"a" * 2**20
ROW: Final = {
    "id": "play", "occurred_at": "2026-01-01T12:00:00Z", "units": 1, "mode": 1, "collectives": ["irish"], "shares": [6],
}  # fmt: skip
LINE: Final = json.dumps(ROW).encode() + b"\n"
HEADER: Final = b"id,occurred_at,units,mode,collectives,shares\n"


def table(**columns: pa.Array) -> pa.Table:
    """Rows as in `ROW`, as many as the columns have that are given."""
    count = len(next(iter(columns.values())))
    return pa.table({name: columns.get(name, pa.array([value] * count)) for name, value in ROW.items()})


def parquet(usage: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(usage, sink, compression="zstd", dictionary_pagesize_limit=2**31 - 1)
    return sink.getvalue()


def arrow(usage: pa.Table, new: Callable[..., Any] = pa.ipc.new_stream) -> bytes:
    sink = io.BytesIO()
    with new(sink, usage.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(usage)
    return sink.getvalue()


def zstd(*pieces: bytes) -> bytes:
    return bytes(pa.compress(b"".join(pieces), codec="zstd", asbytes=True))


def a_text_of_100_mib_in_every_row() -> bytes:
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["a" * (100 << 20)]))
    return parquet(table(id=one))


def a_list_of_40_million() -> bytes:
    many = pa.array(np.zeros(40_000_000, "int32"))
    return parquet(table(shares=pa.ListArray.from_arrays(pa.array([0, len(many)], pa.int32()), many)))


def a_text_of_400_mib(new: Callable[..., Any]) -> bytes:
    return arrow(table(id=pa.array(["a" * (400 << 20)])), new)


def a_buffer_that_claims_40_gib(new: Callable[..., Any]) -> bytes:
    usage = table(id=pa.array([f"play-{number}" for number in range(2000)]))
    honest = struct.pack("<q", 4 * 2001)  # how large the offsets of a column of text are
    return arrow(usage, new).replace(honest, struct.pack("<q", 40 << 30), 1)


def twice_after_a_million_keys() -> bytes:
    return LINE + b"{" + b",".join(b'"%d":1' % number for number in range(500_000)) + b',"499999":1}\n'


TOO_LONG: Final = "contains a row of more than 8,388,608 bytes"
TOO_LARGE: Final = "memory"
HOSTILE: Final[dict[str, tuple[str, Callable[[], bytes], str]]] = {
    "gzip of a line without an end": (NDJSON, lambda: gzip.compress(MIB * 200), TOO_LONG),
    "bzip2 of a line without an end": (NDJSON, lambda: bz2.compress(b'{"id":"' + MIB * 50), TOO_LONG),
    "zstd of a line without an end": (NDJSON, lambda: zstd(b'{"id":"', MIB * 400), TOO_LONG),
    "zstd of blank lines": (NDJSON, lambda: zstd(LINE, b"\n" * (400 << 20), b"{"), "is not JSON"),
    "zstd of blanks before the end": (JSON, lambda: zstd(b"[", b" " * (400 << 20)), "is not JSON"),
    "zstd of blank lines in CSV": (CSV, lambda: zstd(HEADER, b"\n" * (400 << 20)), TOO_LONG),
    "gzip in gzip": (NDJSON, lambda: gzip.compress(gzip.compress(LINE)), "unknown format"),
    "a cell of many lines": (CSV, lambda: HEADER + b'"' + (b"a" * 1000 + b"\n") * 20_000, TOO_LONG),
    "a million columns": (CSV, lambda: b"id" + b",id" * 10**6 + b"\n", "has 1,000,001 columns"),
    "lists of nine million": (CSV, lambda: HEADER + b"p,2026-01-01T12:00:00Z,1,1," + b";" * (9 << 20), TOO_LONG),
    "an array without an end": (JSON, lambda: b"[" + b'{"id":["a' + b'","a' * 10**7, "row 1 is longer than 8388608"),
    "an array of ever deeper arrays": (JSON, lambda: b"[" * 10**7, "nested too deeply"),
    "a row of empty lists": (JSON, lambda: b'[{"id":[' + b"[]," * 2**22, "row 1"),
    "a million scores": (NDJSON, lambda: b'{"scores":[' + b"1e5," * (4 << 20) + b"1]}\n", TOO_LONG),
    "a number of nine million digits": (JSON, lambda: b'[{"units":' + b"1" * (5 << 20) + b"}]", "too many digits"),
    "half a million unknown keys": (NDJSON, twice_after_a_million_keys, "row 2 (line 2) names '499999' twice"),
    "a long text in every row, Parquet": (PARQUET, a_text_of_100_mib_in_every_row, TOO_LARGE),
    "a long list, Parquet": (PARQUET, a_list_of_40_million, TOO_LARGE),
    "a text of 400 MiB, Arrow stream": (ARROW_STREAM, lambda: a_text_of_400_mib(pa.ipc.new_stream), TOO_LARGE),
    "a text of 400 MiB, Arrow file": (ARROW_FILE, lambda: a_text_of_400_mib(pa.ipc.new_file), TOO_LARGE),
    "a buffer that lies, Arrow": (ARROW_STREAM, lambda: a_buffer_that_claims_40_gib(pa.ipc.new_stream), "body"),
    "a buffer that lies, Arrow file": (ARROW_FILE, lambda: a_buffer_that_claims_40_gib(pa.ipc.new_file), "body"),
    "metadata of 2 GiB, Arrow": (ARROW_STREAM, lambda: b"\xff\xff\xff\xff" + struct.pack("<i", 2**31 - 8), "body"),
    "JSON that says it is Parquet": (PARQUET, lambda: LINE, "is not the parquet file"),
    "gzip that says it is Arrow": (ARROW_FILE, lambda: gzip.compress(LINE), "is not the arrow file"),
    "Parquet that says it is JSON": (JSON, lambda: parquet(table(id=pa.array(["a"]))), "is a Parquet file"),
}
"""By what is hostile: the content type, the file, and what its refusal says."""
