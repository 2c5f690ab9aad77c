"""A failover to a real standby that lacks leaves which were signed: the service notices, and moves no money by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from audit.fsck import check_registry_log, read_registry
from ledger.log.note_keys import SigningKey
from ledger.store.logs.bodies import Bodies
from moiety import FailedPreconditionError, Policy
from services.process.embedded import embedded_postgres
from services.process.health import ROUNDS
from services.schema import upgrade
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer
from tests.support.books import wait_until
from tests.support.deployment import START, SteppedClock, deployed
from tests.support.fsck_scene import report_of
from tests.support.http import ask
from tests.support.scene import POOL, Scene, event, open_scene
from tests.support.standby import standby_of

pytestmark = pytest.mark.surface

Status: Final = health_pb2.HealthCheckResponse
KEY: Final = SigningKey("log.example", bytes(range(32)))


@dataclass
class Pair:
    """A primary with its standby, and a service and a signer that find whichever of them takes writes."""

    scene: Scene
    signer: Signer
    standby: str
    primary: ExitStack

    def cut_off(self) -> None:
        """From now on the standby gets nothing."""
        with psycopg.connect(self.standby, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
            gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"
            wait_until(lambda: connection.execute(gone).fetchone() == (True,))

    def fail_over(self) -> None:
        """Stop the primary, and promote the standby."""
        self.primary.close()
        assert wait_until(lambda: health(self.scene) == health(self.scene, ROUNDS) == Status.NOT_SERVING)
        with psycopg.connect(self.standby, autocommit=True) as connection:
            assert connection.execute("SELECT pg_promote()").fetchone() == (True,)
        assert wait_until(lambda: health(self.scene) == Status.SERVING)

    def caught_up(self) -> None:
        """Wait until the standby has all that was written."""
        database = self.scene.deployment.running.parts.database
        with database.transaction() as connection:
            written = connection.exec_driver_sql("SELECT pg_current_wal_lsn()").scalar_one()
        with psycopg.connect(self.standby, autocommit=True) as connection:
            replayed = f"SELECT pg_last_wal_replay_lsn() >= '{written}'"
            wait_until(lambda: connection.execute(replayed).fetchone() == (True,))


@pytest.fixture
def pair(own_folder: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        primary = stack.enter_context(ExitStack())
        first = primary.enter_context(embedded_postgres(own_folder / "primary"))
        upgrade(first)
        second = stack.enter_context(standby_of(first, own_folder / "standby"))
        either = f"{first}&{second.partition('?')[2]}&target_session_attrs=read-write"
        deployment = stack.enter_context(deployed(either, SteppedClock(START)))
        scene = open_scene(deployment, policy=Policy(review_seconds=60))
        folder = CheckpointFolder(own_folder / "checkpoints")
        signer = Signer(deployment.running.parts.database, deployment.clock, KEY, folder)
        scene.submit([event(1)], "before")
        scene.pay_in(900, "january")
        assert signer.run_once()
        yield Pair(scene, signer, second, primary)


def health(scene: Scene, service: str = "") -> int:
    """What health says of a service, or of the server as a whole."""
    with grpc.insecure_channel(scene.deployment.address) as channel:
        asked: Any = health_pb2_grpc.HealthStub(channel)
        status: int = asked.Check(health_pb2.HealthCheckRequest(service=service), timeout=120).status
        return status


def ready(scene: Scene) -> dict[str, object]:
    answered = ask(scene.deployment.running.http_address or "", "/readyz")
    assert answered.status == 200
    found: dict[str, object] = answered.json()
    return found


def metric(scene: Scene, name: str) -> float:
    text = ask(scene.deployment.running.http_address or "", "/metrics").text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


def test_after_a_failover_that_lost_signed_leaves_no_round_is_cut_posted_or_signed(pair: Pair) -> None:
    scene = pair.scene
    scene.operator.calculate_round(POOL, request_id="open")
    pair.caught_up()
    pair.cut_off()
    scene.submit([event(2)], "lost")
    assert pair.signer.run_once()
    pair.fail_over()

    # Before the signer has looked, nobody knows what the database lacks.
    assert health(scene, ROUNDS) == Status.NOT_SERVING
    assert wait_until(lambda: "not compared" in str(ready(scene)["warnings"]))
    scene.submit([event(3)], "after")
    with pytest.raises(FailedPreconditionError, match="failed over or restored") as refused:
        scene.operator.approve_round(POOL, 1)
    assert refused.value.reason == "NOT_COMPARED"

    assert pair.signer.run_once() == []
    with pytest.raises(FailedPreconditionError, match="old backup was restored") as refused:
        scene.operator.approve_round(POOL, 1)
    assert refused.value.reason == "SIGNING_REFUSED"
    scene.operator.reject_round(POOL, 1, "the log is contradicted")
    with pytest.raises(FailedPreconditionError, match="no round is cut"):
        scene.operator.calculate_round(POOL, request_id="february")
    assert scene.balances()["revenue"] == 900

    assert wait_until(lambda: metric(scene, "moiety_logs_refused") == 1)
    assert wait_until(lambda: "refused for 1 log" in str(ready(scene)["warnings"]))
    assert (health(scene), health(scene, ROUNDS)) == (Status.SERVING, Status.NOT_SERVING)


def test_after_a_failover_that_lost_nothing_rounds_go_on_once_the_signer_has_looked(pair: Pair) -> None:
    scene = pair.scene
    pair.caught_up()
    pair.fail_over()
    with pytest.raises(FailedPreconditionError, match="is `moiety schedule` running"):
        scene.operator.calculate_round(POOL, request_id="january")
    pair.signer.run_once()
    assert scene.cut("january").number == 1
    assert pair.signer.run_once()
    assert wait_until(lambda: health(scene, ROUNDS) == Status.SERVING)
    assert wait_until(lambda: ready(scene)["warnings"] == {})
    with scene.deployment.running.parts.database.snapshot() as connection:
        checked = report_of(check_registry_log(connection, read_registry(connection), Bodies()))
        assert checked.findings == []
