"""The migrated schema: what the code's tables say, in the shape that lets it be spread by pool."""

from __future__ import annotations

import base64
import hmac
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import pbkdf2_hmac, sha256
from pathlib import Path
from typing import Final

import psycopg
import pytest
import sqlalchemy as sa

import services
from ledger.errors import StateError, StoreUnfitError
from ledger.store.postgres.database import Database
from ledger.store.tables import metadata
from services.cli.base.exits import Exit
from services.process.embedded import embedded_postgres
from services.process.host import serving
from services.schema import (
    APPEND_ONLY,
    UPDATABLE,
    differences,
    excess_privileges,
    missing_privileges,
    pending_revisions,
    upgrade,
)
from services.schema.migrating import _MIGRATION_LOCK
from services.settings import load_settings
from tests.support.deployment import Deployment, SteppedClock, as_owner, found_for_tests
from tests.support.scene import POOL, event, open_scene

REFERENCE_TABLES: Final = {
    "platform",
    "collective",
    "collective_domain",
    "platform_limit",
    "api_key",
    "payee",
    "bank_account",
    "pay_run",
    "planned_payment",
    "bank_message",
    "payment_event",
    "bank_line",
    "bank_match",
    "webhook",
    "alembic_version",
}
"""Small, and in every place where a pool is."""

VERSIONS: Final = Path(services.__file__).parent / "migrations" / "versions"
MIGRATIONS: Final = sorted(path.name.partition("_")[0] for path in VERSIONS.glob("[0-9]*.py"))


CATALOG: Final = {
    "columns": """
        SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default, is_identity,
            identity_generation, numeric_precision, numeric_scale, character_maximum_length, datetime_precision
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
    """,
    "constraints": """
        SELECT conrelid::regclass::text, conname, contype, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
    """,
    "indexes": """
        SELECT tablename, indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    """,
    "sequences": """
        SELECT sequencename, data_type::text, start_value, increment_by, cache_size, cycle FROM pg_sequences
        WHERE schemaname = 'public'
    """,
    "comments": """
        SELECT relname, obj_description(oid) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version'
    """,
}


def catalog(connection: sa.Connection) -> dict[str, list[tuple[object, ...]]]:
    """Everything that Postgres knows of the schema, however it came about."""
    return {
        kind: sorted((tuple(row) for row in connection.execute(sa.text(query))), key=repr)
        for kind, query in CATALOG.items()
    }


def test_the_migrated_schema_is_what_the_code_s_tables_say(database_url: str, blank: str) -> None:
    with as_owner(database_url) as connection:
        assert differences(connection) == []
        migrated = catalog(connection)
    with as_owner(blank) as connection:
        metadata.create_all(connection)
        declared = catalog(connection)
    for kind, found in migrated.items():
        assert found == declared[kind], kind
        assert found, kind


def test_a_difference_is_found(database_url: str) -> None:
    with as_owner(database_url) as connection:
        connection.exec_driver_sql("ALTER TABLE leaf ADD COLUMN note text")
        connection.exec_driver_sql("ALTER TABLE transfer ALTER COLUMN amount_minor TYPE integer")
        assert len(differences(connection)) == 2


def test_upgrading_again_changes_nothing(database_url: str, deployment: Deployment) -> None:
    open_scene(deployment).submit([event(1)], "b")
    with as_owner(database_url) as connection:
        before = catalog(connection)
        assert pending_revisions(connection) == []
    upgrade(database_url)
    with as_owner(database_url) as connection:
        assert catalog(connection) == before
        assert connection.exec_driver_sql("SELECT count(*) FROM event").scalar_one() == 1
        assert connection.exec_driver_sql("SELECT count(*) FROM alembic_version").scalar_one() == 1


def test_two_processes_that_upgrade_at_once_take_turns(blank: str) -> None:
    environment = {**os.environ, "MOIETY_DATABASE_URL": blank}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "services.cli", "db", "upgrade"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    with as_owner(blank) as connection:
        assert differences(connection) == []
        assert pending_revisions(connection) == []


def test_limits_that_the_database_has_for_others_do_not_end_a_migration(blank: str) -> None:
    with as_owner(blank) as connection:
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.exec_driver_sql(f"ALTER DATABASE {connection.engine.url.database} SET {name} = '200ms'")
    with ThreadPoolExecutor(1) as other:
        with as_owner(blank) as connection:
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            upgrading = other.submit(upgrade, blank)
            with pytest.raises(TimeoutError):
                upgrading.result(timeout=1)
        assert upgrading.result(timeout=120).revisions == MIGRATIONS


def test_a_service_does_not_start_on_a_schema_that_is_behind(blank: str, clock: SteppedClock) -> None:
    settings = load_settings(database_url=blank, listen="127.0.0.1:0")
    with pytest.raises(StateError) as caught, serving(settings, clock=clock):
        pass
    assert caught.value.kind == "SCHEMA_OLD"
    with as_owner(blank) as connection:
        assert pending_revisions(connection) == MIGRATIONS


@pytest.mark.parametrize("command", ["serve", "schedule"])
def test_a_service_that_meets_a_lock_at_its_start_says_that_it_may_work_later(database_url: str, command: str) -> None:
    url = sa.make_url(database_url).update_query_dict({"options": "-c lock_timeout=100ms"})
    environment = {**os.environ, "MOIETY_DATABASE_URL": url.render_as_string(hide_password=False)}
    with as_owner(database_url) as connection:
        connection.exec_driver_sql("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        starting = [sys.executable, "-m", "services.cli", command]
        done = subprocess.run(starting, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, "another transaction holds a lock" in done.stderr) == (Exit.SERVICE_AWAY, True), (
        done.stderr
    )


def test_a_service_on_a_postgres_that_was_never_migrated_says_what_to_do(
    data_folder: Path, clock: SteppedClock
) -> None:
    with embedded_postgres(data_folder / "blank") as url:
        settings = load_settings(database_url=url, listen="127.0.0.1:0")
        with pytest.raises(StateError, match="run `moiety db upgrade`") as caught, serving(settings, clock=clock):
            pass
    assert caught.value.kind == "ROLE_MISSING"


def test_every_table_of_a_pool_has_its_number_first_in_every_key(database_url: str) -> None:
    query = """
        SELECT relation.relname, key.relname,
            (SELECT array_agg(attname ORDER BY place) FROM unnest(indkey::int[]) WITH ORDINALITY AS k (number, place)
                JOIN pg_attribute ON attrelid = indrelid AND attnum = number) AS columns
        FROM pg_index JOIN pg_class AS relation ON relation.oid = indrelid JOIN pg_class AS key ON key.oid = indexrelid
        WHERE relation.relnamespace = 'public'::regnamespace
    """
    with as_owner(database_url) as connection:
        keys = connection.execute(sa.text(query)).all()
        foreign = connection.execute(sa.text("SELECT count(*) FROM pg_constraint WHERE contype = 'f'")).scalar_one()
    tables = {table for table, _, _ in keys}
    assert tables == {*metadata.tables, "alembic_version"}
    assert [
        (table, key)
        for table, key, columns in keys
        if table not in {*REFERENCE_TABLES, "pool", "people"} and columns[0] != "pool_id"
    ] == []
    assert foreign == 0


def test_no_rule_depends_on_a_trigger(database_url: str) -> None:
    with as_owner(database_url) as connection:
        for query in (
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal",
            "SELECT rulename FROM pg_rules WHERE schemaname = 'public'",
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
            "SELECT evtname FROM pg_event_trigger",
        ):
            assert connection.exec_driver_sql(query).all() == []


def test_the_service_s_role_may_do_exactly_what_it_needs(database_url: str) -> None:
    query = "SELECT table_name, privilege_type FROM information_schema.role_table_grants WHERE grantee = :grantee"
    query += " AND table_schema = 'public'"
    with as_owner(database_url) as connection:
        assert excess_privileges(connection) == missing_privileges(connection) == []
        granted = {tuple(row) for row in connection.execute(sa.text(query), {"grantee": "moiety_app"})}
        public = connection.execute(sa.text(query), {"grantee": "PUBLIC"}).all()
        columns = connection.exec_driver_sql(
            "SELECT table_name, column_name FROM information_schema.column_privileges "
            "WHERE grantee = 'moiety_app' AND privilege_type = 'UPDATE' AND table_schema = 'public'"
        )
        updated = {tuple(row) for row in columns}
    wanted = {(table.name, right) for table in (*APPEND_ONLY, *UPDATABLE) for right in ("SELECT", "INSERT")}
    assert granted == wanted | {("alembic_version", "SELECT")}
    assert updated == {(table.name, column) for table, columns in UPDATABLE.items() for column in columns}
    assert public == []


def scram_verifies(stored: str, password: str) -> bool:
    """Whether a password fits a SCRAM-SHA-256 verifier (RFC 5803), as Postgres stores it."""
    scheme, rounds_and_salt, keys = stored.split("$")
    rounds, salt = rounds_and_salt.split(":")
    salted = pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return scheme == "SCRAM-SHA-256" and sha256(client_key).digest() == base64.b64decode(keys.split(":")[0])


@pytest.mark.parametrize("password", ["s3cret", "p%s'\"\\ $$ :x; --"])
def test_with_a_password_the_service_s_role_logs_in_and_without_it_does_not(
    postgres: sa.Engine, database_url: str, clock: SteppedClock, password: str
) -> None:
    own = sa.make_url(database_url).set(username="moiety_app", password=password).render_as_string(hide_password=False)
    plain = sa.make_url(own).set(drivername="postgresql", password=None).render_as_string()
    with postgres.connect() as connection:
        connection.exec_driver_sql("ALTER ROLE moiety_app NOLOGIN PASSWORD NULL")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        psycopg.connect(plain)
    try:
        upgrade(database_url, app_password=password)
        with postgres.connect() as connection:
            query = "SELECT rolpassword FROM pg_authid WHERE rolname = 'moiety_app'"
            stored = connection.exec_driver_sql(query).scalar_one()
        assert scram_verifies(stored, password)
        assert not scram_verifies(stored, password + "x")
        database = Database(own, connections=2)
        with database.transaction() as found:
            assert found.exec_driver_sql("SELECT session_user").scalar_one() == "moiety_app"
            assert pending_revisions(found) == []
        database.close()
        found_for_tests(own, clock)
        with serving(load_settings(database_url=own, listen="127.0.0.1:0"), clock=clock) as running:
            assert running.address
    finally:
        with postgres.connect() as connection:
            connection.exec_driver_sql("ALTER ROLE moiety_app NOLOGIN PASSWORD NULL")


def test_the_service_works_as_a_role_that_owns_nothing(
    postgres: sa.Engine, database_url: str, deployment: Deployment
) -> None:
    """A login that is only a member of the service's role, as operators make them."""
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE app_{os.getpid()} LOGIN IN ROLE moiety_app")
    try:
        scene = open_scene(deployment)
        own = sa.make_url(database_url).set(username=f"app_{os.getpid()}").render_as_string(hide_password=False)
        database = Database(own, connections=2)
        with database.transaction() as found:
            assert (
                found.exec_driver_sql("SELECT count(*) FROM leaf WHERE pool_id = 1").scalar_one()
                == scene.operator.get_log_head(POOL).size
            )
        with pytest.raises(StoreUnfitError), database.transaction() as found:
            found.exec_driver_sql("DELETE FROM leaf")
        with database.transaction() as found:
            found.exec_driver_sql("RESET ROLE")
            with pytest.raises(sa.exc.ProgrammingError):
                found.exec_driver_sql("UPDATE leaf SET entry = ''")
        database.close()
    finally:
        with postgres.connect() as connection:
            connection.exec_driver_sql(f"DROP ROLE app_{os.getpid()}")
