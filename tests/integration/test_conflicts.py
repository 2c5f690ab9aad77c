"""A key that is taken is known by what Postgres says, on one node, of a partition, and from a node of a cluster."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
import sqlalchemy as sa

from ledger.store import tables as t
from ledger.store.postgres.conflicts import taken_keys, taken_table
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import driver_connection
from ledger.store.tables import metadata
from moiety import BatchRefusedError, batch_of
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene


class TakenError(Exception):
    """A key of a table is taken."""


@pytest.mark.surface
@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_every_unique_key_is_known_by_its_table(shared_owner: sa.Engine, name: str) -> None:
    table = metadata.tables[name]
    keys = [each.name for each in table.constraints if isinstance(each, sa.PrimaryKeyConstraint | sa.UniqueConstraint)]
    assert keys
    for key in keys:
        for said in (key, f"{key}_102042", str(key).replace(f"{name}_", f"{name}_p3_", 1)):
            words = f'duplicate key value violates unique constraint "{said}"'
            with shared_owner.connect() as connection, pytest.raises(sa.exc.InternalError) as caught:
                connection.exec_driver_sql(f"DO $$ BEGIN RAISE '{words}' USING ERRCODE = 'XX000'; END $$")
            assert taken_table(caught.value) == name


def test_a_violation_is_told_by_the_driver_and_by_sqlalchemy(database: Database) -> None:
    row = sa.insert(t.head).values(pool_id=1, size=0, frontier=b"")
    with database.transaction() as connection:
        connection.execute(row)
    for insert in (
        lambda connection: connection.execute(row),
        lambda connection: driver_connection(connection).execute("INSERT INTO head VALUES (1, 0, '')"),
    ):
        with pytest.raises(TakenError, match="head"), database.transaction() as connection, taken_keys(TakenError):
            insert(connection)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO transfer VALUES (1, 0, 0, 'a', 'b', -1, 'c')",
        "INSERT INTO head VALUES (1, NULL, '')",
        "SELECT 1 / 0",
        "DO $$ BEGIN RAISE 'could not open file' USING ERRCODE = 'XX000'; END $$",
    ],
)
def test_other_errors_are_left_as_they_are(shared_owner: sa.Engine, statement: str) -> None:
    with pytest.raises(sa.exc.DBAPIError) as caught, shared_owner.connect() as connection, taken_keys(TakenError):
        connection.exec_driver_sql(statement)
    assert taken_table(caught.value) is None


def test_an_error_of_the_driver_before_there_is_a_code_says_nothing_of_keys() -> None:
    assert taken_table(psycopg.OperationalError("the connection is lost")) is None


@pytest.fixture
def scene(deploy: Callable[..., Deployment]) -> Scene:
    return open_scene(deploy())


@pytest.fixture(params=["event", "batch"])
def told_by_a_node(owner: sa.Engine, scene: Scene, request: pytest.FixtureRequest) -> Scene:
    """What a node of a cluster says of a row that was copied there: words without a code, and a shard's name."""
    table = request.param
    keys = {"event": "event_id = NEW.event_id", "batch": "batch_id = NEW.batch_id"}
    with owner.begin() as connection:
        connection.exec_driver_sql(f"""
            CREATE FUNCTION refused() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
                IF EXISTS (SELECT FROM {table} WHERE pool_id = NEW.pool_id AND {keys[table]}) THEN
                    RAISE 'duplicate key value violates unique constraint "{table}_pkey_102042"'
                        USING ERRCODE = 'XX000', DETAIL = 'while executing command on 10.0.0.1:5432';
                END IF;
                RETURN NEW;
            END $$
        """)
        connection.exec_driver_sql(
            f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refused()"
        )
    return scene


@pytest.mark.parametrize("count", [3, 50, 3000])
def test_a_repeat_gives_the_first_receipt_where_a_node_says_so(told_by_a_node: Scene, count: int) -> None:
    platform, usage = told_by_a_node.platform, batch_of(events(range(count)))
    (first,) = platform.submit_usage(POOL, usage, METHOD, batch_id="b")
    assert platform.submit_usage(POOL, usage, METHOD, batch_id="b") == [first]
    assert first.accepted_count == count
    with pytest.raises(BatchRefusedError, match="other events"):
        platform.submit_usage(POOL, batch_of([event(1)]), METHOD, batch_id="b")
