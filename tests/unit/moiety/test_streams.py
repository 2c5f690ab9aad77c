"""A batch's stream: each buffer is compressed where that is worth it, and as it was otherwise."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest

from ledger.usage.arrow_stream import RECORD_BATCH, framed
from ledger.usage.shares import parse_batch
from moiety.batches import USAGE_SCHEMA, decode, encode, record_batches
from moiety.streams import stream_of

EVENTS: Final = 2_000
ZSTD: Final = pa.Codec("zstd", compression_level=3)


def as_arrow_writes(batch: pa.RecordBatch, codec: pa.Codec | None) -> bytes:
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=codec, emit_dictionary_deltas=False)
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue())


def buffers(stream: bytes) -> list[bytes]:
    """Those of the record batch, as they lie in its body."""
    (message,) = (each for each in framed(stream) if each.kind == RECORD_BATCH)
    batch = message.batch()
    assert batch is not None
    return [bytes(message.body[begin : begin + length]) for begin, length in batch.structs(2, "<qq")]


def usage(shares: list[int], random: np.random.Generator) -> pa.RecordBatch:
    """Events of one collective each, whose ids are random."""
    columns: dict[str, Any] = {
        "event_id": [random.bytes(16) for _ in shares],
        "occurred_at": pa.array([1_767_607_200_000_000] * len(shares), pa.timestamp("us", "UTC")),
        "units": [7] * len(shares),
        "mode": [1] * len(shares),
        "collectives": [["irish"]] * len(shares),
        "shares": [[share] for share in shares],
    }
    (batch,) = record_batches(pa.table(columns))
    return batch


def test_shares_that_hardly_shrink_are_as_they_were_and_what_shrinks_is_compressed() -> None:
    random = np.random.default_rng(1)
    batch = usage(random.integers(1, 10**9, EVENTS).tolist(), random)
    data = encode(batch)
    plain, found = buffers(as_arrow_writes(batch, None)), buffers(data)
    raw = [place for place, buffer in enumerate(found) if buffer[:8] == b"\xff" * 8]
    names = [schema_place(batch, place) for place in raw]
    assert names == ["event_id", "shares"]
    assert all(found[place][8:] == plain[place] for place in raw)
    assert len(data) < len(as_arrow_writes(batch, None)) / 1.5
    assert decode(data).equals(batch)
    assert parse_batch(data).amounts.tolist() == batch.column("shares").values.to_pylist()


def schema_place(batch: pa.RecordBatch, place: int) -> str:
    """Which column a buffer is of, by its order: two for each column, three for text, four for a list."""
    counts = [2, 3, 2, 2, 2, 4, 4]
    assert batch.schema.equals(USAGE_SCHEMA)
    owners: list[str] = [name for name, count in zip(batch.schema.names, counts, strict=True) for _ in range(count)]
    return owners[place]


def test_what_all_shrinks_is_as_arrow_writes_it() -> None:
    batch = pa.record_batch({"a": pa.array([5] * EVENTS), "b": pa.array(["x"] * EVENTS).dictionary_encode()})
    assert stream_of(batch) == as_arrow_writes(batch, ZSTD)


@pytest.mark.parametrize("rows", [0, 1, 2, 9, 1_000])
def test_any_number_of_rows_reads_as_the_same_and_no_buffer_takes_more_than_it_must(rows: int) -> None:
    random = np.random.default_rng(rows)
    batch = pa.record_batch(
        {
            "random": pa.array(random.integers(-(2**63), 2**63 - 1, rows)),
            "alike": pa.array([3] * rows, pa.int64()),
            "nulls": pa.array([None, "some"] * rows, pa.utf8())[:rows],
            "names": pa.array(["irish", "samba"] * rows, pa.utf8())[:rows].dictionary_encode(),
            "lists": pa.array([[1, 2]] * rows, pa.list_(pa.int16())),
        }
    )
    stream = stream_of(batch)
    with pa.ipc.open_stream(stream) as reader:
        (found,) = list(reader)
    found.validate(full=True)
    assert found.equals(batch)
    plain, packed = buffers(as_arrow_writes(batch, None)), buffers(as_arrow_writes(batch, ZSTD))
    for ours, whole, small in zip(buffers(stream), plain, packed, strict=True):
        assert ours == (small if len(small) <= 0.9 * len(whole) or not whole else b"\xff" * 8 + whole)
