"""Writes the body of a batch of shares from its columns, as `ledger.usage.format` reads it.

It is for events that arrive as messages: platforms that send Arrow write their bodies themselves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import pyarrow as pa

from ledger.usage.arrow_template import StreamTemplate, built, fixed, lists, texts
from ledger.usage.batch import Batch
from ledger.usage.format import NAMES_TYPE
from ledger.usage.shares import USAGE_TYPES

_SCHEMA: Final = pa.schema(list(USAGE_TYPES.items()))


def body_of(columns: Batch) -> bytes:
    """Returns the columns as the Arrow stream that AppendUsage takes: the same columns always make the same bytes."""
    bounds = columns.offsets.astype(np.int32)
    template = _SHARED if columns.names else _UNSHARED
    head = _remembered_head if len(columns.names) <= _REMEMBERED_NAMES else _head
    return template.stream(
        head(template, columns.names),
        [
            fixed(columns.event_ids),
            built(columns.work_ids),
            fixed(columns.occurred_at),
            fixed(columns.units),
            fixed(columns.modes),
            lists(bounds, fixed(columns.name_index)),
            lists(bounds, fixed(columns.amounts)),
        ],
    )


def _head(template: StreamTemplate, names: tuple[str, ...]) -> bytes:
    """Returns what a stream with these ids for its dictionary begins with."""
    return template.head(texts(names))


_REMEMBERED_NAMES: Final = 4_096


@lru_cache(maxsize=8)
def _remembered_head(template: StreamTemplate, names: tuple[str, ...]) -> bytes:
    """Returns the same. The batches of a platform mostly have the same ids."""
    return _head(template, names)


def _template(names: int) -> StreamTemplate:
    """Returns the template for a batch with a dictionary of so many names."""
    # Without a Python list: if pandas is installed, Arrow imports it to look at one.
    dictionary = pa.StringArray.from_buffers(names, pa.py_buffer(bytes(4 * (names + 1))), pa.py_buffer(b""))
    named = pa.DictionaryArray.from_arrays(pa.nulls(0, pa.int32()), dictionary)
    columns = {name: pa.nulls(1, kind) for name, kind in USAGE_TYPES.items()}
    columns["collectives"] = pa.Array.from_buffers(NAMES_TYPE, 1, [None, pa.py_buffer(bytes(8))], children=[named])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA) as writer:
        writer.write_batch(pa.record_batch(list(columns.values()), schema=_SCHEMA))
    return StreamTemplate(sink.getvalue().to_pybytes())


_SHARED: Final = _template(1)
_UNSHARED: Final = _template(0)
