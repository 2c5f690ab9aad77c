"""The desk: what must be deletable can be deleted, by one role alone, and by nobody sooner than it should."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
import sqlalchemy as sa

from ledger.errors import StoreUnfitError
from ledger.store.desk import tables as desk
from ledger.store.desk.retention import delete_expired
from ledger.store.desk.tables import DESK_ROLE
from ledger.store.postgres.database import Database
from services import schema
from services.cli.app import main
from tests.support.deployment import SteppedClock, found_for_tests

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
OLD: Final = NOW - timedelta(days=4_000)


@pytest.fixture
def eraser(database_url: str) -> Iterator[Database]:
    opened = Database(database_url, connections=2, role=DESK_ROLE)
    yield opened
    opened.close()


def put_details(connection: sa.Connection, name: str, owner: str, at: datetime) -> None:
    values = {"details_hash": name.encode(), "owner": owner, "sealed": b"sealed", "created_at": at}
    connection.execute(sa.insert(desk.account_details).values(values))


def put_notice(connection: sa.Connection, at: datetime) -> None:
    said = {"principal": "collectives/irish", "topic": "payee", "contact_hash": b"1", "facts": {}, "problem": ""}
    connection.execute(sa.insert(desk.notice).values(created_at=at, due_at=at, attempts=0, **said))


def put_contact(connection: sa.Connection, principal: str, name: str, ended_at: datetime | None = None) -> None:
    said = {"contact_hash": name.encode(), "salt": b"1", "email": "office@irish.example", "language": "de"}
    values = {"principal": principal, "token": name, "leaf_index": 1, "created_at": OLD, "ended_at": ended_at}
    connection.execute(sa.insert(desk.contact).values(**said, **values))


def count(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def kept(connection: sa.Connection) -> set[bytes]:
    return set(connection.execute(sa.select(desk.account_details.c.details_hash)).scalars())


def test_the_service_cannot_delete_from_the_desk(database: Database) -> None:
    with pytest.raises(StoreUnfitError, match="permission denied"), database.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM desk.account_details")


@pytest.mark.parametrize(
    "statement", ["SELECT 1 FROM leaf", "INSERT INTO desk.notice DEFAULT VALUES", "DELETE FROM leaf"]
)
def test_who_may_delete_from_the_desk_may_do_nothing_else(eraser: Database, statement: str) -> None:
    with pytest.raises(StoreUnfitError, match="permission denied"), eraser.transaction() as connection:
        connection.exec_driver_sql(statement)


def test_only_what_is_past_its_time_is_deleted_and_never_the_latest_account(
    database: Database, eraser: Database
) -> None:
    with database.transaction() as connection:
        put_details(connection, "first", "collectives/irish", OLD)
        put_details(connection, "second", "collectives/irish", OLD + timedelta(days=1))
        put_details(connection, "only", "collectives/breton", OLD)
        put_details(connection, "replaced just now", "collectives/scottish", OLD)
        put_details(connection, "latest", "collectives/scottish", NOW)
        for at in (OLD, NOW):
            put_notice(connection, at)
        for ended_at in (OLD, NOW, None):
            put_contact(connection, "collectives/irish", str(ended_at), ended_at)
    with eraser.transaction() as connection:
        deleted = delete_expired(connection, NOW)
        found = {name: number for name, number in deleted.items() if number}
        assert found == {"account_details": 1, "contact": 1, "notice": 1}
    with database.transaction() as connection:
        assert kept(connection) == {b"second", b"only", b"replaced just now", b"latest"}


def test_a_collective_is_forgotten_by_one_command(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found_for_tests(database_url, SteppedClock(NOW))
    with database.transaction() as connection:
        put_details(connection, "a", "collectives/irish", NOW)
        put_details(connection, "b", "collectives/breton", NOW)
        put_notice(connection, NOW)
        for name in ("irish", "breton"):
            put_contact(connection, f"collectives/{name}", name)
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    with pytest.raises(SystemExit) as caught:
        main(["db", "erase", "collectives/irish"])
    assert caught.value.code == 0
    with database.transaction() as connection:
        assert kept(connection) == {b"b"}
        assert count(connection, desk.notice) == 0
        assert list(connection.execute(sa.select(desk.contact.c.token)).scalars()) == ["breton"]


@pytest.mark.parametrize(
    ("statement", "kind", "told"),
    [
        ("GRANT DELETE ON desk.notice TO moiety_app", "excess_privileges", "DELETE on desk.notice"),
        ("GRANT CREATE ON SCHEMA desk TO moiety_app", "excess_privileges", "CREATE on desk"),
        ("GRANT INSERT ON desk.notice TO moiety_desk", "excess_privileges", "INSERT on desk.notice for moiety_desk"),
        ("REVOKE SELECT ON desk.notice FROM moiety_app", "missing_privileges", "SELECT on desk.notice"),
        ("ALTER TABLE desk.notice DROP COLUMN topic", "differences", "table desk.notice: column topic is missing"),
        ("DROP TABLE desk.bank_file", "differences", "table desk.bank_file is missing"),
    ],
)
def test_what_is_wrong_with_the_desk_is_named(owner: sa.Engine, statement: str, kind: str, told: str) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql(statement)
        assert told in schema.check(connection)[kind]


def test_an_upgrade_mends_privileges_at_the_desk(owner: sa.Engine, database_url: str) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("GRANT TRUNCATE ON desk.notice TO moiety_app")
    assert schema.upgrade(database_url).revoked == ["TRUNCATE on desk.notice"]
