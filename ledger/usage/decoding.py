"""The steps from untrusted bytes to the columns of a batch.

Arrow can be written in many ways: text with 32-bit or 64-bit offsets or as views, with or without a dictionary,
integers of any width, times of any unit, pairs as two lists or as a list of structs. What polars, DuckDB, ClickHouse,
Java and Go write for the same events is read as the same columns; docs/languages.md lists it. A body is kept byte for
byte.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from ledger.errors import InvalidInputError
from ledger.usage.arrow_stream import DICTIONARY_BATCH, RECORD_BATCH, SCHEMA, FramingError, framed
from ledger.usage.batch import Batch
from ledger.usage.columns import columns_of
from ledger.usage.format import MAX_DECODED_BYTES
from ledger.usage.schema import Kind, checked_schema
from ledger.usage.sizes import require_body_size, require_events
from ledger.usage.validation import require_valid
from ledger.usage.validity import null_counts, with_nulls_uncounted

_refuse: Final = InvalidInputError.of


def read_columns(body: bytes, kind: Kind) -> Batch:
    """Returns the columns in an Arrow stream. The rules on single events are still to be checked.

    Raises:
        InvalidInputError: the bytes are not such a batch.
    """
    return columns_of(_decode(body, kind), kind)


def _decode(body: bytes, kind: Kind) -> pa.RecordBatch:
    """Steps from untrusted bytes to a fully validated record batch of known types."""
    # 1. Size as sent.
    require_body_size(body)
    # 2. Framing: a schema, at most one dictionary, a record batch; and the size that decoding would need.
    try:
        found = list(framed(body))
        _require_framing([message.kind for message in found])
        decoded_bytes = sum(message.decoded_bytes() for message in found)
    except FramingError as error:
        raise _refuse("arrow_stream", f"is not an Arrow IPC stream: {error}") from None
    if decoded_bytes > MAX_DECODED_BYTES:
        raise _refuse("arrow_stream", f"decodes to {decoded_bytes:,} bytes, more than {MAX_DECODED_BYTES:,}")
    # 3. Decoding, and every offset, index and UTF-8 sequence.
    try:
        levels = checked_schema(body[: found[0].end], kind)
        counted = pa.py_buffer(with_nulls_uncounted(body, found, levels))
        # On this thread alone: there are several callers, and more threads for one batch cost a tenth of the time.
        with pa.ipc.open_stream(counted, options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
            record_batch = reader.read_next_batch()
            require_valid(record_batch, kind.names)
        # 4. Nulls as many as it says: in the one column that may have any, the second; in others they are refused.
        nulls, said = record_batch.column("work_id").null_count, null_counts(found[-1])[1]
    except FramingError as error:
        raise _refuse("arrow_stream", f"is not an Arrow IPC stream: {error}") from None
    except (pa.ArrowException, StopIteration, OSError, UnicodeDecodeError) as error:
        raise _refuse("arrow_stream", f"is not valid Arrow: {_one_line(error)}") from None
    if nulls != said:
        raise _refuse("work_id", f"is said to hold {said} nulls, and its validity bitmap has {nulls}")
    # 5. Size in events.
    require_events(record_batch.num_rows)
    return record_batch


def _require_framing(kinds: list[int]) -> None:
    if kinds in ([SCHEMA, RECORD_BATCH], [SCHEMA, DICTIONARY_BATCH, RECORD_BATCH]):
        return
    counted = (
        f"{kinds.count(kind)} {one if kinds.count(kind) == 1 else more}"
        for kind, one, more in (
            (SCHEMA, "schema", "schemas"),
            (DICTIONARY_BATCH, "dictionary", "dictionaries"),
            (RECORD_BATCH, "record batch", "record batches"),
        )
    )
    wanted = "must contain one schema, at most one dictionary and one record batch, in this order"
    raise _refuse("arrow_stream", f"{wanted}, got {', '.join(counted)}")


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
