"""The steps from untrusted bytes to the columns of a batch.

Arrow can be written in many ways: text with 32-bit or 64-bit offsets or as views, with or without a dictionary,
integers of any width, times of any unit, pairs as two lists or as a list of structs. What polars, DuckDB, ClickHouse,
Java and Go write for the same events is read as the same columns; docs/languages.md lists it. A body is kept byte for
byte.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.errors import InvalidInputError, Violation
from ledger.usage.arrow_stream import (
    DICTIONARY_BATCH,
    RECORD_BATCH,
    SCHEMA,
    FramingError,
    framed,
)
from ledger.usage.batch import Batch, EventIds, Int64Array, events_at, only_named
from ledger.usage.format import MAX_BODY_BYTES, MAX_DECODED_BYTES, MAX_EVENTS, MAX_SHARES, MAX_VIOLATIONS
from ledger.usage.validation import require_valid
from ledger.usage.validity import Levels, levels_of, null_counts, with_nulls_uncounted

_ID_BYTES: Final = 16
_MODE_MAX: Final = 255
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_TYPE_SHOWN: Final = 200
"""The length at which an error cuts off a type: a nested one may be of any length."""


class Kind(NamedTuple):
    """A kind of batch: its columns after those of the event, and what its amounts are as numbers."""

    names: str
    amounts: str
    amount: str
    """One of the amounts, as a field of a struct."""
    amount_type: pa.DataType
    max_names: int
    max_name_bytes: int
    """No id is longer: so much for each is the most that a dictionary may hold."""

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns in order."""
        return (*_EVENT_COLUMNS, self.names, self.amounts)


_EVENT_COLUMNS: Final = ("event_id", "work_id", "occurred_at", "units", "mode")
_AMOUNTS: Final = {"shares", "scores"}
"""The last column of each kind of batch."""


def read_columns(body: bytes, kind: Kind) -> Batch:
    """Returns the columns in an Arrow stream. The rules on single events are still to be checked.

    Raises:
        InvalidInputError: the bytes are not such a batch.
    """
    return _Columns(_decode(body, kind), kind).read()


def require_sizes(body: bytes, columns: Batch, kind: Kind) -> None:
    """Check the sizes of a body that was written from columns and is not read again.

    Raises:
        InvalidInputError: the body, or the columns, exceed what `read_columns` would accept.
    """
    _require_body_size(body)
    _require_events(len(columns.units))
    _require_amounts(len(columns.amounts), kind)
    _require_names(len(columns.names), kind)


_refuse: Final = InvalidInputError.of


def _decode(body: bytes, kind: Kind) -> pa.RecordBatch:
    """Steps from untrusted bytes to a fully validated record batch of known types."""
    # 1. Size as sent.
    _require_body_size(body)
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
        levels = _checked_schema(body[: found[0].end], kind)
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
    _require_events(record_batch.num_rows)
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


def _require_body_size(body: bytes) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise _refuse("arrow_stream", f"has {len(body):,} bytes, more than {MAX_BODY_BYTES:,}")


def _require_events(count: int) -> None:
    if not 1 <= count <= MAX_EVENTS:
        raise _refuse("events", f"must contain 1 to {MAX_EVENTS:,} events, got {count:,}")


def _require_amounts(count: int, kind: Kind) -> None:
    if count > MAX_SHARES:
        raise _refuse(kind.amounts, f"must be at most {MAX_SHARES:,} in a batch, got {count:,}")


def _require_names(count: int, kind: Kind) -> None:
    if count > kind.max_names:
        raise _refuse(kind.names, f"must have at most {kind.max_names:,} different ids in a batch, got {count:,}")


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


_SCHEMA_BYTES: Final = 2**14
"""The longest schema whose check is remembered; ours has about a kilobyte."""


def _checked_schema(message: bytes, kind: Kind) -> Levels:
    """Returns the levels of the columns under a schema, after its check.

    Raises:
        InvalidInputError: it is not that of such a batch.
        pa.ArrowException: it is none.
    """
    return (_remembered_schema if len(message) <= _SCHEMA_BYTES else _read_schema)(message, kind)


def _read_schema(message: bytes, kind: Kind) -> Levels:
    schema = pa.ipc.read_schema(pa.py_buffer(message))
    _require_schema(schema, kind)
    return levels_of(schema)


_remembered_schema = lru_cache(maxsize=16)(_read_schema)
"""The batches of a platform have one schema, down to the byte."""


def _require_schema(schema: pa.Schema, kind: Kind) -> None:
    names = tuple(schema.names)
    in_pairs = kind.columns[:-1]
    if names not in (kind.columns, in_pairs):
        held = (names or ("",))[-1]
        if held in _AMOUNTS - {kind.amounts}:
            # It is the same for every batch that is sent with this method.
            raise _refuse("method_id", f"takes {kind.amounts}, and the batch contains {held}")
        has = ", ".join(names)[:500]
        raise _refuse("arrow_stream", f"must have the columns {', '.join(kind.columns)}; has {has}")
    of_pairs = _is_pairs(schema.field(kind.names).type, kind)
    if of_pairs != (names == in_pairs):
        found = _shown(schema.field(kind.names).type)
        reason = "is given in addition to pairs" if of_pairs else f"is missing, and {kind.names} is {found}"
        raise _refuse(kind.amounts, reason)
    checks: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
        "event_id": (_is_id, "16 bytes each"),
        "work_id": (_is_text_or_null, "text"),
        "occurred_at": (_is_moment, "timestamps with a time zone"),
        "units": (pa.types.is_integer, "integers"),
        "mode": (pa.types.is_integer, "integers"),
    }
    if not of_pairs:
        checks[kind.names] = _is_names, f"lists of text, or of structs of id and {kind.amount}"
        whole = pa.types.is_integer(kind.amount_type)
        checks[kind.amounts] = _is_integers if whole else _is_numbers, f"lists of {'integers' if whole else 'numbers'}"
    for name, (fits, wanted) in checks.items():
        if not fits(schema.field(name).type):
            raise _refuse(name, f"must be {wanted}, got {_shown(schema.field(name).type)}")


def _shown(found: pa.DataType) -> str:
    return str(found)[:_TYPE_SHOWN]


def _is_text(found: pa.DataType) -> bool:
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))


def _is_text_or_null(found: pa.DataType) -> bool:
    return _is_text(found) or bool(pa.types.is_null(found))


def _is_id(found: pa.DataType) -> bool:
    found = found.storage_type if isinstance(found, pa.UuidType) else found
    if pa.types.is_fixed_size_binary(found):
        return bool(found.byte_width == _ID_BYTES)
    return any(check(found) for check in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))


def _is_moment(found: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(found)) and found.tz is not None


def _is_list(found: pa.DataType) -> bool:
    return bool(pa.types.is_list(found) or pa.types.is_large_list(found))


def _is_names(found: pa.DataType) -> bool:
    return _is_list(found) and _is_name(found.value_type)


def _is_name(found: pa.DataType) -> bool:
    return _is_text(found.value_type if pa.types.is_dictionary(found) else found)


def _is_integers(found: pa.DataType) -> bool:
    return _is_list(found) and bool(pa.types.is_integer(found.value_type))


def _is_number(found: pa.DataType) -> bool:
    return bool(pa.types.is_integer(found) or pa.types.is_float32(found) or pa.types.is_float64(found))


def _is_numbers(found: pa.DataType) -> bool:
    return _is_list(found) and _is_number(found.value_type)


def _is_pairs(found: pa.DataType, kind: Kind) -> bool:
    """Whether the names come with their amounts, as structs of `id` and `share` or `score`."""
    if not (_is_list(found) and pa.types.is_struct(found.value_type)):
        return False
    fields = {field.name: field.type for field in found.value_type}
    fits = pa.types.is_integer if pa.types.is_integer(kind.amount_type) else _is_number
    named = found.value_type.num_fields == 2 and fields.keys() == {"id", kind.amount}  # noqa: PLR2004  # a pair
    return named and _is_name(fields["id"]) and fits(fields[kind.amount])


class _Columns:
    """The columns of a record batch whose types are known; nothing else about it is trusted."""

    def __init__(self, record_batch: pa.RecordBatch, kind: Kind) -> None:
        self._batch = record_batch
        self._kind = kind

    def read(self) -> Batch:
        """Returns the columns, as views if possible, after checking that nothing is null and lists are valid."""
        kind = self._kind
        for column in self._batch.schema.names:
            if column != "work_id" and self._batch.column(column).null_count:
                raise _violations_at(_null_places(self._batch.column(column)), column, "must not be null")
        offsets, encoded, values = self._pairs() if kind.amounts not in self._batch.schema.names else self._lists()
        for column, flat in ((kind.names, encoded.indices), (kind.amounts, values)):
            if flat.null_count:
                raise _violations_at(events_at(_null_places(flat), offsets), column, "must not contain nulls")
        names, name_index = only_named(self._names(encoded.dictionary), _indices(encoded))
        return Batch(
            event_ids=_event_ids(self._batch.column("event_id")),
            work_ids=_work_ids(self._batch.column("work_id")),
            occurred_at=_microseconds(self._batch.column("occurred_at")),
            units=_integers(self._batch.column("units")),
            modes=_modes(self._batch.column("mode")),
            offsets=offsets,
            name_index=name_index,
            amounts=_amounts(values, kind),
            names=names,
        )

    def _lists(self) -> tuple[Int64Array, pa.DictionaryArray, pa.Array]:
        """Returns the offsets of each event's names from 0 on, and all names and amounts."""
        kind = self._kind
        name_lists, amount_lists = self._batch.column(kind.names), self._batch.column(kind.amounts)
        offsets = _offsets(name_lists)
        unequal = np.flatnonzero(np.diff(offsets) != np.diff(_offsets(amount_lists)))
        if len(unequal):
            raise _violations_at(unequal, kind.amounts, f"must be as many as {kind.names}")
        values = _flat(amount_lists)
        _require_amounts(len(values), kind)
        return offsets - offsets[0], _encoded(_flat(name_lists), kind.names), values

    def _pairs(self) -> tuple[Int64Array, pa.DictionaryArray, pa.Array]:
        kind = self._kind
        lists = self._batch.column(kind.names)
        offsets, pairs = _offsets(lists), _flat(lists)
        offsets = offsets - offsets[0]
        _require_amounts(len(pairs), kind)
        if pairs.null_count:
            raise _violations_at(events_at(_null_places(pairs), offsets), kind.names, "must not contain nulls")
        return offsets, _encoded(pairs.field("id"), kind.names), pairs.field(kind.amount)

    def _names(self, dictionary: pa.Array) -> tuple[str, ...]:
        column = self._kind.names
        _require_names(len(dictionary), self._kind)
        if dictionary.null_count:
            raise _refuse(column, "the dictionary must not contain nulls")
        size, most = _text_bytes(dictionary), self._kind.max_names * self._kind.max_name_bytes
        if size > most:
            raise _refuse(column, f"the dictionary has {size} bytes of ids, more than {most}")
        _, offsets, text = dictionary.buffers()
        if text is None or text.size > _REMEMBERED_BYTES:
            names, distinct = _texts(dictionary)
        else:
            names, distinct = _remembered(len(dictionary), dictionary.offset, offsets.to_pybytes(), text.to_pybytes())
        if not distinct:
            raise _refuse(column, "the dictionary must not repeat an id")
        return names


_REMEMBERED_BYTES: Final = 2**20
"""The largest dictionary text that is cached; ten thousand ids have about a tenth of it."""


@lru_cache(maxsize=4)
def _remembered(length: int, offset: int, offsets: bytes, text: bytes) -> tuple[tuple[str, ...], bool]:
    """Returns `_texts` of a dictionary's buffers. The batches of a platform mostly have one dictionary."""
    return _texts(pa.StringArray.from_buffers(length, pa.py_buffer(offsets), pa.py_buffer(text), offset=offset))


def _texts(dictionary: pa.StringArray) -> tuple[tuple[str, ...], bool]:
    """Returns the names, and whether they are all different."""
    names = tuple(dictionary.to_pylist())
    return names, len(set(names)) == len(names)


def _text_bytes(column: pa.StringArray) -> int:
    """The bytes of all texts of a column without nulls."""
    bounds = _bounds(column, np.dtype(np.int32))
    return int(bounds[-1]) - int(bounds[0])


def _bounds(column: pa.Array, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Where each text or byte string of a column begins, and where the last one ends: (n + 1,), as a view."""
    if not len(column):
        return np.zeros(1, dtype=dtype)
    return np.frombuffer(column.buffers()[1], dtype, len(column) + 1, dtype.itemsize * column.offset)


def _plain_text(column: pa.Array, field: str) -> pa.StringArray:
    """Text of any layout as text with 32-bit offsets."""
    if pa.types.is_string(column.type):
        return column
    _require_no_bomb(column, field)
    return column.cast(pa.utf8())


def _require_no_bomb(column: pa.Array, field: str) -> None:
    """Refuse views of more bytes than a body may have: any number of them may point to the same bytes."""
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        # A view is 16 bytes, of which the first four are its length; under a null they may be anything.
        lengths = _fixed(column, np.dtype("4<i4"))[:, 0].astype(np.int64)
        if column.null_count:
            lengths[_null_places(column)] = 0
        if lengths.sum() > MAX_DECODED_BYTES:
            raise _refuse(field, f"has views of {lengths.sum():,} bytes in total, more than {MAX_DECODED_BYTES:,}")


def _encoded(flat: pa.Array, field: str) -> pa.DictionaryArray:
    """Returns names over a dictionary: their own, or one made from them."""
    if not pa.types.is_dictionary(flat.type):
        return _plain_text(flat, field).dictionary_encode()
    if pa.types.is_string(flat.type.value_type):
        return flat
    return pa.DictionaryArray.from_arrays(flat.indices, _plain_text(flat.dictionary, field))


def _indices(encoded: pa.DictionaryArray) -> npt.NDArray[np.int32]:
    """(k,) into the dictionary; Arrow has checked that all of them are in it."""
    return _numbers(encoded.indices).astype(np.int32, copy=False)


def _offsets(column: pa.Array) -> Int64Array:
    """Returns (n + 1,) the offsets of the lists in the column's own values."""
    return _numbers(column.offsets).astype(np.int64)


def _flat(column: pa.Array) -> Any:
    first, last = column.offsets[0].as_py(), column.offsets[-1].as_py()
    return column.values.slice(first, last - first)


def _event_ids(column: pa.Array) -> EventIds:
    """(n,) of 16 bytes each."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if not pa.types.is_fixed_size_binary(column.type):
        _require_no_bomb(column, "event_id")
        column = column.cast(pa.large_binary())
        wrong = np.flatnonzero(np.diff(_bounds(column, np.dtype(np.int64))) != _ID_BYTES)
        if len(wrong):
            raise _violations_at(wrong, "event_id", f"must be {_ID_BYTES} bytes")
        column = column.cast(pa.binary(_ID_BYTES))
    return _fixed(column, np.dtype("V16"))


def _work_ids(column: pa.Array) -> pa.StringArray:
    return pa.nulls(len(column), pa.utf8()) if pa.types.is_null(column.type) else _plain_text(column, "work_id")


def _microseconds(column: pa.Array) -> Int64Array:
    """(n,) since 1970, with smaller parts cut off. Times that do not fit in 64 bits become -1, which is not allowed."""
    per_second = _PER_SECOND[column.type.unit]
    ticks = _fixed(column, np.dtype(np.int64))
    if per_second >= 10**6:
        return ticks // (per_second // 10**6) if per_second > 10**6 else ticks
    factor = 10**6 // per_second
    fits = np.abs(ticks) <= (2**63 - 1) // factor
    return np.where(fits, ticks, -1) * np.where(fits, factor, 1)


def _modes(column: pa.Array) -> npt.NDArray[np.uint8]:
    """(n,) 0, which is not a mode, for values that are not 8-bit modes."""
    if pa.types.is_uint8(column.type):
        return _fixed(column, np.dtype(np.uint8))
    values = _integers(column)
    return np.where((values < 0) | (values > _MODE_MAX), 0, values).astype(np.uint8)


def _integers(column: pa.Array) -> Int64Array:
    """Integers of any width in 64 bits; larger ones become negative, which is not allowed."""
    return _numbers(column).astype(np.int64, copy=False)


def _amounts(values: pa.Array, kind: Kind) -> npt.NDArray[Any]:
    if pa.types.is_integer(kind.amount_type) and not pa.types.is_int32(values.type):
        limits = np.iinfo(np.int32)
        return np.clip(_integers(values), limits.min, limits.max).astype(np.int32)
    return _numbers(values).astype(kind.amount_type.to_pandas_dtype(), copy=False)


def _numbers(column: pa.Array) -> npt.NDArray[Any]:
    return _fixed(column, np.dtype(column.type.to_pandas_dtype()))


def _fixed(column: pa.Array, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values of a column without nulls, all of one size, as a view. Arrow's own way would import pandas."""
    if not len(column):
        return np.empty(0, dtype=dtype)
    return np.frombuffer(column.buffers()[1], dtype=dtype, count=len(column), offset=dtype.itemsize * column.offset)


def _null_places(column: pa.Array) -> Int64Array:
    """The positions of the nulls of a column that has any."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    bits = np.unpackbits(np.frombuffer(column.buffers()[0], dtype=np.uint8), bitorder="little")
    return np.flatnonzero(bits[column.offset : column.offset + len(column)] == 0)


def _violations_at(positions: Int64Array, column: str, reason: str) -> InvalidInputError:
    listed = [Violation(f"events[{position}].{column}", reason) for position in positions[:MAX_VIOLATIONS].tolist()]
    return InvalidInputError(listed, total=len(positions))
