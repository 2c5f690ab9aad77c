"""A database that goes back in time under a running service, as after a failover or a restore."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from moiety import Collective, InvalidArgumentError
from tests.support.deployment import Deployment
from tests.support.scene import Scene, event, open_scene

pytestmark = pytest.mark.surface

FailOver = Callable[[], None]


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@pytest.fixture
def fail_over(scene: Scene, postgres: sa.Engine) -> FailOver:
    """Fails over to a database that has what was there when the test began, and no more."""
    name = sa.engine.make_url(scene.deployment.settings.database_url).database
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"

    def without_connections(*statements: str) -> None:
        with postgres.connect() as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.exec_driver_sql(end)
            for statement in statements:
                connection.exec_driver_sql(statement)
            connection.exec_driver_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")

    def switch() -> None:
        without_connections(
            f"DROP DATABASE {name} WITH (FORCE)",
            f"ALTER DATABASE {name}_standby RENAME TO {name}",
        )

    without_connections(f"CREATE DATABASE {name}_standby TEMPLATE {name}")
    return switch


def register(scene: Scene, name: str) -> None:
    scene.operator.create_collective(name, Collective(display_name=name, members=10))


def submit(scene: Scene, collective: str, number: int) -> None:
    scene.submit([event(number, shares={collective: 10**9})], f"{collective}-{number}")


def test_a_collective_that_the_failover_lost_is_not_registered(scene: Scene, fail_over: FailOver) -> None:
    register(scene, "late")
    submit(scene, "late", 1)
    fail_over()
    with pytest.raises(InvalidArgumentError, match="not registered"):
        submit(scene, "late", 2)


def test_another_collective_that_gets_its_number_is_not_paid_for_it(scene: Scene, fail_over: FailOver) -> None:
    register(scene, "late")
    submit(scene, "late", 1)
    fail_over()
    register(scene, "other")
    with pytest.raises(InvalidArgumentError, match="not registered"):
        submit(scene, "late", 2)
    submit(scene, "irish", 3)
    submit(scene, "other", 4)
    scene.pay_in(90_000, "january")
    scene.cut("january")
    paid = scene.allocations(1)
    assert paid["other"] == paid["irish"] > 0
    assert "late" not in paid
