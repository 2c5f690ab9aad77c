"""Compares a database with the tables that the code declares, and finds additions that change what they mean."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from ledger.store.desk import tables as declared_desk
from ledger.store.tables import batch_number, metadata
from services.schema import desk
from services.schema.privileges import VERSION_TABLE

Facts = dict[tuple[str, str], str]
"""The facts about each part of the schema, such as ("table leaf", "column entry"): "BYTEA NOT NULL"."""


def differences(connection: sa.Connection) -> list[str]:
    """Returns the differences between the migrated schema and the declared one, a line each."""
    dialect = connection.dialect
    live = _live(connection) | _facts(desk.tables_of(connection), dialect)
    declared = _facts(metadata, dialect) | _facts(declared_desk.metadata, dialect)
    found = [
        _difference(place, live.get(place), declared.get(place))
        for place in sorted(live.keys() | declared.keys())
        if live.get(place) != declared.get(place)
    ]
    return [*found, *_oddities(connection)]


def _difference(place: tuple[str, str], live: str | None, declared: str | None) -> str:
    subject = ": ".join(part for part in place if part)
    if live is None:
        return f"{subject} is missing"
    if declared is None:
        return f"{subject} is not expected"
    return f"{subject} is {live}, expected {declared}"


def _live(connection: sa.Connection) -> Facts:
    inspector = sa.inspect(connection)
    found, apart = sa.MetaData(), _apart(connection)
    names = [name for name in inspector.get_table_names(schema="public") if name != VERSION_TABLE]
    with warnings.catch_warnings():
        # SQLAlchemy warns about what it reflects: a check that was never validated, which `_oddities` names.
        warnings.simplefilter("ignore", sa.exc.SAWarning)
        found.reflect(connection, only=[name for name in names if name not in apart])
    return _facts(found, connection.dialect)


def _apart(connection: sa.Connection) -> set[str]:
    """Tables that are not declared: partitions, and tables of extensions."""
    query = """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND (relispartition OR EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'))
    """
    return set(connection.exec_driver_sql(query).scalars())


def _facts(described: sa.MetaData, dialect: sa.Dialect) -> Facts:
    facts: Facts = {}
    for table in described.tables.values():
        subject = f"table {table.fullname}"
        facts[subject, ""] = "a table"
        facts[subject, "comment"] = table.comment or ""
        facts |= {(subject, part): said for part, said in _parts(table, dialect)}
    return facts


def _parts(table: sa.Table, dialect: sa.Dialect) -> Iterator[tuple[str, str]]:
    for column in table.columns:
        yield f"column {column.name}", _column(column, dialect)
    for constraint in table.constraints:
        match constraint:
            case sa.CheckConstraint():
                yield f"check {constraint.name}", str(constraint.sqltext)
            case sa.PrimaryKeyConstraint() if not constraint.columns:
                pass
            case sa.PrimaryKeyConstraint():
                yield "primary key", f"{constraint.name} ({', '.join(constraint.columns.keys())})"
            case sa.UniqueConstraint():
                yield f"unique key {constraint.name}", f"({', '.join(constraint.columns.keys())})"
            case _:
                yield f"constraint {constraint.name}", type(constraint).__name__
    for index in table.indexes:
        kind = "unique index" if index.unique else "index"
        yield f"{kind} {index.name}", f"({', '.join(str(each).rpartition('.')[2] for each in index.expressions)})"


def _column(column: sa.Column[Any], dialect: sa.Dialect) -> str:
    said = [column.type.compile(dialect=dialect), "NULL" if column.nullable else "NOT NULL"]
    if column.identity is not None:
        said.append(f"IDENTITY {'ALWAYS' if column.identity.always else 'BY DEFAULT'}")
    if isinstance(column.server_default, sa.DefaultClause):
        said.append(f"DEFAULT {column.server_default.arg}")
    return " ".join(said)


# Changes to the meaning of a table that are not part of its description. An extension that distributes tables has
# triggers of its own.
_ODDITIES: Final = {
    "table {} is UNLOGGED: a crash empties it": """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
            AND relkind IN ('r', 'p') AND relpersistence <> 'p'
    """,
    "table {} has row security, which hides rows": """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity
    """,
    "table {} inherits from another": """
        SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE relnamespace = 'public'::regnamespace AND NOT relispartition AND relkind = 'r'
    """,
    "trigger {} is not expected": """
        SELECT relname || ': ' || tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
        WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal AND NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = tgfoid AND deptype = 'e')
    """,
    "rule {} is not expected": """
        SELECT relname || ': ' || rulename FROM pg_rewrite JOIN pg_class ON pg_class.oid = ev_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
    """,
    "function {} is not expected": """
        SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e')
    """,
    "event trigger {} is not expected": "SELECT evtname FROM pg_event_trigger",
    "index {} is not valid": """
        SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE relnamespace = 'public'::regnamespace AND NOT (indisvalid AND indisready)
    """,
    "constraint {} is deferred or was never validated": """
        SELECT conname FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND (condeferrable OR NOT convalidated)
    """,
}


def _oddities(connection: sa.Connection) -> list[str]:
    found = [
        said.format(name)
        for said, query in _ODDITIES.items()
        for name in sorted(connection.exec_driver_sql(query).scalars())
    ]
    query = "SELECT data_type::text, increment_by, cycle FROM pg_sequences WHERE sequencename = %s"
    row = connection.exec_driver_sql(query, (batch_number.name,)).first()
    if row is None:
        return [*found, f"sequence {batch_number.name} is missing"]
    if tuple(row) != ("bigint", 1, False):
        found.append(f"sequence {batch_number.name} does not give each number once")
    return found
