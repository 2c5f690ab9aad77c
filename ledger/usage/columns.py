"""The columns of a batch out of a record batch of Arrow, of whatever types they came."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.errors import InvalidInputError, Violation
from ledger.usage.batch import Batch, EventIds, Int64Array, events_at
from ledger.usage.format import MAX_DECODED_BYTES, MAX_VIOLATIONS
from ledger.usage.schema import ID_BYTES, Kind
from ledger.usage.sizes import require_amounts, require_names

_MODE_MAX: Final = 255
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

_refuse: Final = InvalidInputError.of


def columns_of(record_batch: pa.RecordBatch, kind: Kind) -> Batch:
    """Returns the columns of a valid record batch of known types. The rules on single events are still to be checked.

    Raises:
        InvalidInputError: something is null, lists do not fit each other, or a value is not of its column's kind.
    """
    return _Columns(record_batch, kind).read()


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
        return Batch(
            event_ids=_event_ids(self._batch.column("event_id")),
            work_ids=_work_ids(self._batch.column("work_id")),
            occurred_at=_microseconds(self._batch.column("occurred_at")),
            units=_integers(self._batch.column("units")),
            modes=_modes(self._batch.column("mode")),
            offsets=offsets,
            name_index=_indices(encoded),
            amounts=_amounts(values, kind),
            names=self._names(encoded.dictionary),
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
        require_amounts(len(values), kind)
        return offsets - offsets[0], _encoded(_flat(name_lists), kind.names), values

    def _pairs(self) -> tuple[Int64Array, pa.DictionaryArray, pa.Array]:
        kind = self._kind
        lists = self._batch.column(kind.names)
        offsets, pairs = _offsets(lists), _flat(lists)
        offsets = offsets - offsets[0]
        require_amounts(len(pairs), kind)
        if pairs.null_count:
            raise _violations_at(events_at(_null_places(pairs), offsets), kind.names, "must not contain nulls")
        return offsets, _encoded(pairs.field("id"), kind.names), pairs.field(kind.amount)

    def _names(self, dictionary: pa.Array) -> tuple[str, ...]:
        column = self._kind.names
        require_names(len(dictionary), self._kind)
        if dictionary.null_count:
            raise _refuse(column, "the dictionary must not contain nulls")
        size, most = _text_bytes(dictionary), self._kind.max_names * self._kind.max_name_bytes
        if size > most:
            raise _refuse(column, f"the dictionary has {size} bytes of ids, more than {most}")
        names, distinct = _remembered.texts(dictionary)
        if not distinct:
            raise _refuse(column, "the dictionary must not repeat an id")
        return names


_REMEMBERED_BYTES: Final = 2**20
"""The largest dictionary text that is cached; ten thousand ids have about a tenth of it."""


class _Remembered:
    """The names of the last few dictionaries: the batches of a platform mostly have one.

    Their bytes are compared, which takes less time than hashing them. Arrow's own comparison lets another thread have
    the interpreter, while this one holds all of a decoded batch: eight streams then took 30 MB more at once.
    """

    def __init__(self) -> None:
        self._last: deque[tuple[tuple[int, int, bytes, bytes], tuple[tuple[str, ...], bool]]] = deque(maxlen=4)

    def texts(self, dictionary: pa.StringArray) -> tuple[tuple[str, ...], bool]:
        """Returns `_texts` of a dictionary without nulls."""
        _, offsets, text = dictionary.buffers()
        if text is None or text.size > _REMEMBERED_BYTES:
            return _texts(dictionary)
        asked = len(dictionary), dictionary.offset, offsets.to_pybytes(), text.to_pybytes()
        for known, found in [*self._last]:  # other threads add to it
            if known == asked:
                return found
        found = _texts(dictionary)
        self._last.append((asked, found))
        return found


_remembered: Final = _Remembered()


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
        wrong = np.flatnonzero(np.diff(_bounds(column, np.dtype(np.int64))) != ID_BYTES)
        if len(wrong):
            raise _violations_at(wrong, "event_id", f"must be {ID_BYTES} bytes")
        column = column.cast(pa.binary(ID_BYTES))
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
