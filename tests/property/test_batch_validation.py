"""What is found wrong with a record batch is what Arrow's full validation finds, in Arrow's words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ledger.usage.validation import require_valid

TEXTS: Final = [b"", b"alpha", "älv".encode(), b"\xff", b"\xed\xa0\x80"]
"""Of which the last two are no UTF-8."""

few = st.integers(-1, 4) | st.sampled_from([-(2**31), 2**31 - 1])
bitmaps = st.none() | st.none() | st.binary(min_size=1, max_size=1)
texts = st.sampled_from(TEXTS[:3])


def text_array(of: list[bytes]) -> pa.StringArray:
    ends = np.cumsum([0, *map(len, of)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(of), pa.py_buffer(ends), pa.py_buffer(b"".join(of)))


def buffers(bitmap: bytes | None, values: Any) -> list[pa.Buffer | None]:
    return [bitmap and pa.py_buffer(bitmap), pa.py_buffer(values)]


@st.composite
def record_batches(draw: st.DrawFn) -> pa.RecordBatch:
    """Names in lists whose offsets, indices, bitmaps and texts may each be wrong, between two other columns."""
    dictionary = text_array(draw(st.lists(texts, max_size=4) | st.lists(st.sampled_from(TEXTS), max_size=4)))
    names, events = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    width = draw(st.sampled_from([pa.int8(), pa.int16(), pa.int32(), pa.uint16()]))
    # What may be wrong is written once Arrow has built the batch, for it looks at some of it.
    indices = np.zeros(names, dtype=width.to_pandas_dtype())
    offsets = np.zeros(events + 1, dtype=np.int32)
    kind = pa.dictionary(width, pa.utf8())
    encoded = pa.DictionaryArray.from_buffers(kind, names, buffers(draw(bitmaps), indices), dictionary)
    lists = pa.Array.from_buffers(pa.list_(kind), events, buffers(draw(bitmaps), offsets), children=[encoded])
    work_ids = draw(st.lists(texts | st.sampled_from(TEXTS), min_size=events, max_size=events))
    columns = [text_array(work_ids), lists, pa.array(np.arange(events))]
    batch = pa.record_batch(columns, names=["work_id", "collectives", "units"])
    places = st.integers(0, max(len(dictionary) - 1, 0))
    indices[:] = np.array(draw(st.lists(places | few, min_size=names, max_size=names)), np.int64).astype(indices.dtype)
    ends = st.lists(st.integers(0, names), min_size=events + 1, max_size=events + 1).map(sorted)
    offsets[:] = draw(ends | st.lists(few, min_size=events + 1, max_size=events + 1))
    return batch


def said(check: Callable[[], None]) -> str:
    try:
        check()
    except pa.ArrowInvalid as error:
        return str(error)
    return ""


@given(record_batches())
def test_what_is_wrong_is_found_as_arrow_finds_it(batch: pa.RecordBatch) -> None:
    """Rule: every offset, index and UTF-8 sequence of a batch is checked before anything is read by it."""
    assert said(lambda: require_valid(batch, "collectives")) == said(lambda: batch.validate(full=True))
