"""The check of the live database: a row that anyone edits, deletes or inserts by hand is found, and named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from ledger.store import tables as lt
from payout.store import tables as t
from tests.conftest import Deployment
from tests.fsck_scene import build, check, findings
from tests.scene import Scene

FOLK: Final = 1
"""The store's number of the pool: the first that was made."""

TABLES: Final = (
    lt.leaf, lt.node, lt.head, lt.body, lt.method, lt.membership, lt.event, lt.batch_weights, lt.batch, lt.retraction,
    lt.revenue, lt.movement, lt.transfer, lt.balance, t.policy, t.round_, t.decision, t.posting,
)  # fmt: skip

NOT_IN_THE_LOG: Final = {"retraction.request_sha256"}
"""Which bytes of a request were hashed is not for anyone else to know."""


@pytest.fixture(scope="module", autouse=True)
def scene(shared_deployment: Deployment) -> Scene:
    return build(shared_deployment)


@pytest.fixture
def tampering(shared_owner: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction of the database's owner, of which nothing stays."""
    with shared_owner.connect() as connection:
        yield connection
        connection.rollback()


def middle_row(connection: sa.Connection, table: sa.Table) -> Any:
    """Picks a row of the pool that has some before it and some after it, where there are so many."""
    ctid: sa.ColumnClause[str] = sa.literal_column("ctid")
    rows = sa.select(ctid).select_from(table).where(table.c.pool_id == FOLK).order_by(*table.primary_key.columns)
    found = connection.execute(rows).scalars().all()
    assert found
    return sa.literal_column(f"{table.name}.ctid = '{found[len(found) // 2]}'::tid")


def another(column: sa.Column[Any]) -> Any:
    """Another value than the column's, of its type."""
    match column.type:
        case sa.Text():
            return column + "x"
        case sa.LargeBinary():
            return sa.func.set_byte(column, 0, sa.func.get_byte(column, 0).op("#")(1))
        case sa.DateTime():
            return sa.func.coalesce(column, sa.func.now()) + sa.text("interval '1 second'")
        case pg.UUID():
            return sa.func.gen_random_uuid()
        case _:
            return column + 1000


COLUMNS: Final = [
    pytest.param(table, column.name, id=f"{table.name}.{column.name}")
    for table in TABLES
    for column in table.columns
    if f"{table.name}.{column.name}" not in NOT_IN_THE_LOG
]


def test_a_sound_database_has_no_findings(tampering: sa.Connection) -> None:
    folk, other, strays = check(tampering)
    assert [folk.findings, other.findings, strays.findings] == [[], [], []]
    assert [folk.finding_count, other.finding_count, strays.finding_count] == [0, 0, 0]
    assert folk.unfollowed_from is None
    assert folk.rows.keys() == {table.name for table in (*TABLES, lt.pool)}


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_an_edited_row_is_found_and_its_table_named(tampering: sa.Connection, table: sa.Table, column: str) -> None:
    edit = sa.update(table).values({column: another(table.c[column])}).where(middle_row(tampering, table))
    assert tampering.execute(edit).rowcount == 1
    found = findings(tampering)
    print(*found, sep="\n")
    assert table.name in {name for name, _, _ in found}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_deleted_row_is_found_and_its_table_named(tampering: sa.Connection, table: sa.Table) -> None:
    assert tampering.execute(sa.delete(table).where(middle_row(tampering, table))).rowcount == 1
    found = findings(tampering)
    print(*found, sep="\n")
    assert (table.name, "row") in {(name, figure) for name, _, figure in found}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_an_inserted_row_is_found_and_its_table_named(tampering: sa.Connection, table: sa.Table) -> None:
    changed = {column.name: another(column) for column in table.columns if column.name not in ("pool_id", "level")}
    if table is lt.head:
        changed = {"pool_id": sa.literal(99)}
    copied = [changed.get(column.name, column) for column in table.columns]
    rows = sa.select(*copied).where(middle_row(tampering, table))
    tampering.execute(sa.insert(table).from_select([each.name for each in table.columns], rows))
    found = findings(tampering)
    print(*found, sep="\n")
    assert (table.name, "row") in {(name, figure) for name, _, figure in found}
