"""Upgrades while the service runs: two versions on one schema, tables in use, and rows from schema to schema."""

from __future__ import annotations

import ast
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Final

import pytest

import services
from ledger.errors import StateError
from services.process.host import serving
from services.schema import differences, migrating, upgrade
from services.settings import load_settings
from tests.support.deployment import Deployment, SteppedClock, as_owner
from tests.support.engines import engine_at
from tests.support.rehearsal import Schema, empty, fill, rows_of_each, schema_of
from tests.support.scene import event, open_scene

VERSIONS: Final = sorted((Path(services.__file__).parent / "migrations" / "versions").glob("[0-9]*.py"))
NUMBERS: Final = [path.name.partition("_")[0] for path in VERSIONS]

CARRY_NOTHING: Final = {"0007", "0024", "0028"}
"""Migrations that refuse a database with rows. Before the first release, what a log says took other forms."""

NEWER: Final = "9999"


def migrate_as_a_newer_version(url: str, since: str) -> None:
    """What the upgrade of a version to come does: it adds a column, an index and a table."""
    with as_owner(url) as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
        connection.exec_driver_sql("ALTER TABLE batch ADD COLUMN note text")
        connection.exec_driver_sql("CREATE TABLE notice_to_come (pool_id integer PRIMARY KEY)")
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{NEWER}'")
        migrating._note_compatible(connection, NEWER, since)


def test_this_version_serves_beside_a_newer_one_on_the_schema_of_that(
    deployment: Deployment, database_url: str, clock: SteppedClock
) -> None:
    """The server that runs goes on, and one that is started again, as after a crash, starts."""
    scene = open_scene(deployment)
    scene.submit([event(1)], "before")
    migrate_as_a_newer_version(database_url, since=NUMBERS[-1])
    scene.submit([event(2)], "after")
    with serving(load_settings(database_url=database_url, listen="127.0.0.1:0"), clock=clock) as running:
        assert running.address
    scene.pay_in(900, "january")
    scene.cut("january")
    with pytest.raises(StateError) as refused:
        upgrade(database_url)
    assert refused.value.kind == "SCHEMA_NEW"


@pytest.mark.parametrize("since", [NEWER, ""])
def test_this_version_does_not_start_on_a_schema_that_was_taken_from_it(
    database_url: str, clock: SteppedClock, since: str
) -> None:
    migrate_as_a_newer_version(database_url, since)
    settings = load_settings(database_url=database_url, listen="127.0.0.1:0")
    with pytest.raises(StateError) as refused, serving(settings, clock=clock):
        pass
    assert refused.value.kind == "SCHEMA_NEW"


def test_a_migration_lets_go_of_a_table_in_use_and_tries_again(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup or a check reads for long; a migration that waited for it would keep everybody else from the table."""
    upgrade(blank, to="0004")
    tried = Event()
    monkeypatch.setattr("services.schema.migrating.time.sleep", lambda _: tried.set())
    with ThreadPoolExecutor(1) as threads:
        with as_owner(blank) as reader:
            reader.exec_driver_sql("SELECT count(*) FROM event")
            upgrading = threads.submit(upgrade, blank, to="0005")
            assert tried.wait(240)
            with as_owner(blank) as other:
                other.exec_driver_sql("SET LOCAL lock_timeout = '30s'")
                other.exec_driver_sql("SELECT count(*) FROM event")
        assert upgrading.result().revisions == ["0005"]


def test_a_migration_gives_up_in_the_end_and_has_changed_nothing(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(blank, to="0004")
    monkeypatch.setattr(migrating, "LOCK_TRIES", 1)
    monkeypatch.setattr(migrating, "LOCK_PAUSE_SECONDS", 0)
    with as_owner(blank) as reader:
        reader.exec_driver_sql("SELECT count(*) FROM event")
        with pytest.raises(StateError, match="is in use by a long transaction") as refused:
            upgrade(blank)
    assert refused.value.kind == "LOCKED"
    assert upgrade(blank).revisions == NUMBERS[NUMBERS.index("0005") :]


def test_from_the_first_schema_to_the_last_each_migration_keeps_all_rows_or_refuses_them(blank: str) -> None:
    """A database with a row in each table goes all the way; where it may not go on, it is as it was before."""
    before, since = Schema({}, frozenset()), ""
    for number in NUMBERS:
        with as_owner(blank) as connection:
            fill(connection, before)
            rows = rows_of_each(connection, before)
        if number in CARRY_NOTHING:
            with pytest.raises(StateError, match="cannot carry over what") as refused:
                upgrade(blank, to=number)
            assert refused.value.kind == "NOT_CARRIED"
            with as_owner(blank) as connection:
                assert (schema_of(connection), rows_of_each(connection, before)) == (before, rows)
                empty(connection, before)
                rows = dict.fromkeys(rows, 0)
        assert upgrade(blank, to=number).revisions == [number]
        with as_owner(blank) as connection:
            after = schema_of(connection)
            kept = rows_of_each(connection, after)
        lost = {table for table, count in rows.items() if kept.get(table, 0) < count}
        assert not lost, f"migration {number} loses rows of {lost}"
        since = migrating._compatible_since(number)
        if since != number:
            assert after.takes_from(before) == [], f"migration {number} says that version {since} still serves"
        before = after
    upgrade(blank)
    with as_owner(blank) as connection:
        assert differences(connection) == []


def test_a_schema_that_takes_something_away_is_known_by_it(database_url: str) -> None:
    def taken_by(*statements: str) -> list[str]:
        engine = engine_at(database_url)
        with engine.connect() as connection:
            before = schema_of(connection)
            for statement in statements:
                connection.exec_driver_sql(statement)
            found = schema_of(connection).takes_from(before)
            connection.rollback()
        engine.dispose()
        return found

    assert taken_by("ALTER TABLE batch ADD note text", "CREATE TABLE other (number integer PRIMARY KEY)") == []
    assert taken_by("ALTER TABLE batch ADD note text NOT NULL DEFAULT ''") == []
    assert taken_by("ALTER TABLE batch ADD note text NOT NULL") == ["public.batch.note"]
    assert taken_by("ALTER TABLE batch DROP COLUMN body_sha256") == ["public.batch.body_sha256"]
    assert taken_by("ALTER TABLE batch ALTER batch_number DROP DEFAULT") == ["public.batch.batch_number"]
    assert taken_by("DROP TABLE movement")
    assert len(taken_by("CREATE UNIQUE INDEX ON batch (pool_id, body_sha256)")) == 1
    assert len(taken_by("ALTER TABLE batch ADD CHECK (leaf_index > 0)")) == 1


def test_a_table_that_is_too_large_is_changed_only_while_nobody_uses_it(
    blank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Making the key of events anew keeps everybody from them, for as long as it takes."""
    upgrade(blank, to="0004")
    with as_owner(blank) as connection:
        connection.exec_driver_sql("INSERT INTO event SELECT 1, 1, gen_random_uuid(), 1 FROM generate_series(1, 50000)")
    monkeypatch.setattr(migrating, "STATEMENT_LONGEST", "10ms")
    with pytest.raises(StateError, match="moiety db upgrade --stopped") as refused:
        upgrade(blank, to="0005")
    assert (refused.value.kind, refused.value.subject) == ("TAKES_LONG", "migration 0005")
    assert upgrade(blank, to="0005", stopped=True).revisions == ["0005"]


@pytest.mark.parametrize("path", VERSIONS, ids=NUMBERS)
def test_a_migration_says_how_it_is_undone(path: Path) -> None:
    assert re.search(r"^Undo: \w.*", ast.get_docstring(ast.parse(path.read_text())) or "", re.MULTILINE | re.DOTALL)


def test_no_migration_gives_the_schema_back_to_versions_from_which_an_earlier_one_took_it() -> None:
    since = [migrating._compatible_since(number) for number in NUMBERS]
    assert since == sorted(since)
    assert all(oldest <= number for oldest, number in zip(since, NUMBERS, strict=True))
