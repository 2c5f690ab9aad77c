"""Parameters that are in Postgres's binary form already, for psycopg to pass on as they are.

They are registered before any connection is opened: one that is open takes no news of types.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.string import BytesBinaryDumper


class Value(bytes):
    """A value in Postgres's binary form; its column determines its type."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class BinaryArray:
    """An array in Postgres's binary form, and the number of its type."""

    type_number: int
    data: bytes


class InBinary(NamedTuple):
    """The parameters of a statement where all of them are in Postgres's binary form: nothing looks at each of them.

    Attributes:
        types: the number of each one's type; 0 where its column determines it.
    """

    values: Sequence[bytes]
    types: tuple[int, ...]


class _ValueDumper(BytesBinaryDumper):
    oid = 0
    """Unknown, so that Postgres takes the column's."""


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def get_key(self, obj: BinaryArray, _wanted: Any) -> Any:
        return BinaryArray, obj.type_number

    def upgrade(self, obj: BinaryArray, _wanted: Any) -> Dumper:
        dumper = _ArrayDumper(BinaryArray)
        dumper.oid = obj.type_number
        return dumper

    def dump(self, obj: BinaryArray) -> bytes:
        return obj.data


psycopg.adapters.register_dumper(Value, _ValueDumper)
psycopg.adapters.register_dumper(BinaryArray, _ArrayDumper)
