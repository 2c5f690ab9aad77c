"""Arrow's full validation of a record batch, of which the larger part is left to numpy where that finds nothing wrong.

Arrow takes ten times as long to look at each index into a dictionary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.usage.format import NAMES_TYPE


def require_valid(record_batch: pa.RecordBatch, names: str) -> None:
    """Check every offset, index and UTF-8 sequence; `names` is the column that has a dictionary, if one has.

    Raises:
        pa.ArrowInvalid: one is wrong.
    """
    try:
        record_batch.validate()
        for name in record_batch.schema.names:
            if name != names:
                record_batch.column(name).validate(full=True)
        if _are_valid(record_batch.column(names)):
            return
    except pa.ArrowInvalid:
        pass  # said again below, in the order in which Arrow looks
    record_batch.validate(full=True)


def _are_valid(lists: pa.Array) -> bool:
    """Whether lists of text over a dictionary, without nulls, are valid; False for any others.

    That their buffers are long enough is known: Arrow looks at that without `full`.

    Raises:
        pa.ArrowInvalid: the dictionary is not valid.
    """
    if lists.type != NAMES_TYPE or not len(lists) or not _is_whole(lists):
        return False
    encoded = lists.values
    if not len(encoded) or not _is_whole(encoded):
        return False
    dictionary = encoded.dictionary
    dictionary.validate(full=True)
    indices, offsets = _int32(encoded.buffers()[1], len(encoded)), _int32(lists.buffers()[1], len(lists) + 1)
    are_ascending = offsets[0] >= 0 and offsets[-1] <= len(encoded) and (offsets[1:] >= offsets[:-1]).all()
    return bool(are_ascending and indices.min() >= 0 and indices.max() < len(dictionary))


def _is_whole(column: pa.Array) -> bool:
    """Whether a column is all of its buffers, and has no nulls and no bitmap that might say otherwise."""
    return column.offset == 0 and column.null_count == 0 and column.buffers()[0] is None


def _int32(buffer: Any, count: int) -> npt.NDArray[np.int32]:
    return np.frombuffer(buffer, dtype=np.int32, count=count)
