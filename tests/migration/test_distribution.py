"""`moiety db distribute`: the same tables by pool, in partitions on one Postgres or on the nodes of a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
import sqlalchemy as sa

from ledger.errors import InvalidInputError, StateError
from ledger.store import tables as t
from ledger.store.tables import metadata
from services import schema
from services.cli.app import main
from services.schema import distribution
from tests.support.cluster import make_cluster
from tests.support.deployment import Deployment
from tests.support.fsck_scene import build, check
from tests.support.scene import POOL, event

POOL_TABLES: Final = {table.name for table in metadata.sorted_tables if "pool_id" in table.columns} - {t.pool.name}
REGISTRY_TABLES: Final = {*metadata.tables} - POOL_TABLES

NO_LOGIN: Final = "LOGIN, by which the nodes of a cluster reach each other"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["db", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def findings(owner: sa.Engine) -> dict[str, list[str]]:
    with owner.connect() as connection:
        return {kind: found for kind, found in schema.check(connection).items() if found}


def rows(owner: sa.Engine) -> dict[str, list[Any]]:
    with owner.connect() as connection:
        return {
            table.name: sorted(connection.execute(sa.select(table)).all(), key=repr) for table in metadata.sorted_tables
        }


def kinds(owner: sa.Engine) -> dict[str, str]:
    query = """
        SELECT relname, relkind::text FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    """
    with owner.connect() as connection:
        return {row.relname: row.relkind for row in connection.exec_driver_sql(query)}


def test_tables_of_pools_go_into_partitions_with_all_that_they_hold(
    database_url: str, owner: sa.Engine, deploy: Callable[..., Deployment]
) -> None:
    scene = build(deploy())
    before = rows(owner)
    assert set(schema.distribute(database_url, partitions=4)) == POOL_TABLES
    assert rows(owner) == before
    whole = dict.fromkeys([*REGISTRY_TABLES, "alembic_version"], "r")
    assert kinds(owner) == {**dict.fromkeys(POOL_TABLES, "p"), **whole}
    assert findings(owner) == {}
    # A server that was running goes on, and knows a key that is taken in a partition.
    first = scene.submit([event(100), event(1)], "after")
    assert first.duplicate_count == 1
    assert scene.submit([event(100), event(1)], "after") == first
    with owner.connect() as connection:
        assert {report.finding_count for report in check(connection)} == {0}


def test_a_pool_is_in_one_partition_and_bodies_are_stored_as_they_were(
    database_url: str, owner: sa.Engine, deploy: Callable[..., Deployment]
) -> None:
    schema.distribute(database_url, partitions=8)
    scene = build(deploy())
    assert scene.operator.get_log_head(POOL).size > 10
    with owner.connect() as connection:
        for name in sorted(POOL_TABLES):
            query = f'SELECT pool_id, count(DISTINCT tableoid) AS parts FROM "{name}" GROUP BY pool_id'
            assert {row.parts for row in connection.exec_driver_sql(query)} <= {1}
        storage = "SELECT attstorage::text FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'bytes'"
        tables = ("body", *(f"body_p{part}" for part in range(8)))
        assert {connection.exec_driver_sql(storage, (name,)).scalar_one() for name in tables} == {"e"}


def test_it_is_safe_to_repeat_and_its_number_stays(owner: sa.Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("distribute", "--partitions", "3", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["distributed"]) == POOL_TABLES
    assert run("distribute", "--partitions", "3") == 0
    assert capsys.readouterr().out == "Every table is distributed.\n"
    assert run("distribute", "--partitions", "4") == 3
    assert "already has 3 partitions" in capsys.readouterr().err
    assert run("check") == 0
    assert run("upgrade") == 0
    assert findings(owner) == {}


def test_tables_of_later_migrations_follow_the_others(
    database_url: str, owner: sa.Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier = tuple(table for table in distribution.POOL_TABLES if table is not t.turn)
    with monkeypatch.context() as context:
        context.setattr(distribution, "POOL_TABLES", earlier)
        schema.distribute(database_url, partitions=2)
    assert run("check") == 1
    assert capsys.readouterr().out == "not distributed: table turn has no partitions, expected 2\n"
    assert schema.upgrade(database_url).distributed == ["turn"]
    assert findings(owner) == {}


@pytest.mark.parametrize("partitions", [-1, 0, 1, 129])
def test_a_number_of_partitions_out_of_range_is_refused(database_url: str, partitions: int) -> None:
    with pytest.raises(InvalidInputError, match="must be 2 to 128"):
        schema.distribute(database_url, partitions=partitions)


def test_without_a_cluster_the_number_of_partitions_must_be_said(database_url: str) -> None:
    with pytest.raises(StateError, match="--partitions N"):
        schema.distribute(database_url)


def test_a_schema_that_is_behind_is_not_distributed(database_url: str, owner: sa.Engine) -> None:
    with owner.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(StateError, match="moiety db upgrade"):
        schema.distribute(database_url, partitions=2)


@pytest.fixture
def cluster(owner: sa.Engine) -> sa.Engine:
    """The fresh database as a cluster's owner sees it."""
    make_cluster(owner)
    return owner


def distributed(cluster: sa.Engine) -> dict[str, tuple[str, str, str | None, str | None]]:
    query = """
        SELECT relname, partmethod::text, repmodel::text, distributed_by, beside
        FROM pg_dist_partition JOIN pg_class ON pg_class.oid = logicalrelid
    """
    with cluster.connect() as connection:
        return {row[0]: (row[1], row[2], row[3], row[4]) for row in connection.exec_driver_sql(query)}


def test_on_a_cluster_pools_are_distributed_together_and_the_registry_is_the_coordinators(
    database_url: str, cluster: sa.Engine
) -> None:
    assert len(findings(cluster)["undistributed"]) == len(metadata.tables) + 1
    assert set(schema.distribute(database_url)) == {*metadata.tables, "alembic_version"}
    found = distributed(cluster)
    by_pool = {name: rest for name, (method, _, *rest) in found.items() if method == "h"}
    assert by_pool.keys() == POOL_TABLES
    assert {key for key, _ in by_pool.values()} == {"pool_id"}
    first = distribution.POOL_TABLES[0].name
    assert {name: beside for name, (_, beside) in by_pool.items()} == {
        name: "default" if name == first else f"public.{first}" for name in POOL_TABLES
    }
    assert {name for name, (method, model, *_) in found.items() if (method, model) == ("n", "s")} == REGISTRY_TABLES
    assert found["alembic_version"][:2] == ("n", "t")
    assert findings(cluster) == {"missing_privileges": [NO_LOGIN]}
    assert schema.distribute(database_url) == []


def test_the_registrys_log_is_brought_to_the_coordinator(database_url: str, cluster: sa.Engine) -> None:
    schema.distribute(database_url)
    with cluster.begin() as connection:
        places = connection.exec_driver_sql("SELECT shardid, groupid FROM pg_dist_placement ORDER BY 1").all()
        nodes = connection.exec_driver_sql("SELECT groupid, shouldhaveshards FROM pg_dist_node ORDER BY 1").all()
        connection.exec_driver_sql("UPDATE pg_dist_placement SET groupid = 1")
    assert (places, nodes) == ([(1, 1), (2, 0)], [(0, False), (1, True)])
    assert findings(cluster)["undistributed"] == ["the registry's log is on worker:5432, expected the coordinator"]
    schema.distribute(database_url)
    assert "undistributed" not in findings(cluster)


def test_what_was_a_reference_table_becomes_the_coordinators_own(database_url: str, cluster: sa.Engine) -> None:
    with cluster.begin() as connection:
        for name in ("platform", "api_key"):
            connection.exec_driver_sql("SELECT create_reference_table(%s)", (f"public.{name}",))
    found = findings(cluster)["undistributed"]
    assert "table platform is a reference table, expected the coordinator's own" in found
    assert "table leaf is not distributed, expected distributed" in found
    schema.distribute(database_url)
    assert "undistributed" not in findings(cluster)


def test_an_upgrade_distributes_only_where_tables_are_distributed_already(
    database_url: str, cluster: sa.Engine
) -> None:
    assert schema.upgrade(database_url).distributed == []
    schema.distribute(database_url)
    with cluster.begin() as connection:
        connection.exec_driver_sql("SELECT undistribute_table('public.turn')")
    assert schema.upgrade(database_url).distributed == ["turn"]


def test_a_role_that_may_not_log_in_is_named_on_a_cluster_alone(owner: sa.Engine) -> None:
    assert findings(owner) == {}
    make_cluster(owner)
    assert findings(owner)["missing_privileges"] == [NO_LOGIN]
    with owner.connect() as connection:
        connection.exec_driver_sql("ALTER ROLE moiety_app LOGIN")
        assert schema.missing_privileges(connection) == []
        connection.rollback()


def test_a_cluster_that_does_not_know_its_coordinator_is_told_how(database_url: str, cluster: sa.Engine) -> None:
    with cluster.begin() as connection:
        connection.exec_driver_sql("DELETE FROM pg_dist_node")
    with pytest.raises(StateError, match="citus_set_coordinator_host"):
        schema.distribute(database_url)


@pytest.mark.usefixtures("cluster")
def test_partitions_are_not_for_a_cluster(database_url: str) -> None:
    with pytest.raises(StateError, match="without --partitions"):
        schema.distribute(database_url, partitions=4)
