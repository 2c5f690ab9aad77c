"""A database spread over nodes, one of which is lost: its pools are away, and nobody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc
import pytest
import sqlalchemy as sa

from ledger.errors import AlreadyExistsError, StateError, StoreUnavailableError
from ledger.log.note_keys import SigningKey
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY
from ledger.store.pools.each_pool import ask_each
from ledger.store.pools.pools import insert_pool, list_pools, pool_ref
from ledger.store.postgres.database import Database
from ledger.store.tables import metadata
from moiety import Method, Policy, Pool, Schedule
from moiety.v1 import registry_pb2, registry_pb2_grpc
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer
from tests.support.deployment import START, Deployment, SteppedClock
from tests.support.scene import METHOD, NAMED_PLATFORMS, POOL, Scene, events, open_scene

OTHER: Final = "jazz"

LOST: Final = "server closed the connection unexpectedly while executing command on 10.0.0.2:5432"
"""What a cluster says where a node goes away within a statement; it has no code of its own."""


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    scene = open_scene(deployment, policy=Policy())
    scene.operator.create_pool(
        OTHER, Pool(display_name="Jazz", currency="EUR", policy=Policy(), platforms=NAMED_PLATFORMS)
    )
    scene.operator.create_method(OTHER, METHOD, Method(display_name="votes", confidence_ppm=1_000_000))
    for pool in (POOL, OTHER):
        scene.operator.update_schedule(pool, Schedule(cron="30 6 * * *", time_zone="UTC"))
    return scene


@pytest.fixture
def lost(scene: Scene, owner: sa.Engine) -> None:
    """Whoever reads or writes a row of the other pool hears that its node is lost."""
    with owner.begin() as connection:
        pool_id = connection.execute(sa.text("SELECT pool_id FROM pool WHERE name = :name"), {"name": OTHER}).scalar()
        connection.exec_driver_sql(f"""
            CREATE FUNCTION reachable(asked int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
                IF asked = {pool_id} THEN RAISE '{LOST}' USING ERRCODE = 'XX000'; END IF;
                RETURN true;
            END $$
        """)
        for table in metadata.tables.values():
            if "pool_id" in table.columns and table.name != "pool":
                quoted = f'"{table.name}"'
                connection.exec_driver_sql(f"ALTER TABLE {quoted} ENABLE ROW LEVEL SECURITY")
                connection.exec_driver_sql(f"CREATE POLICY node ON {quoted} USING (reachable(pool_id))")
    scene.deployment.running.parts.database.close()


@pytest.mark.usefixtures("lost")
def test_a_pool_on_another_node_takes_usage_in(scene: Scene) -> None:
    assert scene.submit(events([1, 2]), "b").accepted_count == 2
    assert scene.operator.get_pool(POOL).log_size > 0
    scene.pay_in(100, "r")
    assert scene.cut("q").event_count == 2


@pytest.mark.usefixtures("lost")
def test_a_call_of_the_lost_pool_is_unavailable_and_may_be_repeated(scene: Scene) -> None:
    call_metadata = (("authorization", f"Bearer {scene.deployment.key('operators/olive')}"),)
    request = registry_pb2.GetPoolRequest(name=f"pools/{OTHER}")
    with grpc.insecure_channel(scene.deployment.address) as channel, pytest.raises(grpc.RpcError) as caught:
        registry_pb2_grpc.RegistryServiceStub(channel).GetPool(request, metadata=call_metadata)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.usefixtures("lost")
def test_rounds_of_other_pools_are_cut(scene: Scene, clock: SteppedClock) -> None:
    scene.submit(events([1]), "b")
    scene.pay_in(100, "r")
    clock.advance(hours=7)
    (cut,) = scene.deployment.running.parts.scheduler.run_once()
    assert cut.content.events == 1


@pytest.mark.usefixtures("lost")
def test_logs_of_other_pools_are_signed(scene: Scene, tmp_path: Path) -> None:
    parts = scene.deployment.running.parts
    signer = Signer(parts.database, parts.clock, SigningKey("log.example", bytes(32)), CheckpointFolder(tmp_path))
    assert {signed.origin for signed in signer.run_once()} == {f"log.example/pools/{POOL}", "log.example/registry"}


@pytest.mark.usefixtures("lost")
def test_pools_that_cannot_be_asked_about_are_named(scene: Scene) -> None:
    answers = ask_each(scene.deployment.running.parts.database, log.read_heads)
    assert [pool.name for pool, _, _ in answers.found] == [REGISTRY.name, POOL]
    assert [pool.name for pool in answers.missed] == [OTHER]


def test_where_the_database_itself_is_away_no_pool_is_asked_by_itself() -> None:
    database = Database("postgresql://127.0.0.1:1/nowhere", connections=2)
    with pytest.raises(StoreUnavailableError):
        ask_each(database, log.read_heads)
    database.close()


@pytest.mark.parametrize(
    "said",
    [
        LOST,
        "connection to the remote node moiety_app@10.0.0.2:5432 failed with the following error: timeout",
        "failure on connection marked as essential: 10.0.0.2:5432",
    ],
)
def test_a_node_lost_within_a_statement_is_told_as_away(database: Database, said: str) -> None:
    with pytest.raises(StoreUnavailableError), database.transaction() as connection:
        connection.exec_driver_sql(f"DO $$ BEGIN RAISE '{said}' USING ERRCODE = 'XX000'; END $$")


def test_another_internal_error_stays_one(database: Database) -> None:
    with pytest.raises(sa.exc.InternalError), database.transaction() as connection:
        connection.exec_driver_sql("DO $$ BEGIN RAISE 'cache lookup failed' USING ERRCODE = 'XX000'; END $$")


def test_a_role_that_may_not_log_in_where_nodes_must_is_told_as_that(database_url: str) -> None:
    url = sa.make_url(database_url).set(username="moiety_app").render_as_string(hide_password=False)
    database = Database(url, connections=2)
    with pytest.raises(StateError, match="MOIETY_DATABASE_APP_PASSWORD") as caught, database.transaction():
        pass
    database.close()
    assert caught.value.kind == "ROLE_NOT_LOGIN"


def test_a_pool_s_name_that_is_taken_leaves_the_transaction_as_it_was(database: Database) -> None:
    with database.transaction() as connection:
        first = insert_pool(connection, "folk", "Folk", "EUR", START)
        with pytest.raises(AlreadyExistsError):
            insert_pool(connection, "folk", "Folk again", "EUR", START)
        insert_pool(connection, "jazz", "Jazz", "EUR", START)
    with database.transaction() as connection:
        assert pool_ref(connection, "folk") == first
        assert [pool.ref.name for pool in list_pools(connection)] == ["folk", "jazz"]
