"""What a table may be, and its rows as an Arrow stream."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import pyarrow as pa

from moiety.errors import InvalidUsageError

_NO_COLUMN: Final = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""What Arrow raises for values that make no column."""


class ArrowStreamable(Protocol):
    """A table that offers itself as an Arrow stream: of pandas, polars, pyarrow, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class ArrowArrayable(Protocol):
    """A table that offers itself as one Arrow struct array: a pyarrow record batch, for example."""

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]: ...


class Collectable(Protocol):
    """A table that is computed when it is asked for: a LazyFrame of polars."""

    def collect(self) -> Any: ...


ArrowTable = ArrowStreamable | ArrowArrayable | Collectable | Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""What goes in everywhere where a table does: whatever offers itself to Arrow, a LazyFrame of polars, a mapping of
column names to values, and a sequence of rows as mappings. So do a dataset and a scanner of pyarrow, which is untyped.
"""


def reader_of(table: ArrowTable) -> pa.RecordBatchReader:
    """Return a table as an Arrow stream of its rows, whatever its columns.

    Raises:
        TypeError: it is no table.
        InvalidUsageError: Arrow cannot make a table of its values; it names the column and row where it can.
    """
    if isinstance(table, pa.RecordBatchReader):  # taken as it is, so that errors of what feeds it stay what they are
        return table
    try:
        if hasattr(table, "__arrow_c_stream__"):
            return pa.RecordBatchReader.from_stream(table)
        if hasattr(table, "__arrow_c_array__"):
            batch = pa.record_batch(table)
            return pa.RecordBatchReader.from_batches(batch.schema, [batch])
    except pa.ArrowException as error:  # a lone column, or one of pandas that holds values of several types
        raise InvalidUsageError("table", None, f"cannot be read by Arrow: {_said(error)}") from None
    return _other_reader(table)


def _other_reader(table: Any) -> pa.RecordBatchReader:
    """A reader of what is a table and does not say so."""
    if type(table).__name__ == "LazyFrame":  # of polars
        return reader_of(table.collect())
    if hasattr(table, "scanner"):  # a dataset of pyarrow
        table = table.scanner()
    if hasattr(table, "to_reader"):
        return table.to_reader()
    if isinstance(table, Mapping) or (isinstance(table, Sequence) and all(isinstance(row, Mapping) for row in table)):
        return _columns(table if isinstance(table, Mapping) else _by_column(table)).to_reader()
    raise TypeError(
        f"{type(table).__name__} is no table. Give one that Arrow reads (pandas, polars, pyarrow, DuckDB: it has"
        " __arrow_c_stream__), a mapping of columns, a list of rows, or moiety.batch_of(events)"
    )


def _by_column(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values of rows by column. Arrow would leave out what the first row lacks."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _columns(values: Mapping[str, Any]) -> pa.Table:
    """A table of columns.

    Raises:
        InvalidUsageError: the values of one make no column, or the columns are not of one length.
    """
    made: dict[str, Any] = {}
    for name, column in values.items():
        if not isinstance(name, str):
            raise InvalidUsageError("table", None, f"has a column whose name is not text: {name!r}")
        try:
            made[name] = pa.table({name: column}).column(0)
        except _NO_COLUMN as error:
            raise InvalidUsageError(name, _first_unlike(column), f"cannot be made a column: {_said(error)}") from None
    try:
        return pa.table(made)
    except pa.ArrowException as error:
        raise InvalidUsageError("table", None, f"has columns of several lengths: {_said(error)}") from None


def _first_unlike(column: Any) -> int | None:
    """The place of the first value that makes no column with those before it; None where it has no places."""

    def is_unlike(place: int) -> bool:
        try:
            pa.array(column[: place + 1])
        except _NO_COLUMN:
            return True
        return False

    return bisect_left(range(len(column)), True, key=is_unlike) if isinstance(column, Sequence) else None


def _said(error: Exception) -> str:
    """What an error says. Those of pandas have an argument for what is wrong and one for the column."""
    return "; ".join(str(part) for part in error.args) if isinstance(error, pa.ArrowException) else str(error)
