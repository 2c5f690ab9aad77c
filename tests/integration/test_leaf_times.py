"""Times of leaves: the database's, and never before the last leaf's, whatever the servers' clocks say."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Self

import pytest
import sqlalchemy as sa

from ledger.errors import StateError
from ledger.log.leaves import time_of
from ledger.store import tables as t
from ledger.store.logs.log import REGISTRY, PoolRef, append_now, clock_ahead, lock_head, open_log
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import read_time
from ledger.usage.entries import IdSchemeContent
from moiety import Platform
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from services.api import readiness
from services.api.readiness import CLOCKS_APART
from tests.support.deployment import START, Deployment, SteppedClock, deployed
from tests.support.scene import METHOD, POOL, event, events, open_scene

pytestmark = pytest.mark.surface


def times(database: Database) -> dict[int, list[datetime]]:
    """The times of each log's leaves, in order."""
    found: dict[int, list[datetime]] = {}
    query = sa.select(t.leaf.c.pool_id, t.leaf.c.entry).order_by(t.leaf.c.pool_id, t.leaf.c.leaf_index)
    with database.transaction() as connection:
        for row in connection.execute(query):
            time = time_of(bytes(row.entry))
            assert time is not None
            found.setdefault(row.pool_id, []).append(time)
    return found


def test_a_server_that_is_an_hour_behind_makes_no_time_fall(deployment: Deployment, database_url: str) -> None:
    scene = open_scene(deployment)
    with deployed(database_url, SteppedClock(START - timedelta(hours=1))) as late:
        behind = late.client("platforms/songbird")
        for number in range(3):
            deployment.clock.advance(seconds=1)
            scene.submit([event(number)], f"a-{number}")
            behind.submit_events(POOL, [event(10 + number)], METHOD, batch_id=f"b-{number}")
            behind.report_revenue(POOL, 100, "EUR", request_id=f"r-{number}")
        behind.retract_usage(POOL, request_id="t", reason="wrong", batch_id="b-0")
        scene.operator.create_platform("acme", Platform(display_name="Acme"))
        # An act in the pool's log is judged by the registry that its own server's clock puts in the future.
        late.client("operators/olive").calculate_round(POOL, request_id="q")
    found = times(deployment.running.parts.database)
    assert all(before <= after for log in found.values() for before, after in pairwise(log))
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH


def test_batches_at_once_make_no_time_fall(deployment: Deployment, database_url: str) -> None:
    """By Postgres' own clock, from connections that wait for each other."""
    open_scene(deployment)
    database, clients = Database(database_url, connections=16), 8

    def append_many(_: int) -> None:
        for _ in range(20):
            with database.transaction() as connection:
                append_now(connection, REGISTRY, [IdSchemeContent(platform="acme", scheme="OWN")])

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(append_many, range(clients)))
    found = times(database)[REGISTRY.pool_id]
    database.close()
    assert all(before <= after for before, after in pairwise(found))
    assert len(set(found[-clients * 20 :])) > clients


def test_time_is_the_database_s_unless_a_clock_is_given(database: Database, database_url: str) -> None:
    given = Database(database_url, connections=2, clock=lambda: START)
    with given.transaction() as connection:
        assert read_time(connection) == START
        open_log(connection, 1)
    given.close()
    with database.transaction() as connection:
        log = PoolRef(1, "folk", "EUR")
        before = read_time(connection)
        time = lock_head(connection, log)
        _, appended = append_now(connection, log, [IdSchemeContent(platform="acme", scheme="OWN")])
        assert before <= time <= appended <= read_time(connection)
        assert abs(before - datetime.now(UTC)) < timedelta(days=2)


def test_clocks_that_are_a_little_apart_are_nothing_to_say(database: Database) -> None:
    with database.transaction() as connection:
        assert abs(clock_ahead(connection)) < CLOCKS_APART
    assert readiness.problems(database) == readiness.warnings(database) == {}


@pytest.mark.parametrize(("hours", "holds"), [(-24 * 400, True), (0.9, True), (1.1, False), (24 * 400, False)])
def test_a_database_whose_clock_is_ahead_times_nothing(
    hours: float, holds: bool, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One leaf of next year would make all times stand still until then."""

    class Here(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp((datetime.now(tz) - timedelta(hours=hours)).timestamp(), tz)

    monkeypatch.setattr("ledger.store.logs.log.datetime", Here)
    log = PoolRef(1, "folk", "EUR")
    with database.transaction() as connection:
        open_log(connection, 1)
        if holds:
            assert lock_head(connection, log) > START
        else:
            with pytest.raises(StateError, match="nothing is logged until the wrong one is set right"):
                lock_head(connection, log)
    assert ("nothing is logged" in readiness.problems(database).get("database", "")) == (not holds)
    # What is said while it holds: rounds are cut by the wrong clock.
    assert ("clock" in readiness.warnings(database)) == holds


def test_usage_that_waits_is_timed_when_it_is_appended(deployment: Deployment) -> None:
    scene = open_scene(deployment)
    scene.submit(events(range(3)), "b-1")
    deployment.clock.advance(seconds=5)
    assert scene.submit(events(range(3, 6)), "b-2").leaf_index
    log = times(deployment.running.parts.database)[1]
    assert log[-1] - log[-2] == timedelta(seconds=5)
