"""The schema `desk`: who may do what in it, and whether it is as declared (`ledger.store.desk.tables`)."""

from __future__ import annotations

from typing import Final

import psycopg
import sqlalchemy as sa

from ledger.store.desk.tables import DESK_ROLE, SCHEMA, UPDATABLE, metadata
from ledger.store.postgres.faults import SERVICE_ROLE
from ledger.store.postgres.transactions import driver_connection

Held = set[tuple[str, str, str, str]]
"""Role, table, right and column; the column is empty for the whole table, and the table for the schema."""

_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def declared() -> Held:
    """What the two roles should have."""
    found: Held = {(role, "", "USAGE", "") for role in (SERVICE_ROLE, DESK_ROLE)}
    for table in metadata.tables.values():
        found |= {(SERVICE_ROLE, table.name, right, "") for right in ("SELECT", "INSERT")}
        found |= {(SERVICE_ROLE, table.name, "UPDATE", column) for column in UPDATABLE.get(table, ())}
        found |= {(DESK_ROLE, table.name, right, "") for right in ("SELECT", "DELETE")}
    return found


def ensure_role(connection: sa.Connection) -> None:
    """Create the role that deletes, if need be, and let the schema's owner take it."""
    # Roles belong to the whole Postgres: another of its databases may be migrated at this moment.
    connection.exec_driver_sql(f"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{DESK_ROLE}') THEN
                CREATE ROLE {DESK_ROLE} NOLOGIN;
            END IF;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
        END $$
    """)
    may_take = sa.select(sa.func.pg_has_role(sa.func.current_user(), DESK_ROLE, "SET"))
    if not connection.execute(may_take).scalar_one():
        connection.exec_driver_sql(f"GRANT {DESK_ROLE} TO CURRENT_USER")


def set_privileges(connection: sa.Connection) -> tuple[list[str], list[str]]:
    """Give both roles exactly what is declared; returns what they got, and what they lost."""
    before, wanted = _held(connection), declared()
    if before != wanted:
        roles = f"{SERVICE_ROLE}, {DESK_ROLE}"
        connection.exec_driver_sql(f"REVOKE ALL ON SCHEMA {SCHEMA} FROM {roles}")
        connection.exec_driver_sql(f"REVOKE ALL ON ALL TABLES IN SCHEMA {SCHEMA} FROM {roles}")
        for role, table, right, column in sorted(wanted):
            of = f"{SCHEMA}.{table}" if table else f"SCHEMA {SCHEMA}"
            connection.exec_driver_sql(f"GRANT {right}{f' ({column})' if column else ''} ON {of} TO {role}")
    after = _held(connection)
    return _said(after - before), _said(before - after)


def missing_privileges(connection: sa.Connection) -> list[str]:
    """What the roles may not do although they should. That the service's role is missing is said elsewhere."""
    held, query = _held(connection), "SELECT rolname FROM pg_roles"
    roles = {str(name) for (name,) in driver_connection(connection).execute(query).fetchall()}
    whole = {(role, table, right) for role, table, right, column in held if not column}
    lacking = {each for each in declared() - held if each[0] in roles and each[:3] not in whole}
    return [*([] if DESK_ROLE in roles else [f"the role {DESK_ROLE}"]), *_said(lacking)]


def excess_privileges(connection: sa.Connection) -> list[str]:
    """What the roles may do beyond what they should. That one is a superuser is said elsewhere."""
    query = "SELECT rolname FROM pg_roles WHERE rolsuper"
    superusers = {str(name) for (name,) in driver_connection(connection).execute(query).fetchall()}
    return _said({held for held in _held(connection) - declared() if held[0] not in superusers})


def tables_of(connection: sa.Connection) -> sa.MetaData:
    """The tables that the schema has in fact."""
    found = sa.MetaData()
    found.reflect(connection, schema=SCHEMA)
    return found


def _said(privileges: Held) -> list[str]:
    return [
        f"{right}{f' of {column}' if column else ''} on {SCHEMA}{f'.{table}' if table else ''}"
        f"{'' if role == SERVICE_ROLE else f' for {role}'}"
        for role, table, right, column in sorted(privileges)
    ]


_HELD: Final = """
    WITH role AS (SELECT rolname FROM pg_roles WHERE rolname = ANY (%(roles)s)),
    relation AS (
        SELECT oid, relname FROM pg_class
        WHERE relnamespace = to_regnamespace(%(schema)s) AND relkind IN ('r', 'p', 'v', 'm', 'f')
    )
    SELECT rolname, '', right_, '' FROM role, unnest(ARRAY['USAGE', 'CREATE']) AS right_
    WHERE to_regnamespace(%(schema)s) IS NOT NULL AND has_schema_privilege(rolname, %(schema)s, right_)
    UNION ALL
    SELECT rolname, relname, right_, '' FROM role, relation, unnest(%(rights)s::text[]) AS right_
    WHERE has_table_privilege(rolname, oid, right_)
    UNION ALL
    SELECT rolname, relname, right_, attname FROM role, relation
        JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS right_
    WHERE attacl IS NOT NULL AND NOT has_table_privilege(rolname, oid, right_)
        AND has_column_privilege(rolname, oid, attnum, right_)
"""


def _held(connection: sa.Connection) -> Held:
    asked = {"roles": [SERVICE_ROLE, DESK_ROLE], "schema": SCHEMA, "rights": list(_RIGHTS)}
    driver: psycopg.Connection[tuple[object, ...]] = driver_connection(connection)
    rows = driver.execute(_HELD, asked).fetchall()
    return {(str(role), str(table), str(right), str(column)) for role, table, right, column in rows}
