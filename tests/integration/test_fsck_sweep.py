"""The check of the live database looks at every column of every table; the page lists what it cannot know."""

from __future__ import annotations

import gc
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from ledger.store.desk.vault import add_key
from ledger.store.tables import metadata
from tests.support.deployment import START, SteppedClock, deployed
from tests.support.fsck_everything import build_everything, check_everything
from tests.support.tampering import another, rows_of

pytestmark = pytest.mark.surface

PAGE: Final = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(scope="module", autouse=True)
def scene(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    key = tmp_path_factory.mktemp("sweep") / "payee-key"
    add_key(key)
    settings: dict[str, Any] = {"payee_key_file": key, "webhook_networks": "127.0.0.0/8", "webhook_http": True}
    with deployed(shared_database_url, SteppedClock(START), **settings) as deployment:
        build_everything(deployment)


@pytest.fixture
def tampering(shared_owner: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction of the database's owner, of which nothing stays."""
    with shared_owner.connect() as connection:
        yield connection
        connection.rollback()


FOLLOWED_FROM: Final = ("leaf", "head", "body", "pool", "platform", "collective")
"""Tables by which it is told what others must have: where they are wrong, the others may not be checked."""

Edit = Callable[[sa.Connection, sa.Column[Any]], None]
"""Does something to a column of one row."""


def found(connection: sa.Connection) -> dict[tuple[str, str], str]:
    """What each (table, figure) is said to have that is found."""
    reports = check_everything(connection)
    return {(each.where.table, each.figure): each.claimed for report in reports for each in report.findings}


def unfound(connection: sa.Connection, edit: Edit, columns: Sequence[sa.Column[Any]], *, named: bool) -> set[str]:
    """The columns whose edit is not found: in the table of that name and, if it is to be `named`, as this column.

    Those of many tables are edited at once, for that takes a few checks of the database and not hundreds. What is not
    found so is edited by itself.
    """
    of_tables = defaultdict(list)
    for column in columns:
        if column.table.name not in FOLLOWED_FROM:
            of_tables[column.table.name].append(column)
    together = [[column for column in each if column is not None] for each in zip_longest(*of_tables.values())]
    together += [[column] for column in columns if column.table.name in FOLLOWED_FROM]
    left = [column for each in together for column in _unfound(connection, edit, each, named=named)]
    return {str(column) for column in left if _unfound(connection, edit, [column], named=named)}


def _unfound(
    connection: sa.Connection, edit: Edit, columns: Sequence[sa.Column[Any]], *, named: bool
) -> list[sa.Column[Any]]:
    savepoint = connection.begin_nested()
    for column in columns:
        edit(connection, column)
    figures = found(connection)
    gc.collect()  # Cursors that a check left in the middle close themselves while Postgres still has them.
    savepoint.rollback()
    # By itself an edit is what all findings are about: of a pool's number, that rows are of no pool.
    tables = {column.table.name for column in columns} if figures and len(columns) == 1 else {t for t, _ in figures}
    is_found = {
        column: (column.table.name, column.name) in figures if named else column.table.name in tables
        for column in columns
    }
    return [column for column in columns if not is_found[column]]


def unknowable() -> set[str]:
    """The tables and columns, such as `usage_day` and `checkpoint.created_at`, that the page lists as not checked."""
    _, _, said = PAGE.read_text().partition("What is not in a log cannot be checked:")
    return set(re.findall(r"`([\w.]+)`", said.partition("\n\n")[2].partition("\n\n")[0]))


def a_row(connection: sa.Connection, table: sa.Table) -> Any:
    """Picks a row with some before it and some after it, where there are so many."""
    wanted = [table.c.bytes != b""] if "bytes" in table.columns else []
    rows = rows_of(connection, table, *wanted)
    return rows[len(rows) // 2]


def test_a_sound_database_has_no_findings_and_rows_in_every_table(tampering: sa.Connection) -> None:
    reports = check_everything(tampering)
    assert [each for report in reports for each in report.findings] == []
    empty = [table.name for table in metadata.sorted_tables if not tampering.execute(sa.select(table).limit(1)).all()]
    assert empty == []


def change(connection: sa.Connection, column: sa.Column[Any]) -> None:
    edit = sa.update(column.table).values({column.name: another(column)}).where(a_row(connection, column.table))
    assert connection.execute(edit).rowcount == 1


def test_each_column_that_is_edited_is_found_unless_the_page_says_that_it_is_not(tampering: sa.Connection) -> None:
    """A new table or column that nothing checks fails here: check it, or say on the page why nobody can."""
    columns = [column for table in metadata.sorted_tables for column in table.columns]
    missed, listed = unfound(tampering, change, columns, named=False), unknowable()
    assert {name for name in missed if not {name, name.partition(".")[0]} & listed} == set()
    assert listed <= missed | {name.partition(".")[0] for name in missed}


def set_null(connection: sa.Connection, column: sa.Column[Any]) -> None:
    edit = sa.update(column.table).values({column.name: sa.null()}).where(a_row(connection, column.table))
    assert connection.execute(edit).rowcount == 1


def test_a_null_where_none_may_be_is_named(tampering: sa.Connection) -> None:
    for table in metadata.sorted_tables:
        free(tampering, table)
    columns = [
        column for table in metadata.sorted_tables for column in table.columns
        if not column.nullable and column.name != "pool_id"
    ]  # fmt: skip
    of_rows = [column for column in columns if column.table.name in ("event", "body")]
    assert (
        unfound(tampering, set_null, [each for each in columns if each.table.name not in ("event", "body")], named=True)
        == set()
    )
    assert unfound(tampering, set_null, of_rows, named=False) == set()


def free(connection: sa.Connection, table: sa.Table) -> None:
    """Drop what keeps a table from having nulls."""
    drops = [f"DROP CONSTRAINT {table.primary_key.name}"]
    for column in table.columns:
        if not column.nullable:
            drops += [f'ALTER "{column.name}" DROP IDENTITY'] if column.identity else []
            drops.append(f'ALTER "{column.name}" DROP NOT NULL')
    connection.exec_driver_sql(f'ALTER TABLE "{table.name}" {", ".join(drops)}')


@pytest.mark.parametrize("said", ["infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "20000-01-01 00:00:00+00"])
def test_a_time_that_python_has_not_is_named(tampering: sa.Connection, said: str) -> None:
    def set_time(connection: sa.Connection, column: sa.Column[Any]) -> None:
        edit = sa.update(column.table).values({column.name: sa.cast(sa.literal_column(f"'{said}'"), column.type)})
        assert connection.execute(edit.where(a_row(connection, column.table))).rowcount == 1

    columns = [
        column for table in metadata.sorted_tables for column in table.columns
        if isinstance(column.type, sa.DateTime | sa.Date)
    ]  # fmt: skip
    assert unfound(tampering, set_time, columns, named=True) == set()
    for column in columns[:1]:
        set_time(tampering, column)
        assert found(tampering)[column.table.name, column.name] == said


def test_a_text_that_is_no_utf_8_is_named(tampering: sa.Connection) -> None:
    tampering.exec_driver_sql("CREATE CAST (bytea AS text) WITHOUT FUNCTION")

    def set_text(connection: sa.Connection, column: sa.Column[Any]) -> None:
        edit = sa.update(column.table).values({column.name: sa.text("'\\xff00'::bytea::text")})
        assert connection.execute(edit.where(a_row(connection, column.table))).rowcount == 1

    columns = [
        column for table in metadata.sorted_tables for column in table.columns
        if isinstance(column.type, sa.Text) and column.name not in ("status", "key_kind")
    ]  # fmt: skip
    assert unfound(tampering, set_text, columns, named=True) == set()
