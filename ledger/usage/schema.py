"""The columns that a batch may have, and the Arrow types that each may be of."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

import pyarrow as pa

from ledger.errors import InvalidInputError
from ledger.usage.validity import Levels, levels_of

ID_BYTES: Final = 16
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


_refuse: Final = InvalidInputError.of

_SCHEMA_BYTES: Final = 2**14
"""The longest schema whose check is remembered; ours has about a kilobyte."""


def checked_schema(message: bytes, kind: Kind) -> Levels:
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
        return bool(found.byte_width == ID_BYTES)
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
