"""Upgrades while the service runs: two versions on one schema, tables in use, and rows from schema to schema."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, Final

import pytest
import sqlalchemy as sa

import services
from ledger.errors import StateError
from ledger.store.database import as_driver_url
from services.process.host import serving
from services.schema import differences, migrating, upgrade
from services.settings import load_settings
from tests.support.deployment import Deployment, SteppedClock, fresh_database
from tests.support.scene import event, open_scene

VERSIONS: Final = sorted((Path(services.__file__).parent / "migrations" / "versions").glob("[0-9]*.py"))
NUMBERS: Final = [path.name.partition("_")[0] for path in VERSIONS]

FIRST_KEPT: Final = "0028"
"""The first schema whose rows every later one keeps. Before the first release, schemas were changed without regard for
what they held."""

NEWER: Final = "9999"


@contextmanager
def as_owner(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(as_driver_url(url), poolclass=sa.NullPool)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def blank(postgres: sa.Engine) -> Iterator[str]:
    """A database with nothing in it."""
    with fresh_database(postgres, template="template1") as url:
        yield url


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
            assert tried.wait(60)
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


def test_every_schema_keeps_the_rows_of_the_one_before(blank: str) -> None:
    upgrade(blank, to=FIRST_KEPT)
    filled: dict[str, int] = {}
    for number in [*NUMBERS[NUMBERS.index(FIRST_KEPT) + 1 :], ""]:
        with as_owner(blank) as connection:
            filled |= _fill(connection, filled)
        if number:
            assert upgrade(blank, to=number).revisions == [number]
    upgrade(blank)
    with as_owner(blank) as connection:
        assert {table: _count(connection, table) for table in filled} == filled
        assert differences(connection) == []


def _count(connection: sa.Connection, table: str) -> int:
    return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


_VALUES: Final[dict[type[Any], Callable[[], str]]] = {
    sa.Boolean: lambda: "false",
    sa.Integer: lambda: "1",
    sa.Numeric: lambda: "1",
    sa.Text: lambda: "'EUR'",
    sa.LargeBinary: lambda: r"'\x00'",
    sa.DateTime: lambda: "now()",
    sa.Date: lambda: "now()",
    sa.Uuid: lambda: "gen_random_uuid()",
    sa.ARRAY: lambda: "'{}'",
    sa.JSON: lambda: "'{}'",
}


def _fill(connection: sa.Connection, filled: dict[str, int]) -> dict[str, int]:
    """Put a row into each table that is new."""
    found = {}
    for schema in ("public", "desk"):
        reflected = sa.MetaData()
        reflected.reflect(connection, schema=schema)
        for table in reflected.tables.values():
            if table.fullname not in filled and table.name != "alembic_version":
                _insert(connection, table)
                found[table.fullname] = _count(connection, table.fullname)
    return found


_WORDS: Final = {"status": "'ACTIVE'"}
"""What checks let into some columns."""


def _of_type(type_: Any) -> str:
    return next(make() for kind, make in _VALUES.items() if isinstance(type_, kind))


def _insert(connection: sa.Connection, table: sa.Table) -> None:
    columns = [column for column in table.columns if column.server_default is None and column.identity is None]
    values = [_WORDS.get(each.name) or _of_type(each.type) for each in columns]
    names = ", ".join(f'"{column.name}"' for column in columns)
    connection.exec_driver_sql(f"INSERT INTO {table.fullname} ({names}) VALUES ({', '.join(values)})")


@pytest.mark.parametrize("path", VERSIONS, ids=NUMBERS)
def test_a_migration_says_how_it_is_undone(path: Path) -> None:
    assert re.search(r"^Undo: \w.*", ast.get_docstring(ast.parse(path.read_text())) or "", re.MULTILINE | re.DOTALL)


def test_no_migration_gives_the_schema_back_to_versions_from_which_an_earlier_one_took_it() -> None:
    since = [migrating._compatible_since(number) for number in NUMBERS]
    assert since == sorted(since)
    assert all(oldest <= number for oldest, number in zip(since, NUMBERS, strict=True))
