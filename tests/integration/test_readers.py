"""Reads from a real standby: whatever was recorded is found, however far the standby is behind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from ledger.store.pools.readers import Readers
from ledger.store.postgres.database import Database
from moiety import InvalidArgumentError, NotFoundError
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from services.process.embedded import embedded_postgres
from services.schema import upgrade
from tests.support.books import wait_until
from tests.support.deployment import START, Deployment, SteppedClock, deployed
from tests.support.http import ask
from tests.support.scene import POOL, Scene, event, open_scene
from tests.support.standby import own_postgres_folder, standby_of


@pytest.fixture(scope="module")
def urls() -> Iterator[tuple[str, str]]:
    """A primary and its standby."""
    with own_postgres_folder() as folder, embedded_postgres(folder / "primary") as primary:
        upgrade(primary)
        with standby_of(primary, folder / "standby") as standby:
            yield primary, standby


@pytest.fixture(scope="module")
def scene(urls: tuple[str, str]) -> Iterator[Scene]:
    primary, standby = urls
    with deployed(primary, SteppedClock(START), read_database_url=standby) as deployment:
        yield open_scene(deployment)


@pytest.fixture
def stopped_replay(urls: tuple[str, str]) -> Iterator[None]:
    """The standby stays as it is for as long as the test runs."""
    with psycopg.connect(urls[1], autocommit=True) as standby:
        standby.execute("SELECT pg_wal_replay_pause()")
        yield
        standby.execute("SELECT pg_wal_replay_resume()")


def chosen(scene: Scene, name: str) -> Database:
    return scene.deployment.running.parts.readers.database_for(name)


def test_lists_come_from_the_standby_once_it_has_what_was_recorded(scene: Scene) -> None:
    primary = scene.deployment.running.parts.database
    assert chosen(scene, f"pools/{POOL}") is not primary
    for number in range(20):
        receipt = scene.submit([event(number)], f"b-{number}")
        assert [batch.leaf_index for batch in scene.operator.list_batches(POOL)][-1] == receipt.leaf_index
    scene.pay_in(900, "money")
    scene.cut("round")
    assert scene.balances()["revenue"] == 0
    assert sum(scene.allocations(1).values()) == 900
    auditor = scene.deployment.client("auditors/ada")
    assert auditor.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH
    assert len(list(auditor.list_leaves(POOL))) == auditor.get_log_head(POOL).size


@pytest.mark.usefixtures("stopped_replay")
def test_what_the_standby_lacks_is_read_from_the_primary(scene: Scene) -> None:
    receipt = scene.submit([event(100)], "while-stopped")
    assert chosen(scene, f"pools/{POOL}") is scene.deployment.running.parts.database
    assert [batch.leaf_index for batch in scene.operator.list_batches(POOL)][-1] == receipt.leaf_index
    assert chosen(scene, "registry") is not scene.deployment.running.parts.database
    scene.deployment.key("auditors/late")
    assert chosen(scene, "registry") is scene.deployment.running.parts.database
    assert scene.deployment.running.parts.readers.warnings() == {}


def test_a_standby_that_gets_more_while_a_call_begins_is_read(scene: Scene) -> None:
    readers, found = scene.deployment.running.parts.readers, []
    with ThreadPoolExecutor(1) as other:
        under_way = other.submit(lambda: [scene.submit([event(200 + number)], f"c-{number}") for number in range(50)])
        while not under_way.done():
            found.append(chosen(scene, f"pools/{POOL}"))
    assert any(each is not scene.deployment.running.parts.database for each in found)
    assert readers.warnings() == {}


def test_a_standby_on_another_history_is_not_read(own_folder: Path) -> None:
    with ExitStack() as stack:
        primary = stack.enter_context(embedded_postgres(own_folder / "primary"))
        upgrade(primary)
        standby = stack.enter_context(standby_of(primary, own_folder / "standby"))
        clock = SteppedClock(START)
        deployment = stack.enter_context(deployed(primary, clock, read_database_url=standby))
        scene = open_scene(deployment)
        wait_until(lambda: chosen(scene, f"pools/{POOL}") is not deployment.running.parts.database)
        with psycopg.connect(standby, autocommit=True) as promoted:
            promoted.execute("SELECT pg_promote()")
        # What the other one was told stands there for what a primary loses when it is put back to an earlier time.
        lost = stack.enter_context(deployed(standby, clock)).client("platforms/tunesmith")
        lost.submit_events(POOL, [event(1)], "ngram", batch_id="lost")
        lost.report_revenue(POOL, 50_000, "EUR", request_id="lost")

        def read() -> tuple[list[str], dict[str, int]]:
            with closing(Readers(deployment.running.parts.database, Database(standby, connections=2))) as readers:
                assert readers.database_for(f"pools/{POOL}") is deployment.running.parts.database
                assert "make the standby anew" in readers.warnings()["standby"]
            return [batch.name for batch in scene.operator.list_batches(POOL)], scene.balances()

        # It has more than the primary, then as much, then less.
        assert read() == ([], {})
        for number in range(4):
            scene.submit([event(10 + number)], f"found-{number}")
            names, balances = read()
            assert (len(names), balances) == (number + 1, {})
        assert "make the standby anew" in ask(deployment.running.http_address or "", "/readyz").text


def test_names_of_no_pool_are_refused_as_before(scene: Scene) -> None:
    for name in ("x" * 300, "a\0b", "Upper"):
        with pytest.raises(InvalidArgumentError, match="parent"):
            list(scene.operator.list_batches(name))
    with pytest.raises(NotFoundError):
        list(scene.operator.list_batches("nowhere"))


def test_a_standby_that_is_away_costs_nothing(deployment: Deployment) -> None:
    away = Database("postgresql://moiety_app@127.0.0.1:1/none", connections=2)
    readers = Readers(deployment.running.parts.database, away)
    for _ in range(100):
        assert readers.database_for("registry") is deployment.running.parts.database
    readers.close()
