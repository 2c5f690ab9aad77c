"""Rows as Postgres has them, and what it has that no row of ours can: such a value is reported, and the check goes on.

Where the constraints of a table were dropped, or rows were written by hand, a column may be null that may not be, a
time be `infinity` or before the year 1, a text be no UTF-8. The rest of the check reads rows of the types of their
columns, so each such value is reported here, and one of the column's type is handed on that no sound row has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from itertools import count
from typing import Any, Final
from uuid import UUID

import psycopg
import sqlalchemy as sa
from psycopg import abc
from psycopg.adapt import Transformer
from psycopg.pq import Format
from psycopg.rows import dict_row

from audit.fsck.report import CheckReport, shown_row
from ledger.store.postgres.transactions import driver_connection

Row = dict[str, Any]
"""Values by column, without the pool's number."""

_CHUNK_ROWS: Final = 1000

_NUMBERS: Final = count()
"""Of cursors: each has a name of its own."""

_INSTEAD: Final[Mapping[type, object]] = {
    bool: False,
    int: -1,
    Decimal: -1,
    str: "",
    bytes: b"",
    list: (),
    UUID: UUID(int=0),
    date: date.min,
    datetime: datetime.min.replace(tzinfo=UTC),
}
"""By the type of a column, what is read in place of a value that it cannot have."""


def stored_rows(
    connection: sa.Connection, query: sa.Select[Any], report: CheckReport, *, chunk_rows: int = _CHUNK_ROWS
) -> Iterator[Row]:
    """The rows of a query, read a chunk at a time; `report` is told of values that their columns cannot have.

    By the driver itself, in binary: as text bytes are twice as long, and SQLAlchemy's rows take as long again.
    """
    asked, columns = query.compile(dialect=connection.dialect), list(query.selected_columns)
    numerics = [column.name for column in columns if isinstance(column.type, sa.Numeric)]
    driver = driver_connection(connection)
    # Not in a `with`: what leaves rows unread may be thrown away as garbage in the middle of another statement, where
    # closing would wait for that without end. The transaction's end closes it then.
    cursor = driver.cursor(f"stored_rows_{next(_NUMBERS)}", binary=True, row_factory=dict_row)
    cursor.execute(asked.string, asked.params)
    is_over = False
    try:
        while not is_over:
            chunk = _fetched(cursor, chunk_rows)
            is_over = len(chunk) < chunk_rows
            if is_over:
                cursor.close()
            for row in chunk:
                for name in numerics:
                    row[name] = _plain(row[name])
                if None in row.values():
                    _replace_impossible(row, columns, report)
                yield row
    finally:
        cursor._closed = True  # noqa: SLF001  # or psycopg warns of one that is left open


def read_by_index(connection: sa.Connection) -> None:
    """For the rest of the transaction, have rows of a pool found by its number, with which every key begins.

    Where a few pools share a table, Postgres would else read all of it for each of them.
    """
    connection.execute(sa.select(sa.func.set_config("enable_seqscan", "off", True)))


def columns_of(table: sa.Table) -> list[sa.Column[Any]]:
    """Every column but the pool's number."""
    return [column for column in table.columns if column.name != "pool_id"]


@cache
def key_of(table: sa.Table) -> list[str]:
    """The names of the columns by which people tell a table's rows apart.

    Those of the primary key, without the pool's number; and the name, where the key is the store's own number.
    """
    key = [column.name for column in table.primary_key.columns if column.identity is None and column.name != "pool_id"]
    return key or [column.name for column in table.columns if column.name == "name"]


@dataclass(frozen=True, slots=True, eq=False)
class _Unreadable:
    """A value that Postgres has and Python has not."""

    said: str

    def __eq__(self, other: object) -> bool:
        """As null does, so that rows with either are found at once."""
        return other is None

    def __hash__(self) -> int:
        return hash(None)

    def __str__(self) -> str:
        return self.said


def _fetched(cursor: psycopg.ServerCursor[Row], rows: int) -> Sequence[Row]:
    """The next rows. Only where the driver cannot read a value of these, each is read by itself."""
    try:
        return cursor.fetchmany(rows)
    except (psycopg.DataError, UnicodeDecodeError) as error:
        result, reader = cursor.pgresult, Transformer(cursor)
        if result is None or getattr(error, "sqlstate", None):  # Postgres itself says so, and has sent no rows
            raise
        columns = [(place, column.name, column.type_code) for place, column in enumerate(cursor.description or ())]
        return [
            {name: _read(cursor, reader, kind, result.get_value(row, place)) for place, name, kind in columns}
            for row in range(result.ntuples)
        ]


def _read(cursor: psycopg.ServerCursor[Row], reader: abc.Transformer, kind: int, value: bytes | None) -> object:
    if value is None:
        return None
    try:
        return reader.get_loader(kind, Format.BINARY).load(value)
    except psycopg.DataError:
        # Of a time or a day alone, which Postgres reads whatever it is: an error would end the transaction.
        asked = cursor.connection.pgconn.exec_params(b"SELECT $1::text", [value], [kind], [Format.BINARY])
        return _Unreadable((asked.get_value(0, 0) or b"").decode())
    except UnicodeDecodeError:
        return _Unreadable(bytes(value).decode(errors="backslashreplace"))


def _replace_impossible(row: Row, columns: Sequence[sa.ColumnElement[Any]], report: CheckReport) -> None:
    """Report the values of a row that their columns cannot have, and put others in their place."""
    found = {}
    for column in columns:
        value = row[column.name]
        if isinstance(value, _Unreadable) or (value is None and not getattr(column, "nullable", False)):
            found[column] = value
    if not found:
        return
    (table,) = {column.table for column in columns if isinstance(column, sa.Column)}
    key = shown_row(row, [name for name in key_of(table) if name in row])
    for column, value in found.items():
        if isinstance(column, sa.Column):
            expected = "a value" if value is None else "a value that the service can read"
            report.add(table.fullname, key, column.name, value, expected)
        row[column.name] = _INSTEAD[column.type.python_type]


def _plain(value: Any) -> Any:
    is_whole = type(value) is Decimal and value.is_finite() and value == value.to_integral_value()
    return int(value) if is_whole else value
