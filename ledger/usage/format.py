"""What every batch of events has in common: its first columns, its limits, and the steps from hostile bytes to columns.

A batch is one Arrow record batch in the IPC stream format. After the columns of the event itself come two lists of
equal length in each event: names, over one dictionary, and an amount for each name. `ledger.usage.shares` and
`ledger.usage.scores` say what the names and amounts are, and add the rules for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.errors import InvalidInputError, Violation
from ledger.usage.arrow_stream import DICTIONARY_BATCH, RECORD_BATCH, SCHEMA, FramingError, messages
from ledger.usage.batch import Batch, BoolArray, Int64Array, events_at

MAX_EVENTS: Final = 65_536
"""Events in a batch: a leaf's duplicate bitmap stays in an entry, and a batch in memory."""

MAX_SHARES: Final = 4_194_304
"""Amounts in a batch: 64 an event at the largest batch; bounds what one request may make the service compute."""

MAX_BODY_BYTES: Final = 32 * 2**20
"""Bytes of a batch as sent."""

MAX_DECODED_BYTES: Final = 128 * 2**20
"""Bytes of a batch once its buffers are decompressed."""

MAX_UNITS: Final = 10**9
MAX_WORK_ID_BYTES: Final = 256
MAX_VIOLATIONS: Final = 100
"""How many violations an answer lists."""

AI_ONLY: Final = 1
HUMAN_AI: Final = 2
MODES: Final = (AI_ONLY, HUMAN_AI)

MAX_OCCURRED_AT: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999: the range of google.protobuf.Timestamp, from 1970 on."""

EVENT_TYPES: Final[dict[str, pa.DataType]] = {
    "event_id": pa.binary(16),
    "work_id": pa.utf8(),
    "occurred_at": pa.timestamp("us", tz="UTC"),
    "units": pa.int64(),
    "mode": pa.uint8(),
}
NAMES_TYPE: Final = pa.list_(pa.dictionary(pa.int32(), pa.utf8()))

_AMOUNTS: Final = {"shares", "scores"}
"""The last column of each kind of batch."""

EventViolation = tuple[int, str, str]
"""An event's position, the column and the reason."""


def read_columns(body: bytes, types: dict[str, pa.DataType], *, max_names: int) -> Batch:
    """The columns in an Arrow stream of exactly `types`, of which the last two are the names and the amounts.

    The rules on single events are still to be checked.

    Raises:
        InvalidInputError: the bytes are not such a batch.
    """
    return _columns(_decode(body, types), *list(types)[-2:], max_names=max_names)


def require_sizes(body: bytes, columns: Batch, types: dict[str, pa.DataType], *, max_names: int) -> None:
    """Check the sizes of a body that was written from columns, which is not read again.

    Raises:
        InvalidInputError: the body, or the columns, pass what `read_columns` would take.
    """
    names, amounts = list(types)[-2:]
    _require_body_size(body)
    _require_events(len(columns.units))
    _require_amounts(len(columns.amounts), amounts)
    _require_names(len(columns.names), names, max_names)


def event_violations(columns: Batch) -> Iterator[EventViolation]:
    """Breaches of the rules on an event's own columns."""
    yield from where((columns.units < 1) | (columns.units > MAX_UNITS), "units", f"must be 1 to {MAX_UNITS}")
    yield from where(
        (columns.modes != AI_ONLY) & (columns.modes != HUMAN_AI), "mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)"
    )
    too_far = (columns.occurred_at < 0) | (columns.occurred_at > MAX_OCCURRED_AT)
    yield from where(too_far, "occurred_at", "must be in the years 1970 to 9999")
    too_long = _work_id_bytes(columns.work_ids) > MAX_WORK_ID_BYTES
    yield from where(too_long, "work_id", f"must be at most {MAX_WORK_ID_BYTES} bytes")


def repeated_names(columns: Batch) -> BoolArray:
    """(k,) which names stand earlier in the same event."""
    repeated = np.zeros(len(columns.name_index), dtype=np.bool_)
    ascending = np.ones(len(repeated) + 1, dtype=np.bool_)
    ascending[1:-1] = columns.name_index[1:] > columns.name_index[:-1]
    ascending[columns.offsets] = True
    if ascending.all():
        return repeated
    key = columns.event_of_amount() * len(columns.names) + columns.name_index
    order = np.argsort(key, kind="stable")
    repeated[order[1:]] = key[order[1:]] == key[order[:-1]]
    return repeated


def require_known_names(batch: Batch, known: BoolArray, *, column: str) -> None:
    """Check that whatever an event names is registered.

    `known` is (c,): whether each of `batch.names` is a registered collective. One that no event names may be unknown.

    Raises:
        InvalidInputError: events name what is not registered; the error gives their positions.
    """
    if known.all():
        return
    unknown = np.flatnonzero(~known[batch.name_index])
    events = batch.event_of_amount()
    listed = [
        Violation(
            f"events[{events[place]}].{column}", f"{batch.names[batch.name_index[place]][:80]!r} is not registered"
        )
        for place in unknown[:MAX_VIOLATIONS].tolist()
    ]
    if listed:
        raise InvalidInputError(listed, total=len(unknown))


def where(breach: BoolArray, column: str, reason: str) -> Iterator[EventViolation]:
    """A violation for each event of (n,) breaches."""
    if breach.any():
        yield from ((position, column, reason) for position in np.flatnonzero(breach).tolist())


def where_amount(breach: BoolArray, offsets: Int64Array, column: str, reason: str) -> Iterator[EventViolation]:
    """A violation for each event with any of (k,) breaches."""
    if breach.any():
        yield from ((position, column, reason) for position in events_at(np.flatnonzero(breach), offsets).tolist())


def raise_violations(found: Iterable[EventViolation]) -> None:
    """Raise if there are violations.

    Raises:
        InvalidInputError: there are; it holds the first 100 by position.
    """
    ordered = sorted(found, key=lambda violation: violation[0])
    if ordered:
        listed = [Violation(f"events[{at}].{column}", reason) for at, column, reason in ordered[:MAX_VIOLATIONS]]
        raise InvalidInputError(listed, total=len(ordered))


_refuse: Final = InvalidInputError.of


def _decode(body: bytes, types: dict[str, pa.DataType]) -> pa.RecordBatch:
    """Steps from hostile bytes to a fully validated record batch of the exact schema."""
    # 1. Size as sent.
    _require_body_size(body)
    # 2. Framing: a schema, a dictionary, a record batch; and the size that decoding would take.
    try:
        found = list(messages(body))
    except FramingError as error:
        raise _refuse("arrow_stream", f"is not an Arrow IPC stream: {error}") from None
    if [message.kind for message in found] != [SCHEMA, DICTIONARY_BATCH, RECORD_BATCH]:
        raise _refuse("arrow_stream", "must hold one schema, one dictionary and one record batch")
    decoded_bytes = sum(message.decoded_bytes for message in found)
    if decoded_bytes > MAX_DECODED_BYTES:
        raise _refuse("arrow_stream", f"decodes to {decoded_bytes} bytes, more than {MAX_DECODED_BYTES}")
    # 3. Decoding, and every offset, index and UTF-8 sequence.
    try:
        # On this thread alone: its callers have several, and more of them for one batch cost a tenth of the time.
        with pa.ipc.open_stream(pa.py_buffer(body), options=pa.ipc.IpcReadOptions(use_threads=False)) as reader:
            _require_schema(reader.schema, types)
            record_batch = reader.read_next_batch()
            record_batch.validate(full=True)
    except (pa.ArrowException, StopIteration, OSError, UnicodeDecodeError) as error:
        raise _refuse("arrow_stream", f"is not valid Arrow: {_one_line(error)}") from None
    # 4. Size in events.
    _require_events(record_batch.num_rows)
    return record_batch


def _require_body_size(body: bytes) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise _refuse("arrow_stream", f"has {len(body)} bytes, more than {MAX_BODY_BYTES}")


def _require_events(count: int) -> None:
    if not 1 <= count <= MAX_EVENTS:
        raise _refuse("events", f"must be 1 to {MAX_EVENTS}, are {count}")


def _require_amounts(count: int, column: str) -> None:
    if count > MAX_SHARES:
        raise _refuse(column, f"must be at most {MAX_SHARES} in a batch, are {count}")


def _require_names(count: int, column: str, max_names: int) -> None:
    if count > max_names:
        raise _refuse(column, f"the dictionary must hold at most {max_names} ids, holds {count}")


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _require_schema(schema: pa.Schema, types: dict[str, pa.DataType]) -> None:
    if schema.names != list(types):
        held, wanted = (schema.names or [""])[-1], list(types)[-1]
        if held in _AMOUNTS - {wanted}:
            # It is the same for every batch that is sent under this method.
            raise _refuse("method_id", f"takes {wanted}, and the batch holds {held}")
        raise _refuse("arrow_stream", f"must have the columns {', '.join(types)}; has {', '.join(schema.names)[:500]}")
    for name, wanted in types.items():
        # Arrow compares list types by value type alone, so the child may be called `item` or `element`.
        if schema.field(name).type != wanted:
            raise _refuse(name, f"must be {wanted}, is {schema.field(name).type}")


def _columns(record_batch: pa.RecordBatch, names: str, amounts: str, *, max_names: int) -> Batch:
    """The columns as numpy views, once it is clear that nothing is null and lists and dictionary are sound."""
    for column in record_batch.schema.names:
        if column != "work_id" and record_batch.column(column).null_count:
            raise _violations_at(_null_places(record_batch.column(column)), column, "must not be null")
    name_lists, amount_lists = record_batch.column(names), record_batch.column(amounts)
    offsets = _offsets(name_lists)
    unequal = np.flatnonzero(np.diff(offsets) != np.diff(_offsets(amount_lists)))
    if len(unequal):
        raise _violations_at(unequal, amounts, f"must be as many as {names}")
    encoded, values = _flat(name_lists), _flat(amount_lists)
    _require_amounts(len(values), amounts)
    for column, flat in ((names, encoded.indices), (amounts, values)):
        if flat.null_count:
            nulls = events_at(_null_places(flat) + offsets[0], offsets)
            raise _violations_at(nulls, column, "must not hold nulls")
    return Batch(
        event_ids=_values(record_batch.column("event_id"), "V16"),
        work_ids=record_batch.column("work_id"),
        occurred_at=_values(record_batch.column("occurred_at"), np.int64),
        units=_values(record_batch.column("units"), np.int64),
        modes=_values(record_batch.column("mode"), np.uint8),
        offsets=offsets - offsets[0],
        name_index=_values(encoded.indices, np.int32),
        amounts=_values(values, values.type.to_pandas_dtype()),
        names=_names(encoded.dictionary, names, max_names),
    )


def _names(dictionary: pa.StringArray, column: str, max_names: int) -> tuple[str, ...]:
    _require_names(len(dictionary), column, max_names)
    if dictionary.null_count:
        raise _refuse(column, "the dictionary must not hold nulls")
    _, offsets, text = dictionary.buffers()
    if text is None or text.size > _REMEMBERED_BYTES:
        names, distinct = _texts(dictionary)
    else:
        names, distinct = _remembered(len(dictionary), dictionary.offset, offsets.to_pybytes(), text.to_pybytes())
    if not distinct:
        raise _refuse(column, "the dictionary must not repeat an id")
    return names


_REMEMBERED_BYTES: Final = 2**20
"""The text of a dictionary that is remembered; ten thousand ids have about a tenth of it."""


@lru_cache(maxsize=4)
def _remembered(length: int, offset: int, offsets: bytes, text: bytes) -> tuple[tuple[str, ...], bool]:
    """`_texts` of a dictionary's buffers. The batches of a platform mostly have one dictionary."""
    return _texts(pa.StringArray.from_buffers(length, pa.py_buffer(offsets), pa.py_buffer(text), offset=offset))


def _texts(dictionary: pa.StringArray) -> tuple[tuple[str, ...], bool]:
    """The names, and whether no two are the same."""
    names = tuple(dictionary.to_pylist())
    return names, len(set(names)) == len(names)


def _offsets(column: pa.ListArray) -> Int64Array:
    return _values(column.offsets, np.int32).astype(np.int64)


def _flat(column: pa.ListArray) -> Any:
    first, last = column.offsets[0].as_py(), column.offsets[-1].as_py()
    return column.values.slice(first, last - first)


def _values(column: pa.Array, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """The values of a column without nulls, all of one size, as a view. Arrow's own way would import pandas."""
    dtype = np.dtype(kind)
    if not len(column):
        return np.empty(0, dtype=dtype)
    return np.frombuffer(column.buffers()[1], dtype=dtype, count=len(column), offset=dtype.itemsize * column.offset)


def _null_places(column: pa.Array) -> Int64Array:
    """The positions of the nulls of a column that has any."""
    bits = np.unpackbits(np.frombuffer(column.buffers()[0], dtype=np.uint8), bitorder="little")
    return np.flatnonzero(bits[column.offset : column.offset + len(column)] == 0)


def _violations_at(positions: Int64Array, column: str, reason: str) -> InvalidInputError:
    listed = [Violation(f"events[{position}].{column}", reason) for position in positions[:MAX_VIOLATIONS].tolist()]
    return InvalidInputError(listed, total=len(positions))


def _work_id_bytes(work_ids: Any) -> Int64Array:
    """Bytes of each work id; none for a null, whatever lies under it."""
    start = 4 * work_ids.offset
    offsets = np.frombuffer(work_ids.buffers()[1], dtype=np.int32, count=len(work_ids) + 1, offset=start)
    lengths: Int64Array = np.diff(offsets).astype(np.int64)
    if work_ids.null_count:
        lengths[_null_places(work_ids)] = 0
    return lengths
