"""A database on its way from schema to schema: what it holds, and what a version that writes to it relies on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

_COLUMNS: Final = """
    SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) AS table_name, quote_ident(column_name) AS name,
        data_type AS type, is_nullable = 'YES' AS nullable,
        column_default IS NOT NULL OR is_identity = 'YES' AS is_made
    FROM information_schema.columns
    WHERE table_schema IN ('public', 'desk') AND table_name <> 'alembic_version'
    ORDER BY 1, ordinal_position
"""

# What Postgres refuses rows by: keys, checks, and indexes that allow a value once.
_RULES: Final = """
    SELECT conrelid::regclass::text || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'desk')) AND contype <> 'n'
    UNION
    SELECT indrelid::regclass::text || ' ' || pg_get_indexdef(indexrelid) FROM pg_index
    WHERE indisunique AND NOT indisprimary AND indrelid IN (
        SELECT pg_class.oid FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname IN ('public', 'desk')
    )
"""

_VALUES: Final = {
    "ARRAY": "'{}'",
    "bigint": "1",
    "boolean": "false",
    "bytea": r"'\x00'",
    "date": "now()",
    "integer": "1",
    "json": "'{}'",
    "jsonb": "'{}'",
    "numeric": "1",
    "smallint": "1",
    "text": "'EUR'",
    "timestamp with time zone": "now()",
    "uuid": "gen_random_uuid()",
}


_WORDS: Final = {"status": "'ACTIVE'", "key_kind": "'SECRET'"}
"""What checks let into some columns."""


@dataclass(frozen=True)
class Column:
    """A column as a version sees it that writes rows without knowing of later columns."""

    type: str
    nullable: bool
    is_made: bool
    """Whether Postgres makes a value where none is given."""


@dataclass(frozen=True)
class Schema:
    """The columns of each table, and the rules that its rows keep."""

    tables: dict[str, dict[str, Column]]
    rules: frozenset[str]

    def takes_from(self, before: Schema) -> list[str]:
        """What a version that was made for the schema before can no longer do on this one."""
        found = []
        for table, columns in before.tables.items():
            now = self.tables.get(table, {})
            found += [f"{table}.{name}" for name, column in columns.items() if now.get(name) != column]
            added = {name: column for name, column in now.items() if name not in columns}
            found += [f"{table}.{name}" for name, new in added.items() if not (new.nullable or new.is_made)]
        old = {table.removeprefix("public.") for table in before.tables}
        new_rules = {rule for rule in self.rules - before.rules if rule.split(" ", 1)[0].strip('"') in old}
        return found + sorted(before.rules - self.rules) + sorted(new_rules)


def schema_of(connection: sa.Connection) -> Schema:
    """The schema as it is."""
    tables: dict[str, dict[str, Column]] = {}
    for row in connection.exec_driver_sql(_COLUMNS):
        tables.setdefault(row.table_name, {})[row.name] = Column(row.type, row.nullable, row.is_made)
    return Schema(tables, frozenset(connection.exec_driver_sql(_RULES).scalars()))


def fill(connection: sa.Connection, schema: Schema) -> None:
    """Put a row into each table that has none."""
    counts = rows_of_each(connection, schema)
    for table in (each for each, count in counts.items() if not count):
        asked = {name: column for name, column in schema.tables[table].items() if not column.is_made}
        values = [
            (column.type == "text" and _WORDS.get(name)) or _VALUES[column.type] for name, column in asked.items()
        ]
        connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(asked)}) VALUES ({', '.join(values)})")


def rows_of_each(connection: sa.Connection, schema: Schema) -> dict[str, int]:
    """How many rows each table has."""
    counts = " UNION ALL ".join(f"SELECT '{table}', count(*) FROM {table}" for table in schema.tables)
    return {row[0]: row[1] for row in connection.exec_driver_sql(counts)} if schema.tables else {}


def empty(connection: sa.Connection, schema: Schema) -> None:
    """Take all rows out."""
    connection.exec_driver_sql(f"TRUNCATE {', '.join(schema.tables)}")
