"""`moiety db check` and `moiety db upgrade`: what is wrong with a schema or its privileges is named, and mended."""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from ledger.errors import StateError, StoreUnfitError
from ledger.store.desk import tables as desk
from ledger.store.postgres.database import Database
from ledger.store.tables import metadata
from services import schema
from services.cli.app import main
from services.process.embedded import embedded_postgres
from services.process.host import serving
from services.settings import load_settings
from tests.support.deployment import SteppedClock, as_owner, found_for_tests
from tests.support.engines import engine_at
from tests.support.scene import POOL, event, open_scene

SOUND: Final[dict[str, list[str]]] = {
    "pending": [], "unknown": [], "differences": [], "undistributed": [], "missing_privileges": [],
    "excess_privileges": [],
}  # fmt: skip


def found_after(url: str, *statements: str) -> dict[str, list[str]]:
    """What a check says after these statements, of which nothing stays."""
    engine = engine_at(url)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        found = schema.check(connection)
        connection.rollback()
    engine.dispose()
    return {kind: each for kind, each in found.items() if each}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["db", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)


def test_a_sound_schema_has_no_findings(shared_database_url: str) -> None:
    with as_owner(shared_database_url) as connection:
        assert schema.check(connection) == SOUND


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("GRANT UPDATE (entry, hash) ON leaf TO moiety_app", ["UPDATE of entry on leaf", "UPDATE of hash on leaf"]),
        ("GRANT UPDATE (amount_minor) ON balance TO moiety_app", ["UPDATE of amount_minor on balance"]),
        ("GRANT UPDATE ON head TO moiety_app", ["UPDATE on head"]),
        ("GRANT DELETE ON leaf TO PUBLIC", ["DELETE on leaf"]),
        ("GRANT TRIGGER ON leaf TO moiety_app", ["TRIGGER on leaf"]),
        ("GRANT REFERENCES (entry) ON leaf TO moiety_app", ["REFERENCES of entry on leaf"]),
        ("GRANT UPDATE ON alembic_version TO moiety_app", ["UPDATE on alembic_version"]),
        ("GRANT UPDATE ON SEQUENCE batch_number TO moiety_app", ["UPDATE on batch_number"]),
        ("GRANT CREATE ON SCHEMA public TO moiety_app", ["CREATE on the schema public"]),
        ("ALTER ROLE moiety_app CREATEROLE", ["the attribute CREATEROLE"]),
        ("ALTER ROLE moiety_app BYPASSRLS REPLICATION", ["the attribute REPLICATION", "the attribute BYPASSRLS"]),
        ("ALTER ROLE moiety_app SUPERUSER", ["the attribute SUPERUSER"]),
        ("GRANT pg_execute_server_program TO moiety_app", ["membership in pg_execute_server_program"]),
        (
            "GRANT pg_write_all_data TO moiety_app WITH INHERIT FALSE, SET TRUE",
            ["membership in pg_write_all_data"],
        ),
    ],
)
def test_a_privilege_beyond_what_the_service_needs_is_named(
    shared_database_url: str, statement: str, told: list[str]
) -> None:
    assert found_after(shared_database_url, statement) == {"excess_privileges": told}


def test_ownership_is_an_excess(shared_database_url: str) -> None:
    found = found_after(shared_database_url, "ALTER TABLE leaf OWNER TO moiety_app")
    assert "DELETE on leaf" in found["excess_privileges"]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("REVOKE INSERT ON leaf FROM moiety_app", "INSERT on leaf"),
        ("REVOKE UPDATE (size) ON head FROM moiety_app", "UPDATE of size on head"),
        ("REVOKE SELECT ON alembic_version FROM moiety_app", "SELECT on alembic_version"),
        ("REVOKE USAGE ON SEQUENCE batch_number FROM moiety_app", "USAGE on batch_number"),
    ],
)
def test_a_privilege_that_the_service_lacks_is_named(shared_database_url: str, statement: str, told: str) -> None:
    assert found_after(shared_database_url, statement) == {"missing_privileges": [told]}


NOTHING: Final = (
    "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.amount_minor := 1; RETURN NEW; END'"
)


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (["ALTER TABLE event DROP CONSTRAINT event_pkey"], ["table event: primary key is missing"]),
        (["ALTER TABLE balance DROP CONSTRAINT balance_pkey"], ["table balance: primary key is missing"]),
        (
            ["ALTER TABLE transfer DROP CONSTRAINT transfer_amount_check"],
            ["table transfer: check transfer_amount_check is missing"],
        ),
        (
            [
                "ALTER TABLE transfer DROP CONSTRAINT transfer_amount_check",
                "ALTER TABLE transfer ADD CONSTRAINT transfer_amount_check CHECK (amount_minor > -5)",
            ],
            ["table transfer: check transfer_amount_check is amount_minor > '-5'::integer, expected amount_minor > 0"],
        ),
        (
            [
                "ALTER TABLE transfer DROP CONSTRAINT transfer_amount_check",
                "ALTER TABLE transfer ADD CONSTRAINT transfer_amount_check CHECK (amount_minor > 0) NOT VALID",
            ],
            ["constraint transfer_amount_check is deferred or was never validated"],
        ),
        (
            ["ALTER TABLE batch DROP CONSTRAINT batch_pool_id_batch_number_key"],
            ["table batch: unique key batch_pool_id_batch_number_key is missing"],
        ),
        (
            ["DROP INDEX retraction_pool_id_batch_number_idx"],
            ["table retraction: index retraction_pool_id_batch_number_idx is missing"],
        ),
        (["ALTER TABLE leaf ADD COLUMN note text"], ["table leaf: column note is not expected"]),
        (
            ["ALTER TABLE leaf ALTER COLUMN entry DROP NOT NULL"],
            ["table leaf: column entry is BYTEA NULL, expected BYTEA NOT NULL"],
        ),
        (
            ["ALTER TABLE leaf ALTER COLUMN entry SET DEFAULT ''"],
            ["table leaf: column entry is BYTEA NOT NULL DEFAULT '\\x'::bytea, expected BYTEA NOT NULL"],
        ),
        (["ALTER TABLE leaf SET UNLOGGED"], ["table leaf is UNLOGGED: a crash empties it"]),
        (["ALTER TABLE leaf ENABLE ROW LEVEL SECURITY"], ["table leaf has row security, which hides rows"]),
        (
            [NOTHING, "CREATE TRIGGER one BEFORE INSERT ON transfer FOR EACH ROW EXECUTE FUNCTION nothing()"],
            ["trigger transfer: one is not expected", "function nothing is not expected"],
        ),
        (
            ["CREATE RULE none AS ON INSERT TO report DO INSTEAD NOTHING"],
            ["rule report: none is not expected"],
        ),
        (["ALTER SEQUENCE batch_number CYCLE"], ["sequence batch_number does not give each number once"]),
        (["DROP TABLE turn"], None),
        (["CREATE TABLE extra (x int)"], None),
    ],
)
def test_a_difference_from_the_declared_tables_is_named(
    shared_database_url: str, statements: list[str], told: list[str] | None
) -> None:
    found = found_after(shared_database_url, *statements)
    if told is None:
        assert found["differences"]
    else:
        assert found == {"differences": told}


@pytest.mark.usefixtures("environment")
def test_an_upgrade_mends_privileges_and_says_which(owner: sa.Engine, capsys: pytest.CaptureFixture[str]) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("REVOKE INSERT ON leaf FROM moiety_app")
        connection.exec_driver_sql("GRANT UPDATE (entry) ON leaf TO moiety_app")
    assert run("check") == 1
    told = capsys.readouterr().out
    assert told == "missing privilege: INSERT on leaf\nexcess privilege: UPDATE of entry on leaf\n"
    assert run("upgrade", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "schema": "up to date", "migrated": [], "distributed": [], "granted": ["INSERT on leaf"],
        "revoked": ["UPDATE of entry on leaf"],
    }  # fmt: skip
    assert run("check") == 0
    assert capsys.readouterr().out == "The schema is as expected.\n"
    assert run("upgrade") == 0
    assert capsys.readouterr().out == "The schema is up to date.\n"


def test_the_service_may_update_the_columns_that_it_updates_and_no_other(database_url: str) -> None:
    database = Database(database_url, connections=2)
    try:
        for table, columns in schema.UPDATABLE.items():
            for column in table.columns:
                statement = f'UPDATE "{table.name}" SET "{column.name}" = "{column.name}"'
                if column.name in columns:
                    with database.transaction() as connection:
                        connection.exec_driver_sql(statement)
                else:
                    with pytest.raises(StoreUnfitError), database.transaction() as connection:
                        connection.exec_driver_sql(statement)
    finally:
        database.close()
    assert {table.name for table in (*schema.APPEND_ONLY, *schema.UPDATABLE)} == set(metadata.tables)


@pytest.fixture
def restored(data_folder: Path) -> Iterator[str]:
    """A database as it is restored on another Postgres from a dump, which has no roles, and so no privileges."""
    with embedded_postgres(data_folder / "restored") as url:
        schema.upgrade(url)
        with as_owner(url) as connection:
            connection.exec_driver_sql("DROP OWNED BY moiety_app")
            connection.exec_driver_sql("DROP ROLE moiety_app")
        yield url


def start(url: str, clock: SteppedClock) -> StateError:
    with (
        pytest.raises(StateError) as caught,
        serving(load_settings(database_url=url, listen="127.0.0.1:0"), clock=clock),
    ):
        pass
    return caught.value


def test_a_restored_database_is_mended_by_an_upgrade(
    restored: str, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOIETY_DATABASE_URL", restored)
    assert start(restored, clock).kind == "ROLE_MISSING"
    assert run("check") == 1
    assert capsys.readouterr().out == "missing privilege: the role moiety_app\n"
    with as_owner(restored) as connection:
        connection.exec_driver_sql("CREATE ROLE moiety_app")
    refused = start(restored, clock)
    assert refused.kind == "PRIVILEGE_MISSING"
    assert "moiety db upgrade" in refused.detail
    assert run("check", "--json") == 1
    missing = json.loads(capsys.readouterr().out)["missing_privileges"]
    assert {"INSERT on leaf", "SELECT on alembic_version", "UPDATE of size on head"} <= set(missing)
    assert run("upgrade") == 0
    assert run("check") == 0
    found_for_tests(restored, clock)
    with serving(load_settings(database_url=restored, listen="127.0.0.1:0"), clock=clock) as running:
        assert running.address


def test_a_server_does_not_start_where_it_lacks_a_privilege(
    database_url: str, owner: sa.Engine, clock: SteppedClock
) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("REVOKE INSERT ON cosignature FROM moiety_app")
    refused = start(database_url, clock)
    assert refused.kind == "PRIVILEGE_MISSING"
    assert "INSERT on cosignature" in refused.detail


def test_a_server_does_not_start_where_its_role_was_not_taken(
    database_url: str, clock: SteppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler that drops options: the login, which may do more, would stay."""
    monkeypatch.setattr("ledger.store.postgres.database.open_engine", _without_role)
    assert start(database_url, clock).kind == "ROLE_NOT_TAKEN"


def _without_role(
    url: str, connections: int, _role: str | None, *, pooler: bool, observer: object, **options: Any
) -> sa.Engine:
    assert not pooler
    assert observer is None
    return engine_at(url, poolclass=sa.QueuePool, pool_size=connections, **options)


@pytest.mark.usefixtures("environment")
def test_a_schema_that_a_newer_version_made_is_told_as_that(
    database_url: str, owner: sa.Engine, clock: SteppedClock, capsys: pytest.CaptureFixture[str]
) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    refused = start(database_url, clock)
    assert (refused.kind, "9999" in refused.detail) == ("SCHEMA_NEW", True)
    assert run("check") == 1
    assert capsys.readouterr().out == "migration of a newer version of Moiety: 9999\n"
    assert run("upgrade") == 3
    assert "is at 9999, which a newer version of Moiety made" in capsys.readouterr().err


@pytest.fixture
def poor_owner(postgres: sa.Engine, database_url: str) -> Iterator[str]:
    """The URL of a login that owns the schema and may not do anything with roles."""
    name = f"owner_{os.getpid()}"
    database = sa.make_url(database_url).database
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
        connection.exec_driver_sql(f"GRANT moiety_app, moiety_desk TO {name}")
        connection.exec_driver_sql(f"ALTER DATABASE {database} OWNER TO {name}")
    with as_owner(database_url) as connection:
        for table in (*metadata.tables, "alembic_version"):
            connection.exec_driver_sql(f'ALTER TABLE "{table}" OWNER TO {name}')
        connection.exec_driver_sql(f"ALTER SEQUENCE batch_number OWNER TO {name}")
        connection.exec_driver_sql(f"ALTER SCHEMA desk OWNER TO {name}")
        for table in desk.metadata.tables:
            connection.exec_driver_sql(f"ALTER TABLE {table} OWNER TO {name}")
    yield sa.make_url(database_url).set(username=name).render_as_string(hide_password=False)
    with as_owner(database_url) as connection:
        connection.exec_driver_sql(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
        connection.exec_driver_sql(f"DROP OWNED BY {name}")
        connection.exec_driver_sql(f"DROP ROLE {name}")


def test_a_password_that_the_owner_may_not_set_is_in_no_traceback(poor_owner: str) -> None:
    schema.upgrade(poor_owner)
    password = "S3cret" + "AppPw"
    with pytest.raises(StateError) as caught:
        schema.upgrade(poor_owner, app_password=password)
    assert caught.value.kind == "PRIVILEGE_MISSING"
    text = "".join(traceback.format_exception(caught.value))
    assert password not in text
    assert "ALTER ROLE" not in text


def test_postgres_is_never_sent_the_password_itself(postgres: sa.Engine, database_url: str) -> None:
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        sent.append(f"{statement} {parameters}")

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        schema.upgrade(database_url, app_password="S3cretAppPw")
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
        with postgres.connect() as connection:
            connection.exec_driver_sql("ALTER ROLE moiety_app NOLOGIN PASSWORD NULL")
    assert any("SCRAM-SHA-256$" in statement for statement in sent)
    assert not any("S3cretAppPw" in statement for statement in sent)


def test_an_upgrade_with_data_keeps_it(database_url: str, deploy: Callable[..., Any]) -> None:
    scene = open_scene(deploy())
    scene.submit([event(1)], "b")
    schema.upgrade(database_url)
    assert scene.operator.get_log_head(POOL).size == 3
