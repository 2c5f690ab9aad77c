"""Inserts many rows at once, in Postgres's binary form, since psycopg would look up the type of each value.

A few rows are inserted with VALUES, which a distributed database sends to the row's node in one phase; for more, arrays
cost less. This is raw SQL because it runs for every batch, and SQLAlchemy takes longer to compile it than Postgres to
run it.

Source: `array_recv` of PostgreSQL, and the type numbers in its catalog `pg_type`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from ledger.store.postgres.transactions import ask
from ledger.store.postgres.values import BinaryArray, InBinary

VALUES_MAX: Final = 16
"""Up to this many rows are inserted with VALUES: on one node 10 take 7 % less time than arrays, 30 a third more."""

_PARAMETERS_MAX: Final = 50
"""In one statement with VALUES: the fewer different statements there are, the sooner all of them are prepared."""

_ARRAY_HEADER: Final = struct.Struct(">5i")
"""Dimensions, whether there are nulls, the number of the values' type, their count, the index of the first one."""


@dataclass(frozen=True, slots=True)
class _Type:
    """The numbers of a type and of its arrays, and the casts for a value or an array that needs another type."""

    number: int
    array_number: int
    cast: str = ""
    array_cast: str = ""


_INT2: Final = _Type(21, 1005)
_INT4: Final = _Type(23, 1007)
_INT8: Final = _Type(20, 1016)
_UUID: Final = _Type(2950, 2951)
_BYTEA: Final = _Type(17, 1001)
_TEXT: Final = _Type(25, 1009)
_NUMERIC: Final = _Type(25, 1009, "::text::numeric", "::numeric[]")


@dataclass(frozen=True, slots=True)
class Column:
    """The values of a column: (n,) of one size each, or byte strings."""

    type: _Type
    values: npt.NDArray[Any] | Sequence[bytes]

    def __len__(self) -> int:
        return len(self.values)

    def as_array(self) -> BinaryArray:
        """All of them as one array."""
        data: bytes
        if isinstance(self.values, np.ndarray):
            rows = np.empty(len(self.values), dtype=[("bytes", ">i4"), ("value", self.values.dtype)])
            rows["bytes"], rows["value"] = self.values.dtype.itemsize, self.values
            data = rows.tobytes()
        else:
            data = b"".join(part for value in self.values for part in (len(value).to_bytes(4, "big"), value))
        header = _ARRAY_HEADER.pack(1, 0, self.type.number, len(self.values), 1)
        return BinaryArray(self.type.array_number, header + data)

    def each(self) -> list[bytes]:
        """Each of them by itself."""
        if not isinstance(self.values, np.ndarray):
            return list(self.values)
        data, size = self.values.tobytes(), self.values.dtype.itemsize
        return [data[at : at + size] for at in range(0, len(data), size)]


def int2s(values: Sequence[int]) -> Column:
    """(n,) as `smallint`."""
    return Column(_INT2, np.array(values, dtype=">i2"))


def int4s(values: Sequence[int] | npt.NDArray[Any]) -> Column:
    """(n,) as `integer`."""
    return Column(_INT4, np.asarray(values, dtype=">i4"))


def int8s(values: Sequence[int] | npt.NDArray[Any]) -> Column:
    """(n,) as `bigint`."""
    return Column(_INT8, np.asarray(values, dtype=">i8"))


def uuids(values: npt.NDArray[np.void]) -> Column:
    """(n,) of 16 bytes each (`V16`) as `uuid`."""
    return Column(_UUID, values)


def byteas(values: Sequence[bytes]) -> Column:
    """Byte strings as `bytea`."""
    return Column(_BYTEA, values)


def texts(values: Iterable[str]) -> Column:
    """Texts as `text`."""
    return Column(_TEXT, [value.encode() for value in values])


def numerics(values: Iterable[int]) -> Column:
    """Whole numbers of any size as `numeric`."""
    return Column(_NUMERIC, [str(value).encode() for value in values])


def put_rows(
    connection: sa.Connection,
    table: sa.Table,
    pool_id: int,
    columns: Mapping[str, Column],
    *,
    unless_there: bool = False,
) -> None:
    """Insert a pool's rows, given by column; with `unless_there`, rows whose key is taken are left out.

    In a pipeline an error may be raised by a later statement.
    """
    count = len(next(iter(columns.values())))
    if not count:
        return
    names, types = tuple(columns), tuple(column.type for column in columns.values())
    pool = pool_id.to_bytes(4, "big", signed=True)
    if count > VALUES_MAX:
        arrays = [column.as_array() for column in columns.values()]
        asked = InBinary([pool, *(each.data for each in arrays)], (0, *(each.type_number for each in arrays)))
        ask(connection, _by_arrays(table.name, names, types, unless_there), asked)
        return
    rows = list(zip(*(column.each() for column in columns.values()), strict=True))
    at_once = max(1, _PARAMETERS_MAX // (1 + len(names)))
    for start in range(0, count, at_once):
        part = rows[start : start + at_once]
        parameters = [value for row in part for value in (pool, *row)]
        asked = InBinary(parameters, (0,) * len(parameters))
        ask(connection, _by_values(table.name, names, types, len(part), unless_there), asked)


Names = tuple[str, ...]


@lru_cache(maxsize=1024)
def _by_values(table: str, names: Names, types: tuple[_Type, ...], count: int, unless_there: bool) -> str:
    row = f"(%b, {', '.join(f'%b{each.cast}' for each in types)})"
    return f"{_into(table, names)} VALUES {', '.join([row] * count)}{_tail(unless_there)}"


@lru_cache(maxsize=1024)
def _by_arrays(table: str, names: Names, types: tuple[_Type, ...], unless_there: bool) -> str:
    rows = f"unnest({', '.join(f'%b{each.array_cast}' for each in types)})"
    return f"{_into(table, names)} SELECT %b, * FROM {rows}{_tail(unless_there)}"  # noqa: S608  # names of our tables


def _into(table: str, names: Names) -> str:
    return f'INSERT INTO "{table}" (pool_id, {", ".join(names)})'


def _tail(unless_there: bool) -> str:  # it is one of two
    return " ON CONFLICT DO NOTHING" if unless_there else ""
