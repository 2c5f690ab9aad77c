"""Editing rows behind the service's back: other values of a column, and single rows of any table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


def another(column: sa.Column[Any]) -> Any:
    """Another value than the column's, of its type, that the database takes."""
    match column.type:
        case sa.Text():
            allowed = {"status": "SUSPENDED", "key_kind": "CERTIFICATE"}
            return allowed.get(column.name, sa.func.coalesce(column, "") + "x")
        case sa.LargeBinary():
            return sa.func.set_byte(column, 0, sa.func.get_byte(column, 0).op("#")(1))
        case sa.DateTime():
            return sa.func.coalesce(column, sa.func.now()) + sa.text("interval '1 second'")
        case sa.ARRAY():
            return sa.func.array_append(column, "jazz")
        case pg.UUID():
            return sa.func.gen_random_uuid()
        case _:
            return ~column if isinstance(column.type, sa.Boolean) else column + 1000


def rows_of(connection: sa.Connection, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> Sequence[Any]:
    """What picks each of these rows, in the order of the primary key."""
    # Of the row's own partition, where the table has any.
    place: sa.ColumnClause[str] = sa.literal_column("tableoid || ' ' || ctid")
    query = sa.select(place).select_from(table).where(*conditions).order_by(*table.primary_key.columns)
    found = [row.split() for row in connection.execute(query).scalars()]
    assert found
    return [sa.literal_column(f"{table.name}.tableoid = {oid} AND {table.name}.ctid = '{ctid}'") for oid, ctid in found]
