"""Turns: one at a time acts on a pool, by whatever node of the database the servers enter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Barrier, Event
from typing import Final, TypeVar

import pytest
import sqlalchemy as sa

from ledger.errors import LedgerCorruptError
from ledger.store.logs.log import PoolRef
from ledger.store.pools import turns
from ledger.store.pools.pools import insert_pool, pool_ref
from ledger.store.pools.turns import Turn
from ledger.store.postgres.database import Database
from moiety import Client, FailedPreconditionError
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer
from tests.support.books import execute, require_sound_log, wait_until, waiting_backends
from tests.support.deployment import START, Deployment
from tests.support.fsck_scene import LOG_KEY, findings
from tests.support.scene import POOL, events, open_scene

T = TypeVar("T")

PATIENCE_SECONDS: Final = 240.0


def opened(database: Database, name: str) -> PoolRef:
    with database.transaction() as connection:
        return insert_pool(connection, name, name, "EUR", START)


@pytest.fixture
def pool(database: Database) -> PoolRef:
    return opened(database, POOL)


def test_whoever_takes_a_turn_waits_until_it_is_free(database: Database, owner: sa.Engine, pool: PoolRef) -> None:
    order: list[str] = []

    def second() -> None:
        with database.transaction() as connection:
            turns.take(connection, pool, Turn.ROUNDS)
            order.append("second")

    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as connection:
            turns.take(connection, pool, Turn.ROUNDS)
            waiting = threads.submit(second)
            wait_until(lambda: waiting_backends(owner))
            order.append("first")
        waiting.result(PATIENCE_SECONDS)
    assert order == ["first", "second"]


def test_whoever_tries_for_a_turn_is_told_that_it_is_taken(database: Database, pool: PoolRef) -> None:
    with database.transaction() as first, database.transaction() as second:
        assert turns.try_take(first, pool, Turn.ROUNDS)
        assert not turns.try_take(second, pool, Turn.ROUNDS)
        assert turns.try_take(first, pool, Turn.ROUNDS)
    with database.transaction() as second:
        assert turns.try_take(second, pool, Turn.ROUNDS)


def test_another_turn_and_another_pool_are_free(database: Database, pool: PoolRef) -> None:
    other = opened(database, "jazz")
    with database.transaction() as first, database.transaction() as second:
        turns.take(first, pool, Turn.ROUNDS)
        assert turns.try_take(second, pool, Turn.RETRACTIONS)
        assert turns.try_take(second, other, Turn.ROUNDS)


def test_a_turn_whose_row_is_gone_lets_nobody_act(database: Database, owner: sa.Engine, pool: PoolRef) -> None:
    assert execute(owner, "DELETE FROM turn WHERE kind = 'SIGNING'") == 1
    for act in (turns.take, turns.try_take):
        with database.transaction() as connection, pytest.raises(LedgerCorruptError, match="SIGNING"):
            act(connection, pool, Turn.SIGNING)


@pytest.fixture
def nodes(owner: sa.Engine, deploy: Callable[..., Deployment]) -> Sequence[Deployment]:
    """Two servers that no advisory lock keeps apart, as where they enter a cluster by different nodes."""
    with owner.begin() as connection:
        for name, result, body in (
            ("pg_advisory_xact_lock", "void", "SELECT"),
            ("pg_try_advisory_xact_lock", "boolean", "SELECT true"),
        ):
            for arguments in ("int, int", "bigint"):
                statement = f"CREATE FUNCTION public.{name}({arguments}) RETURNS {result} LANGUAGE sql AS '{body}'"
                connection.exec_driver_sql(statement)
        database = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f"ALTER DATABASE {database} SET search_path = public, pg_catalog")
    with owner.connect() as one, owner.connect() as other:
        lock = sa.text("SELECT pg_try_advisory_xact_lock(1, 1)")
        assert [one.execute(lock).scalar_one(), other.execute(lock).scalar_one()] == [True, True]
    return deploy(), deploy()


def at_once(*jobs: Callable[[], T]) -> list[T]:
    start = Barrier(len(jobs))

    def run(job: Callable[[], T]) -> T:
        start.wait(PATIENCE_SECONDS)
        return job()

    with ThreadPoolExecutor(len(jobs)) as threads:
        return list(threads.map(run, jobs))


def test_events_are_taken_back_once_by_two_nodes(nodes: Sequence[Deployment], owner: sa.Engine) -> None:
    scene = open_scene(nodes[0])
    clients = [node.client("platforms/tunesmith") for node in nodes]

    def take_back(client: Client, request_id: str, batch_id: str) -> list[int]:
        found = client.retract_usage(POOL, request_id=request_id, reason="wrong", batch_id=batch_id)
        return [position for each in found for position in each.positions]

    for number in range(10):
        scene.submit(events(range(300 * number, 300 * (number + 1))), f"b-{number}")
        jobs = (partial(take_back, client, f"{place}-{number}", f"b-{number}") for place, client in enumerate(clients))
        taken = at_once(*jobs)
        assert sorted(position for positions in taken for position in positions) == list(range(300))
    with owner.connect() as connection:
        assert findings(connection) == []


def calculate_or_be_late(operator: Client, request_id: str) -> None:
    """Ask for a round; the other node may have cut it, and left nothing to distribute."""
    with suppress(FailedPreconditionError):
        operator.calculate_round(POOL, request_id=request_id)


def test_each_round_is_cut_by_one_of_two_nodes(nodes: Sequence[Deployment], owner: sa.Engine) -> None:
    scene = open_scene(nodes[0])
    operators = [node.client(f"operators/{name}") for node, name in zip(nodes, ("ann", "ben"), strict=True)]
    for number in range(5):
        scene.submit(events([number]), f"b-{number}")
        scene.pay_in(1000, f"m-{number}")
        at_once(
            *(partial(calculate_or_be_late, operator, f"{place}-{number}") for place, operator in enumerate(operators))
        )
    rounds = list(scene.operator.list_rounds(POOL))
    assert [found.number for found in rounds] == list(range(1, 6))
    assert all(scene.operator.replay_round(POOL, found.number).outcome == REPLAY_OUTCOME_MATCH for found in rounds)
    require_sound_log(owner, POOL)


def test_one_signer_at_a_time_acts_on_a_pool_by_two_nodes(nodes: Sequence[Deployment], tmp_path: Path) -> None:
    open_scene(nodes[0])
    writing, may_write = Event(), Event()

    class SlowFolder(CheckpointFolder):
        def write(self, pool: str, note: bytes) -> None:
            writing.set()
            assert may_write.wait(PATIENCE_SECONDS)
            super().write(pool, note)

    def sign(node: Deployment, folder: CheckpointFolder) -> object:
        database = node.running.parts.database
        with database.transaction() as connection:
            pool = pool_ref(connection, POOL)
        return Signer(database, node.clock, LOG_KEY.named("log.example"), folder).sign(pool)

    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(sign, nodes[0], SlowFolder(tmp_path))
        assert writing.wait(PATIENCE_SECONDS)
        assert sign(nodes[1], CheckpointFolder(tmp_path)) == (None, 0)
        may_write.set()
        assert first.result(PATIENCE_SECONDS) != (None, 0)
