"""Immutability is a matter of privileges: what the service's role may do in a real Postgres, and what it may not."""

from __future__ import annotations

from typing import Final

import pytest
import sqlalchemy as sa

from ledger.errors import StateError, StoreUnfitError
from ledger.store.postgres.database import Database
from ledger.store.tables import metadata
from services.schema import APPEND_ONLY, UPDATABLE, excess_privileges
from tests.support.deployment import Deployment, issue_key
from tests.support.scene import POOL, event, open_scene

APPENDED: Final = sorted(table.name for table in APPEND_ONLY)
UPDATED: Final = sorted(table.name for table in UPDATABLE)


@pytest.fixture(scope="module")
def service(shared_deployment: Deployment) -> Database:
    """The service's own way to a database in which every table has something."""
    scene = open_scene(shared_deployment)
    scene.pay_in(1000, "r")
    scene.submit([event(1), event(2)], "b")
    scene.platform.retract_usage(POOL, request_id="t", reason="wrong", event_ids=[event(2).event_id])
    scene.cut("q")
    scene.operator.record_payment(POOL, "irish", 1, request_id="p")
    return shared_deployment.running.parts.database


def require_forbidden(service: Database, statement: str) -> None:
    with pytest.raises(StoreUnfitError, match=r"permission denied|must be owner"), service.transaction() as connection:
        connection.exec_driver_sql(statement)


def quoted(name: str) -> str:
    return f'"{name}"'


def test_every_table_is_either_appended_to_or_updated() -> None:
    assert sorted([*APPENDED, *UPDATED]) == sorted(metadata.tables)


@pytest.mark.parametrize("name", APPENDED)
def test_what_is_appended_to_is_never_updated_deleted_or_truncated(service: Database, name: str) -> None:
    column = metadata.tables[name].columns.values()[-1].name
    require_forbidden(service, f'UPDATE {quoted(name)} SET "{column}" = "{column}"')
    require_forbidden(service, f"DELETE FROM {quoted(name)}")
    require_forbidden(service, f"TRUNCATE {quoted(name)}")
    require_forbidden(service, f"SELECT 1 FROM {quoted(name)} FOR UPDATE")


@pytest.mark.parametrize("name", UPDATED)
def test_what_is_updated_is_never_deleted_or_truncated(service: Database, name: str) -> None:
    require_forbidden(service, f"DELETE FROM {quoted(name)}")
    require_forbidden(service, f"TRUNCATE {quoted(name)}")


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE leaf",
        "ALTER TABLE leaf ADD COLUMN note text",
        "CREATE TABLE mine (x int)",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TRIGGER t BEFORE INSERT ON leaf EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "CREATE RULE r AS ON INSERT TO leaf DO INSTEAD NOTHING",
        "UPDATE alembic_version SET version_num = 'x'",
        "ALTER SEQUENCE batch_number RESTART",
        "SELECT setval('batch_number', 1)",
        "COPY leaf TO PROGRAM 'true'",
        "CREATE ROLE mallory SUPERUSER",
        "INSERT INTO leaf SELECT * FROM leaf ON CONFLICT (pool_id, leaf_index) DO UPDATE SET entry = ''",
        "MERGE INTO leaf USING pool ON leaf.pool_id = pool.pool_id WHEN MATCHED THEN DELETE",
    ],
)
def test_the_service_cannot_help_itself_to_more(service: Database, statement: str) -> None:
    require_forbidden(service, statement)


def test_the_role_has_no_privilege_in_excess(service: Database) -> None:
    with service.transaction() as connection:
        assert excess_privileges(connection) == []


def test_an_excess_privilege_is_found_and_the_service_does_not_connect(database: Database, owner: sa.Engine) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("GRANT DELETE ON leaf TO moiety_app")
        connection.exec_driver_sql("GRANT UPDATE ON transfer TO moiety_app")
        connection.exec_driver_sql("GRANT TRUNCATE ON head TO moiety_app")
    with owner.connect() as connection:
        found = excess_privileges(connection)
    assert sorted(found) == ["DELETE on leaf", "TRUNCATE on head", "UPDATE on transfer"]
    with pytest.raises(StateError, match="lets moiety_app change rows of head"), database.transaction():
        pass


def test_everything_that_the_service_does_it_may_do(deployment: Deployment) -> None:
    scene = open_scene(deployment)
    scene.pay_in(1000, "r")
    scene.submit([event(1), event(1)], "b")
    scene.submit([event(1), event(2)], "b-2")
    scene.cut("q")
    scene.operator.record_payment(POOL, "irish", 1, request_id="p")
    scene.operator.update_collective("irish", scene.operator.get_collective("irish"))
    scene.operator.update_principal("auditors/ada")
    key_id, _ = issue_key(scene.operator, "auditors/ada")
    scene.operator.revoke_api_key(key_id)
    with deployment.running.parts.database.transaction() as connection:
        assert connection.exec_driver_sql("SELECT current_user").scalar_one() == "moiety_app"
