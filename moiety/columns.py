"""The columns of a usage table, each made into the exact Arrow type that a batch has.

Everything works on whole columns. What a batch's type cannot hold (nulls, other types, integers that do not
fit, ids that are no UUIDs) is an `InvalidUsageError`; whether the values are allowed is for the service to
say.

The results are the same bytes whatever the encoding, slicing and chunking of the input: every buffer is
rebuilt or cut to its exact size, because Arrow writes what lies between a buffer's last value and its end.
"""

from __future__ import annotations

from binascii import unhexlify
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from moiety.errors import InvalidUsageError
from moiety.ids import IdScheme, event_id_bytes, ordered_event_id_bytes

MODES: Final = ("AI_ONLY", "HUMAN_AI")
"""The modes in words; the first is 1."""

AMOUNT_OF_NAMES: Final = {"collectives": "share", "sources": "score"}
"""What stands beside an id in a struct, by the column."""

_EVENT_ID: Final = pa.binary(16)
_TIME: Final = pa.timestamp("us", tz="UTC")
_UUID: Final = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_COLLECTIVE: Final = pa.dictionary(pa.int32(), pa.utf8())


def event_ids(column: pa.Array, first_position: int) -> pa.Array:
    """Event ids as 16 bytes each, from 16 bytes or UUID text."""
    column = _present(_plain(column), "event_id", first_position)
    if _is_text(column.type):
        ok = pc.match_substring_regex(column, _UUID)
        _require(ok, "event_id", first_position, "is not a UUID in text form")
        data = unhexlify(_bytes_of(column).replace(b"-", b""))
    elif _is_binary(column.type):
        ok = pc.equal(pc.binary_length(column), 16)
        _require(ok, "event_id", first_position, "is not 16 bytes")
        data = _bytes_of(column)
    else:
        raise _wrong_type("event_id", column, "16 bytes or UUID text")
    return _event_id_array(len(column), data)


def derived_event_ids(column: pa.Array, occurred_at: pa.Array, first_position: int, scheme: IdScheme) -> pa.Array:
    """Event ids from the platform's own ids, by its scheme (`moiety.ids`). `occurred_at` is `times` of the same table.

    Raises:
        InvalidUsageError: the column is not text, or an id or its time makes none; it names the first such row.
    """
    column = _present(_plain(column), "id", first_position)
    if not _is_text(column.type):
        raise _wrong_type("id", column, "text")
    found = bytearray()
    own_ids, microseconds = column.to_pylist(), occurred_at.cast(pa.int64()).to_pylist()
    for position, (text, time) in enumerate(zip(own_ids, microseconds, strict=True), first_position):
        try:
            found += event_id_bytes(text) if scheme is IdScheme.OWN else ordered_event_id_bytes(text, time // 1_000)
        except ValueError as error:
            raise InvalidUsageError("id", position, str(error)) from None
    return _event_id_array(len(column), bytes(found))


def work_ids(column: pa.Array) -> pa.Array:
    """Work ids as text; null if there is none."""
    column = _plain(column)
    if not (_is_text(column.type) or pa.types.is_null(column.type)):
        raise _wrong_type("work_id", column, "text")
    return pa.concat_arrays([pa.array([], pa.utf8()), column.cast(pa.utf8())])


def times(column: pa.Array, first_position: int) -> pa.Array:
    """Times in UTC, cut to the microsecond, from timestamps with a zone or ISO 8601 text with one."""
    column = _present(_plain(column), "occurred_at", first_position)
    if pa.types.is_timestamp(column.type):
        if column.type.tz is None:
            raise InvalidUsageError("occurred_at", None, "has no time zone; make it a timestamp in UTC, for example")
        if column.type.unit == "ns":
            return _exact(column.cast(_TIME, safe=False))
        return _exact(_cast(column, _TIME, "occurred_at", first_position, "is out of range"))
    if _is_text(column.type):
        expected = "is not an ISO 8601 time with a zone and at most 6 decimals, like 2026-03-01T12:00:00.000000Z"
        return _exact(_cast(column, _TIME, "occurred_at", first_position, expected))
    raise _wrong_type("occurred_at", column, "a timestamp with a time zone, or ISO 8601 text with one")


def units(column: pa.Array, first_position: int) -> pa.Array:
    """Units as 64-bit integers, from any whole numbers."""
    column = _present(_plain(column), "units", first_position)
    column = _wholes(column, "units", first_position)
    if not _is_integer(column.type):
        raise _wrong_type("units", column, "integers")
    return _exact(_cast(column, pa.int64(), "units", first_position, "does not fit 64 bits"))


def modes(column: pa.Array, first_position: int) -> pa.Array:
    """Modes as numbers, from numbers or the words of `MODES`."""
    column = _present(_plain(column), "mode", first_position)
    if _is_text(column.type):
        index = pc.index_in(column, value_set=pa.array(MODES, column.type))
        _require(index.is_valid(), "mode", first_position, f"is not one of {', '.join(MODES)}")
        column = pc.add(index, 1)
    column = _wholes(column, "mode", first_position)
    if not _is_integer(column.type):
        raise _wrong_type("mode", column, f"1, 2 or {', '.join(MODES)}")
    return _exact(_cast(column, pa.uint8(), "mode", first_position, "must be 1 (AI_ONLY) or 2 (HUMAN_AI)"))


def names(column: pa.Array, field: str, first_position: int) -> pa.Array:
    """The ids of collectives or sources per event, over a dictionary of just those that occur, sorted by bytes. A null
    list is empty.

    Raises:
        InvalidUsageError: the column is not one of lists of text, or a list has a null in it.
    """
    offsets, flat = _lists(column, field)
    if pa.types.is_dictionary(flat.type):
        _require_valid(flat.indices, offsets, field, first_position)
        encoded = flat.indices.dictionary_encode()
        codes, distinct = encoded.indices, _plain(flat.dictionary).take(encoded.dictionary)
    else:
        flat = _plain(flat)
        encoded = flat.dictionary_encode()
        codes, distinct = encoded.indices, encoded.dictionary
    if not (_is_text(distinct.type) or len(flat) == 0):
        raise InvalidUsageError(field, None, f"must be lists of text, got {column.type}")
    if codes.null_count or distinct.null_count:
        named = pc.and_(codes.is_valid(), distinct.is_valid().take(codes))
        _require_elements(pc.fill_null(named, False), offsets, field, first_position)
    # The dictionary of the input may repeat a value; that of a batch may not.
    codes, dictionary = _sorted_codes(codes, distinct.cast(pa.utf8()))
    indexed = pa.DictionaryArray.from_arrays(_exact(codes.cast(pa.int32())), dictionary)
    return pa.ListArray.from_arrays(offsets, indexed)


def has_pairs(data_type: pa.DataType) -> bool:
    """Whether a column's type is of lists of structs."""
    return _is_list(data_type) and bool(pa.types.is_struct(_unwrapped(data_type.value_type)))


def pairs(column: pa.Array, field: str, first_position: int) -> tuple[pa.Array, pa.Array]:
    """The names and the amounts of a column of lists of structs `{id, share}` (or `{id, score}`), as a column each.

    Raises:
        InvalidUsageError: the structs have other fields, or a list has a null in it.
    """
    amount = AMOUNT_OF_NAMES[field]
    offsets, flat = _lists(column, field)
    flat = _plain(flat)
    if sorted(part.name for part in flat.type) != sorted(("id", amount)):
        raise InvalidUsageError(field, None, f"must be lists of structs of id and {amount}, got {column.type}")
    _require_valid(flat, offsets, field, first_position)
    ids, amounts = (flat.field(flat.type.get_field_index(name)) for name in ("id", amount))
    return pa.ListArray.from_arrays(offsets, ids), pa.ListArray.from_arrays(offsets, amounts)


def shares(column: pa.Array, first_position: int) -> pa.Array:
    """Shares per event as 32-bit integers, from lists of any integers. A null list is empty."""
    offsets, flat = _lists(column, "shares")
    flat = _plain(flat)
    if not (_is_integer(flat.type) or len(flat) == 0):
        expected = "lists of integers, which are billionths: 0.9 is 900000000"
        raise InvalidUsageError("shares", None, f"must be {expected}; got {column.type}")
    _require_valid(flat, offsets, "shares", first_position)
    try:
        flat = flat.cast(pa.int32())
    except pa.ArrowInvalid:
        at = _first_failing(flat, lambda part: part.cast(pa.int32()))
        position = _event_of(at, offsets, first_position)
        raise InvalidUsageError("shares", position, f"{flat[at]} does not fit 32 bits") from None
    return pa.ListArray.from_arrays(offsets, _exact(flat))


def scores(column: pa.Array, first_position: int) -> pa.Array:
    """Scores per event as 64-bit floating-point numbers, from lists of any numbers. A null list is empty."""
    offsets, flat = _lists(column, "scores")
    flat = _plain(flat)
    if not (_is_integer(flat.type) or pa.types.is_floating(flat.type) or len(flat) == 0):
        raise InvalidUsageError("scores", None, f"must be lists of numbers, got {column.type}")
    _require_valid(flat, offsets, "scores", first_position)
    # An integer beyond 2^53 becomes the nearest of these numbers, as in any language that has only them.
    return pa.ListArray.from_arrays(offsets, _exact(flat.cast(pa.float64(), safe=False)))


def element_count(column: pa.Array, field: str) -> int:
    """How many elements all lists of a column have together."""
    _, flat = _lists(column, field)
    return len(flat)


def lengths(column: pa.Array, field: str) -> pa.Array:
    """How many elements each list of a column has, without looking at them."""
    if pa.types.is_null(column.type):
        return pa.array([0] * len(column), pa.int64())
    if not _is_list(column.type):
        raise _wrong_type(field, column, "lists")
    return pc.fill_null(pc.list_value_length(column), 0).cast(pa.int64())


def _sorted_codes(codes: pa.Array, values: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Codes into the sorted distinct `values`, and these. Arrow sorts text by its UTF-8 bytes."""
    encoded = values.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    rank = pc.inverse_permutation(order.cast(pa.int32()))
    return rank.take(encoded.indices).take(codes), encoded.dictionary.take(order)


def _lists(column: pa.Array, field: str) -> tuple[pa.Array, pa.Array]:
    """The offsets of a list column, from 0, and its elements without those under a null list."""
    if pa.types.is_null(column.type):
        return pa.array([0] * (len(column) + 1), pa.int32()), pa.array([], pa.null())
    if not _is_list(column.type):
        raise _wrong_type(field, column, "lists")
    ends = pc.cumulative_sum(lengths(column, field)).cast(pa.int32())
    return pa.concat_arrays([pa.array([0], pa.int32()), ends]), pc.list_flatten(column)


def _plain(column: pa.Array) -> pa.Array:
    """The same values without extension type, dictionary, run-end encoding or views."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = _plain(column.dictionary).take(column.indices)
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.large_utf8())
    if pa.types.is_binary_view(column.type):
        column = column.cast(pa.large_binary())
    return column


def _unwrapped(data_type: pa.DataType) -> pa.DataType:
    """A type without the encodings that `_plain` undoes."""
    while True:
        if isinstance(data_type, pa.BaseExtensionType):
            data_type = data_type.storage_type
        elif pa.types.is_dictionary(data_type) or pa.types.is_run_end_encoded(data_type):
            data_type = data_type.value_type
        else:
            return data_type


def _exact(column: pa.Array) -> pa.Array:
    """The same fixed-width column without nulls, over a buffer that holds nothing but its values."""
    width = column.type.byte_width
    values = column.buffers()[1]
    if values is None:
        return column
    values = values.slice(column.offset * width, len(column) * width)
    return pa.Array.from_buffers(column.type, len(column), [None, values])


def _bytes_of(column: pa.Array) -> bytes:
    """The bytes of all values of a text or binary column without nulls, one after the other."""
    if pa.types.is_fixed_size_binary(column.type):
        return bytes(column.buffers()[1])[column.offset * 16 : (column.offset + len(column)) * 16]
    joined = column.cast(pa.large_binary())
    if not len(joined):
        return b""
    ends = memoryview(joined.buffers()[1]).cast("q")
    return bytes(memoryview(joined.buffers()[2] or b"")[ends[joined.offset] : ends[joined.offset + len(joined)]])


def _event_id_array(length: int, data: bytes) -> pa.Array:
    return pa.Array.from_buffers(_EVENT_ID, length, [None, pa.py_buffer(data)])


def _present(column: pa.Array, field: str, first_position: int) -> pa.Array:
    if column.null_count:
        _require(column.is_valid(), field, first_position, "is missing")
    return column


def _require(ok: pa.Array, field: str, first_position: int, reason: str) -> None:
    at = pc.index(ok, False).as_py()
    if at >= 0:
        raise InvalidUsageError(field, first_position + at, reason)


def _require_valid(flat: pa.Array, offsets: pa.Array, field: str, first_position: int) -> None:
    if flat.null_count:  # Arrow knows; looking at each element takes a tenth of the time that a batch takes to be made
        _require_elements(flat.is_valid(), offsets, field, first_position)


def _require_elements(ok: pa.Array, offsets: pa.Array, field: str, first_position: int) -> None:
    at = pc.index(ok, False).as_py()
    if at >= 0:
        raise InvalidUsageError(field, _event_of(at, offsets, first_position), "contains a null")


def _event_of(element: int, offsets: pa.Array, first_position: int) -> int:
    return first_position + bisect_right(offsets.to_pylist(), element) - 1


def _wholes(column: pa.Array, field: str, first_position: int) -> pa.Array:
    """The integers in a column of decimals or floating-point numbers, as pandas makes of integers where rows lack one;
    other columns as they are.

    Raises:
        InvalidUsageError: a number has a fraction, or does not fit 64 bits.
    """
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if not (pa.types.is_floating(column.type) or (pa.types.is_decimal(column.type) and column.type.scale)):
        return column
    return _cast(column, pa.int64(), field, first_position, "is not a whole number of 64 bits")


def _cast(column: pa.Array, to: pa.DataType, field: str, first_position: int, reason: str) -> pa.Array:
    try:
        return column.cast(to)
    except pa.ArrowInvalid:
        at = _first_failing(column, lambda part: part.cast(to))
        raise InvalidUsageError(field, first_position + at, f"{_shown(column[at])!r} {reason}") from None


def _shown(value: pa.Scalar) -> str:
    try:
        return str(value)[:80]
    except (OverflowError, ValueError):  # a time that Python has none for
        return str(value.value)


def _first_failing(column: pa.Array, convert: Callable[[Any], object]) -> int:
    """The position of the first value that `convert` refuses, given that it refuses the column."""
    low, high = 0, len(column)
    while high - low > 1:
        middle = (low + high) // 2
        try:
            convert(column.slice(low, middle - low))
            low = middle
        except pa.ArrowInvalid:
            high = middle
    return low


def _wrong_type(field: str, column: pa.Array, expected: str) -> InvalidUsageError:
    return InvalidUsageError(field, None, f"must be {expected}, got {column.type}")


def _is_text(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(data_type) or pa.types.is_large_string(data_type))


def _is_binary(data_type: pa.DataType) -> bool:
    if pa.types.is_fixed_size_binary(data_type):
        return bool(data_type.byte_width == 16)  # noqa: PLR2004 - a UUID
    return bool(pa.types.is_binary(data_type) or pa.types.is_large_binary(data_type))


def _is_integer(data_type: pa.DataType) -> bool:
    # DuckDB gives its widest integers, such as sums, as decimals without a fraction.
    return bool(pa.types.is_integer(data_type) or (pa.types.is_decimal(data_type) and data_type.scale == 0))


def _is_list(data_type: pa.DataType) -> bool:
    return any(
        check(data_type)
        for check in (
            pa.types.is_list,
            pa.types.is_large_list,
            pa.types.is_fixed_size_list,
            pa.types.is_list_view,
            pa.types.is_large_list_view,
        )
    )
