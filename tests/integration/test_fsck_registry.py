"""The check of the registry: a row that anyone edits, deletes or inserts by hand is found, and named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from audit.fsck import CheckReport, check_registry_log, read_registry
from ledger.store import tables as t
from ledger.store.logs.bodies import Bodies
from ledger.store.logs.log import REGISTRY
from moiety import Collective, Policy, Pool
from moiety.keys import make_key
from tests.support.deployment import Deployment
from tests.support.fsck_scene import report_of, sign
from tests.support.scene import NAMED_PLATFORMS, Scene, open_scene
from tests.support.tampering import another, rows_of

pytestmark = pytest.mark.surface

NAMED: Final = (t.api_key, t.platform, t.collective, t.collective_domain)
OF_LEAVES: Final = (t.leaf, t.node, t.head, t.body, t.people, t.turn, t.checkpoint, t.cosignature)

NOT_IN_THE_LOG: Final = {"platform.platform_id", "collective.collective_id", "checkpoint.created_at", "leaf.pool_id"}


@pytest.fixture(scope="module", autouse=True)
def scene(shared_deployment: Deployment) -> Scene:
    """Platforms, collectives with domains that moved, keys of every kind, one of them revoked."""
    scene = open_scene(shared_deployment)
    operator = scene.operator
    operator.create_pool("jazz", Pool(display_name="Jazz", currency="USD", policy=Policy(), platforms=NAMED_PLATFORMS))
    for domains in (["tunes.example", "reels.example"], ["tunes.example"]):
        operator.update_collective("irish", Collective(display_name="irish", members=7, domains=domains))
    operator.update_collective("scottish", Collective(display_name="scottish", members=9, domains=["reels.example"]))
    ended = operator.create_api_key(
        "platforms/tunesmith", make_key().hash, expire_time=datetime(2030, 1, 1, tzinfo=UTC), pools=["folk"]
    )
    operator.revoke_api_key(ended.name.rpartition("/")[2])
    operator.update_principal("auditors/ada", suspended=True)
    sign(shared_deployment)
    return scene


@pytest.fixture
def tampering(shared_owner: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction of the database's owner, of which nothing stays."""
    with shared_owner.connect() as connection:
        yield connection
        connection.rollback()


def check(connection: sa.Connection) -> CheckReport:
    return report_of(check_registry_log(connection, read_registry(connection), Bodies()))


def found(connection: sa.Connection) -> set[tuple[str, str, str]]:
    """(table, key, figure) of everything that is found."""
    return {(each.where.table, each.where.key, each.figure) for each in check(connection).findings}


def test_a_sound_registry_has_no_findings(tampering: sa.Connection) -> None:
    report = check(tampering)
    assert report.findings == []
    assert report.unfollowed_from is None
    assert (
        report.leaves
        == tampering.execute(sa.select(t.head.c.size).where(t.head.c.pool_id == REGISTRY.pool_id)).scalar_one()
    )
    assert {table.name for table in (*NAMED, *OF_LEAVES, t.pool)} <= report.rows.keys()


def test_a_key_that_was_inserted_is_found(tampering: sa.Connection) -> None:
    """A stolen row: a second key for the operator, whose secret somebody else has."""
    row = tampering.execute(sa.select(t.api_key).where(t.api_key.c.principal.startswith("operators/"))).first()
    assert row is not None
    forged = {**row._asdict(), "key_id": "f" * 16, "secret_sha256": bytes(32)}
    tampering.execute(sa.insert(t.api_key).values(forged))
    assert found(tampering) == {("api_key", f"key_id={'f' * 16}", "row")}


def test_a_revocation_that_was_cleared_is_found(tampering: sa.Connection) -> None:
    cleared = sa.update(t.api_key).where(t.api_key.c.revoked_at.is_not(None)).values(revoked_at=None)
    key_id = tampering.execute(cleared.returning(t.api_key.c.key_id)).scalar_one()
    assert found(tampering) == {("api_key", f"key_id={key_id}", "revoked_at")}


def test_a_member_count_that_was_edited_is_found(tampering: sa.Connection) -> None:
    tampering.execute(sa.update(t.collective).where(t.collective.c.name == "irish").values(members=42_000_000))
    assert found(tampering) == {("collective", "name=irish", "members")}


def test_a_status_that_there_is_not_is_refused_by_the_database(tampering: sa.Connection) -> None:
    with pytest.raises(IntegrityError):
        tampering.execute(sa.update(t.collective).values(status="ACTHVE"))


def one_row(connection: sa.Connection, table: sa.Table) -> Any:
    """Picks a row of the registry that has something to edit in every column."""
    conditions = [table.c.pool_id == REGISTRY.pool_id] if "pool_id" in table.columns else []
    if table is t.body:
        conditions.append(sa.func.length(t.body.c.bytes) > 0)
    if table is t.people:
        conditions.append(t.people.c.principal.is_not(None))
    return rows_of(connection, table, *conditions)[-1]


COLUMNS: Final = [
    pytest.param(table, column.name, id=f"{table.name}.{column.name}")
    for table in (*NAMED, *OF_LEAVES)
    for column in table.columns
    if f"{table.name}.{column.name}" not in NOT_IN_THE_LOG and column.name != "pool_id"
]


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_an_edited_row_is_found_and_its_table_named(tampering: sa.Connection, table: sa.Table, column: str) -> None:
    edit = sa.update(table).values({column: another(table.c[column])}).where(one_row(tampering, table))
    assert tampering.execute(edit).rowcount == 1
    assert table.name in {name for name, _, _ in found(tampering)}


@pytest.mark.parametrize("table", [*NAMED, *OF_LEAVES[:-2]], ids=lambda table: table.name)
def test_a_deleted_row_is_found_and_its_table_named(tampering: sa.Connection, table: sa.Table) -> None:
    assert tampering.execute(sa.delete(table).where(one_row(tampering, table))).rowcount == 1
    assert (table.name, "row") in {(name, figure) for name, _, figure in found(tampering)}


def test_a_pool_that_no_leaf_opened_is_found(tampering: sa.Connection) -> None:
    values = {"name": "fake", "display_name": "F", "currency": "EUR", "created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    values["distribute"] = "REPORTED"
    tampering.execute(sa.insert(t.pool).values(values))
    assert found(tampering) == {("pool", "name=fake", "row")}


def test_what_only_pools_have_is_found_under_the_registry(tampering: sa.Connection) -> None:
    tampering.execute(sa.insert(t.movement).values(pool_id=0, request_id="x", leaf_index=1))
    assert found(tampering) == {("movement", "pool_id=0", "row")}


def test_an_entry_that_was_edited_does_not_fit_the_tree(tampering: sa.Connection) -> None:
    leaves = sa.select(t.leaf).where(t.leaf.c.pool_id == REGISTRY.pool_id).order_by(t.leaf.c.leaf_index)
    leaf = next(row for row in tampering.execute(leaves) if b'"members":7' in row.entry)
    here = (t.leaf.c.pool_id == REGISTRY.pool_id) & (t.leaf.c.leaf_index == leaf.leaf_index)
    forged = bytes(leaf.entry).replace(b'"members":7', b'"members":8')
    tampering.execute(sa.update(t.leaf).where(here).values(entry=forged))
    assert ("leaf", "entry") in {(table, figure) for table, _, figure in found(tampering)}
