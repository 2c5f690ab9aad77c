"""An export as tables that expressions are written over, and what becomes of an expression."""

from __future__ import annotations

from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import ibis
from ibis.expr.types import Table, Value

from moiety.errors import MoietyError

WHOLE: Final = "decimal(38, 0)"
"""The type of whole numbers beyond 2^63, which every engine has and none of them rounds."""

WHOLE_LIMIT: Final = 10**38
"""What a whole number must stay below."""

Row = dict[str, Any]


class AnalysisError(MoietyError):
    """An export cannot answer. `subject` is what was asked about, `reason` says why not."""

    def __init__(self, subject: str, reason: str) -> None:
        super().__init__(subject, reason)
        self.subject = subject
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Export:
    """The tables of an export, of one pool or of several. docs/analysis.md has their columns."""

    pools: Table
    policies: Table
    methods: Table
    memberships: Table
    batches: Table
    events: Table
    retractions: Table
    reports: Table
    receipts: Table
    matches: Table
    reversals: Table
    waivers: Table
    tariffs: Table
    bookings: Table
    rounds: Table
    registry: Table
    allocations: Table
    decisions: Table
    postings: Table
    transfers: Table
    leaves: Table

    def of(self, pool: str) -> Export:
        """Its tables for one pool."""
        tables = {name: getattr(self, name) for name in TABLES}
        return Export(**{name: table.filter(table["pool"] == pool) for name, table in tables.items()})


TABLES: Final = tuple(field.name for field in fields(Export))
"""The names of the tables."""


def open_export(folder: str | Path, connection: Any = None) -> Export:
    """The tables that `moiety export --parquet` wrote to a folder.

    Nothing is read before an expression is asked for its rows.

    Args:
        folder: where the export is.
        connection: an Ibis backend that can read the folder, such as `ibis.pyspark.connect(session)`; by default DuckDB
            in this process.
    """
    backend = ibis.duckdb.connect() if connection is None else connection
    return Export(**{name: _read(backend, f"{folder}/{name}") for name in TABLES})


def _read(backend: Any, folder: str) -> Table:
    # Spark finds the pools in the names of folders by itself; DuckDB wants to be told where files are, and that an id
    # is text.
    if backend.name == "duckdb":
        return backend.read_parquet(f"{folder}/*/*.parquet", hive_partitioning=True, hive_types_autocast=False)
    return backend.read_parquet(folder)


def rows(expression: Table) -> list[Row]:
    """The rows of an expression; whole numbers are ints, whatever their size."""
    backend = expression.get_backend()
    if backend.name == "pyspark":
        # Ibis would take the rows through pandas, which has no whole numbers with nulls among them.
        found = backend.raw_sql(backend.compile(expression)).toArrow()
    else:
        found = expression.to_pyarrow()
    return [{name: _int(value) for name, value in row.items()} for row in found.to_pylist()]


def whole(value: Value) -> Any:
    """The value as a whole number."""
    return value.cast(WHOLE)


def total(value: Value) -> Any:
    """The sum of whole numbers as one; zero over nothing."""
    # Ibis gives a sum of whole numbers two decimals, which would take two digits from it.
    return whole(ibis.coalesce(whole(whole(value).sum()), ibis.literal(0).cast(WHOLE)))


def _int(value: Any) -> Any:
    if isinstance(value, Decimal):
        if value != value.to_integral_value():
            raise AnalysisError("a column", f"{value} is not a whole number")
        return int(value)
    return value
