"""What the service's role may do: Postgres enforces immutability by privileges alone.

The role may read and insert, and update the few columns that are named here. What it may do in fact is asked of
Postgres itself, so that a grant to PUBLIC, of one column or by way of another role counts too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa
from psycopg import sql

import ledger.store.tables
import payout.store.tables
from ledger.store.postgres.faults import SERVICE_ROLE
from ledger.store.postgres.transactions import driver_connection
from ledger.store.tables import batch_number, metadata

APPEND_ONLY: Final = (*ledger.store.tables.APPEND_ONLY, *payout.store.tables.APPEND_ONLY)
UPDATABLE: Final[Mapping[sa.Table, tuple[str, ...]]] = {
    **ledger.store.tables.UPDATABLE,
    **payout.store.tables.UPDATABLE,
}

VERSION_TABLE: Final = "alembic_version"
SCHEMA_USAGE: Final = "USAGE on the schema public"

_OF_TABLES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
_MAINTAIN_SINCE: Final = 170_000
"""The version of Postgres that has the privilege MAINTAIN."""

_ATTRIBUTES: Final = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}


@dataclass(frozen=True, slots=True, order=True)
class Privilege:
    """A privilege on a relation, or on one of its columns."""

    relation: str
    right: str
    column: str = ""

    def __str__(self) -> str:
        return f"{self.right}{f' of {self.column}' if self.column else ''} on {self.relation}"


def declared(relation: str) -> set[Privilege]:
    """What the role should have on a relation."""
    table = metadata.tables.get(relation)
    if relation == VERSION_TABLE:
        return {Privilege(relation, "SELECT")}
    if relation == batch_number.name:
        return {Privilege(relation, "USAGE")}
    if table is None:
        return set()
    columns = UPDATABLE.get(table, ())
    return {
        Privilege(relation, "SELECT"),
        Privilege(relation, "INSERT"),
        *(Privilege(relation, "UPDATE", column) for column in columns),
    }


def missing_privileges(connection: sa.Connection) -> list[str]:
    """What the service's role may not do although it should, such as `INSERT on leaf`; empty where nothing."""
    if not _role_exists(connection):
        return [f"the role {SERVICE_ROLE}"]
    found = [] if may_use_schema(connection) else [SCHEMA_USAGE]
    if is_cluster(connection) and not _may_log_in(connection):
        found.append("LOGIN, by which the nodes of a cluster reach each other")
    held = _held(connection)
    whole = {(each.relation, each.right) for each in held if not each.column}
    wanted = {each for relation in (*metadata.tables, VERSION_TABLE, batch_number.name) for each in declared(relation)}
    lacking = (each for each in wanted - held if (each.relation, each.right) not in whole)
    return [*found, *map(str, sorted(lacking))]


def may_use_schema(connection: sa.Connection) -> bool:
    """Whether the service's role may use the schema at all."""
    return _has_schema_privilege(connection, "USAGE")


def excess_privileges(connection: sa.Connection) -> list[str]:
    """What the service's role may do beyond what it should, such as `DELETE on leaf`; empty where nothing."""
    if not _role_exists(connection):
        return []
    attributes = _excess_attributes(connection)
    if "the attribute SUPERUSER" in attributes:  # which may do everything
        return attributes
    excess = sorted(each for each in _held(connection) if each not in declared(each.relation))
    found = [*attributes, *_memberships(connection)]
    if _has_schema_privilege(connection, "CREATE"):
        found.append("CREATE on the schema public")
    if connection.execute(sa.select(sa.func.has_database_privilege(SERVICE_ROLE, _DATABASE, "CREATE"))).scalar_one():
        found.append("CREATE on the database")
    return [*found, *map(str, excess)]


def ensure_role(connection: sa.Connection) -> None:
    """Create the service's role if need be, and let the schema's owner take it."""
    if not _role_exists(connection):
        # Roles belong to the whole Postgres: another of its databases may be migrated at this moment.
        connection.exec_driver_sql(f"""
            DO $$ BEGIN
                CREATE ROLE {SERVICE_ROLE} NOLOGIN;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
            END $$
        """)
    may_take = sa.select(sa.func.pg_has_role(sa.func.current_user(), SERVICE_ROLE, "SET"))
    if not connection.execute(may_take).scalar_one():
        connection.exec_driver_sql(f"GRANT {SERVICE_ROLE} TO CURRENT_USER")


def set_privileges(connection: sa.Connection, *, again: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Give the service's role exactly what is declared, on our own tables; returns what it got, and what it lost.

    Those named in `again` are granted on in any case: they were just distributed, and their parts know no grant yet.
    What others granted to PUBLIC, or the role has by being a member of another, stays: `excess_privileges` names it.
    """
    before = _held(connection)
    if not may_use_schema(connection):
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA public TO {SERVICE_ROLE}")
    for relation in (*metadata.tables, VERSION_TABLE, batch_number.name):
        if relation in again or {each for each in before if each.relation == relation} != declared(relation):
            _grant(connection, relation, declared(relation))
    after = _held(connection)
    return list(map(str, sorted(after - before))), list(map(str, sorted(before - after)))


def set_password(connection: sa.Connection, password: str) -> None:
    """Let the service's role log in with a password, of which Postgres and its log see the verifier alone."""
    driver = driver_connection(connection)
    verifier = driver.pgconn.encrypt_password(password.encode(), SERVICE_ROLE.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(SERVICE_ROLE), sql.Literal(verifier))
    connection.exec_driver_sql(statement.as_string(driver))


_DATABASE: Final = sa.func.current_database()


def _grant(connection: sa.Connection, relation: str, privileges: Iterable[Privilege]) -> None:
    quoted = connection.dialect.identifier_preparer.quote(relation)
    of = f"SEQUENCE {quoted}" if relation == batch_number.name else quoted
    connection.exec_driver_sql(f"REVOKE ALL ON {of} FROM {SERVICE_ROLE}")
    rights = ", ".join(f"{each.right} ({each.column})" if each.column else each.right for each in privileges)
    connection.exec_driver_sql(f"GRANT {rights} ON {of} TO {SERVICE_ROLE}")


# What extensions brought is their own business. Nobody needs a right to a partition: its table's is enough.
_HELD: Final = """
    WITH relation AS (
        SELECT oid, relname, relkind FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT EXISTS (
            SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e')
    )
    SELECT relname, privilege, '' FROM relation, unnest(%(of_tables)s::text[]) AS privilege
    WHERE relkind <> 'S' AND has_table_privilege(%(role)s::name, oid, privilege)
    UNION ALL
    SELECT relname, privilege, attname FROM relation
        JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped,
        unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS privilege
    WHERE relkind <> 'S' AND attacl IS NOT NULL AND NOT has_table_privilege(%(role)s::name, oid, privilege)
        AND has_column_privilege(%(role)s::name, oid, attnum, privilege)
    UNION ALL
    SELECT relname, privilege, '' FROM relation, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) AS privilege
    WHERE relkind = 'S' AND has_sequence_privilege(%(role)s::name, oid, privilege)
"""


def _held(connection: sa.Connection) -> set[Privilege]:
    driver = driver_connection(connection)
    of_tables = [*_OF_TABLES, *(["MAINTAIN"] if driver.info.server_version >= _MAINTAIN_SINCE else [])]
    rows = driver.execute(_HELD, {"role": SERVICE_ROLE, "of_tables": of_tables}).fetchall()
    return {Privilege(str(relation), str(right), str(column)) for relation, right, column in rows}


def _role_exists(connection: sa.Connection) -> bool:
    query = "SELECT FROM pg_roles WHERE rolname = %s"
    return bool(driver_connection(connection).execute(query, (SERVICE_ROLE,)).rowcount)


def is_cluster(connection: sa.Connection) -> bool:
    """Whether this is a Citus cluster, seen from one of its nodes."""
    return bool(driver_connection(connection).execute("SELECT FROM pg_extension WHERE extname = 'citus'").rowcount)


def _may_log_in(connection: sa.Connection) -> bool:
    query = "SELECT FROM pg_roles WHERE rolname = %s AND rolcanlogin"
    return bool(driver_connection(connection).execute(query, (SERVICE_ROLE,)).rowcount)


def _has_schema_privilege(connection: sa.Connection, right: str) -> bool:
    return bool(connection.execute(sa.select(sa.func.has_schema_privilege(SERVICE_ROLE, "public", right))).scalar_one())


def _excess_attributes(connection: sa.Connection) -> list[str]:
    columns = [sa.column(name, sa.Boolean) for name in _ATTRIBUTES]
    query = sa.select(*columns).select_from(sa.table("pg_roles")).where(sa.column("rolname") == SERVICE_ROLE)
    row = connection.execute(query).one()
    return [f"the attribute {said}" for held, said in zip(row, _ATTRIBUTES.values(), strict=True) if held]


def _memberships(connection: sa.Connection) -> list[str]:
    query = "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = to_regrole(%s) ORDER BY 1"
    rows = driver_connection(connection).execute(query, (SERVICE_ROLE,)).fetchall()
    return [f"membership in {role}" for (role,) in rows]
