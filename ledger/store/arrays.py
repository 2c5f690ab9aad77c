"""Arrays as Postgres reads them in binary, made all at once: psycopg would ask each value for its type.

Source: `array_recv` of PostgreSQL, and the type numbers in its catalog `pg_type`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER: Final = struct.Struct(">5i")
"""Dimensions, whether there are nulls, the number of the values' type, how many there are, the first one's index."""


@dataclass(frozen=True, slots=True)
class BinaryArray:
    """An array as Postgres reads it, and the number of its type."""

    type_number: int
    data: bytes


def int4_array(values: Sequence[int] | npt.NDArray[Any]) -> BinaryArray:
    """(n,) as `int[]`."""
    return _of_one_size(1007, 23, np.asarray(values, dtype=">i4"))


def int8_array(values: Sequence[int] | npt.NDArray[Any]) -> BinaryArray:
    """(n,) as `bigint[]`."""
    return _of_one_size(1016, 20, np.asarray(values, dtype=">i8"))


def uuid_array(values: npt.NDArray[np.void]) -> BinaryArray:
    """(n,) of 16 bytes each (`V16`) as `uuid[]`."""
    return _of_one_size(2951, 2950, values)


def bytea_array(values: Sequence[bytes]) -> BinaryArray:
    """Byte strings as `bytea[]`."""
    return _of_any_size(1001, 17, values)


def text_array(values: Iterable[str]) -> BinaryArray:
    """Texts as `text[]`."""
    return _of_any_size(1009, 25, [value.encode() for value in values])


def _of_one_size(array_type: int, value_type: int, values: npt.NDArray[Any]) -> BinaryArray:
    rows = np.empty(len(values), dtype=[("bytes", ">i4"), ("value", values.dtype)])
    rows["bytes"], rows["value"] = values.dtype.itemsize, values
    return BinaryArray(array_type, _header(value_type, len(values)) + rows.tobytes())


def _of_any_size(array_type: int, value_type: int, values: Sequence[bytes]) -> BinaryArray:
    parts = [part for value in values for part in (len(value).to_bytes(4, "big"), value)]
    return BinaryArray(array_type, b"".join([_header(value_type, len(values)), *parts]))


def _header(value_type: int, count: int) -> bytes:
    return _HEADER.pack(1, 0, value_type, count, 1)


class _BinaryArrayDumper(Dumper):
    format = Format.BINARY

    def get_key(self, obj: BinaryArray, _wanted: Any) -> Any:
        return BinaryArray, obj.type_number

    def upgrade(self, obj: BinaryArray, _wanted: Any) -> Dumper:
        dumper = _BinaryArrayDumper(BinaryArray)
        dumper.oid = obj.type_number
        return dumper

    def dump(self, obj: BinaryArray) -> bytes:
        return obj.data


psycopg.adapters.register_dumper(BinaryArray, _BinaryArrayDumper)
