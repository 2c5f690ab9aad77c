"""A database that goes back in time where it stands: no money moves before the signer has compared it with what it
signed, and after a plain restart it does so at once.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import structlog

from ledger.log.note_keys import SigningKey
from ledger.store.logs import signing
from ledger.store.postgres.database import Database
from moiety import FailedPreconditionError, Platform, Schedule
from services.process.embedded import embedded_postgres
from services.schema import distribute, upgrade
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer
from tests.support.deployment import START, Deployment, SteppedClock, as_owner, deployed
from tests.support.disks import no_room
from tests.support.scene import POOL, Scene, event, open_scene
from tests.support.standby import program

pytestmark = pytest.mark.surface

KEY: Final = SigningKey("log.example", bytes(range(32)))


@dataclass
class Machine:
    """A Postgres that is stopped and started under a service, and a signer with the folder of its checkpoints."""

    folder: Path
    postgres: ExitStack = field(default_factory=ExitStack)

    def start(self) -> str:
        return self.postgres.enter_context(embedded_postgres(self.folder / "primary"))

    def restart(self) -> None:
        self.postgres.close()
        self.start()

    def snapshot(self) -> None:
        """Copy the data folder while Postgres is stopped."""
        self.postgres.close()
        self._copy("primary", "snapshot")
        self.start()

    def roll_back(self) -> None:
        """Put the copy of the data folder back."""
        self.postgres.close()
        shutil.rmtree(self.folder / "primary")
        self._copy("snapshot", "primary")
        self.start()

    def _copy(self, source: str, target: str) -> None:
        subprocess.run(["cp", "-a", self.folder / source, self.folder / target], check=True)  # owners too


@pytest.fixture
def machine(own_folder: Path) -> Iterator[Machine]:
    machine = Machine(own_folder)
    with machine.postgres:
        yield machine


@pytest.fixture
def url(machine: Machine) -> str:
    url = machine.start()
    upgrade(url)
    return url


@pytest.fixture
def scene(url: str) -> Iterator[Scene]:
    with deployed(url, SteppedClock(START)) as deployment:
        scene = open_scene(deployment)
        scene.submit([event(1)], "first")
        scene.pay_in(900, "january")
        yield scene


def signer_of(scene: Scene, folder: Path) -> Signer:
    """A signer that has signed all there is."""
    deployment = scene.deployment
    signer = Signer(deployment.running.parts.database, deployment.clock, KEY, CheckpointFolder(folder / "checkpoints"))
    assert signer.run_once()
    assert signer.run_once() == []
    return signer


def refusal(scene: Scene) -> str:
    """Why no round is cut, and nobody is paid."""
    reasons = set()
    for move_money in (
        lambda: scene.operator.calculate_round(POOL, request_id="january"),
        lambda: scene.operator.record_payment(POOL, "irish", 1, request_id="january"),
    ):
        with pytest.raises(FailedPreconditionError) as refused:
            move_money()
        reasons.add(refused.value.reason)
    (reason,) = reasons
    return reason


def require_noticed(scene: Scene, signer: Signer) -> None:
    """Check that no round is cut before the signer has looked, nor after it has."""
    assert refusal(scene) == "NOT_COMPARED"
    assert signer.run_once() == []
    assert refusal(scene) == "SIGNING_REFUSED"
    assert scene.balances()["revenue"] == 900


def test_a_data_folder_that_was_put_back_is_noticed(machine: Machine, scene: Scene) -> None:
    signer = signer_of(scene, machine.folder)
    machine.snapshot()
    signer.run_once()
    scene.submit([event(2)], "lost")
    assert signer.run_once()
    machine.roll_back()
    require_noticed(scene, signer)


def test_a_dump_restored_into_the_same_database_is_noticed(machine: Machine, url: str, scene: Scene) -> None:
    signer, dump = signer_of(scene, machine.folder), machine.folder / "dump"
    subprocess.run([program("pg_dump"), "-Fc", "-f", dump, url], check=True)
    scene.submit([event(2)], "lost")
    assert signer.run_once()
    options = ("--clean", "--if-exists", "--single-transaction")
    subprocess.run([program("pg_restore"), *options, "-d", url, dump], check=True)
    require_noticed(scene, signer)


def test_tables_that_are_emptied_and_filled_again_are_noticed(machine: Machine, url: str, scene: Scene) -> None:
    signer_of(scene, machine.folder)
    with as_owner(url) as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE kept AS SELECT * FROM signing")
        connection.exec_driver_sql("TRUNCATE signing")
        connection.exec_driver_sql("INSERT INTO signing SELECT * FROM kept")
    assert refusal(scene) == "NOT_COMPARED"


def test_after_a_restart_a_round_that_is_due_waits_for_one_look_of_the_signer(machine: Machine, scene: Scene) -> None:
    signer, scheduler = signer_of(scene, machine.folder), scene.deployment.running.parts.scheduler
    scene.operator.update_schedule(POOL, Schedule(cron="0 0 * * *", time_zone="UTC"))
    signer.run_once()
    machine.restart()
    scene.deployment.clock.advance(days=1)
    scene.operator.get_pool(POOL)  # by a connection to the Postgres of now
    assert scheduler.run_once() == []
    signer.run_once()
    (made,) = scheduler.run_once()
    assert made.content.number == 1


def test_a_deployment_that_never_signs_cuts_rounds_after_a_restart(machine: Machine, scene: Scene) -> None:
    machine.restart()
    assert scene.cut("january").number == 1


def found_in(database: Database) -> str:
    with database.transaction() as connection:
        return signing.which_database(connection)


def test_what_another_version_noted_is_compared_once(tmp_path: Path, deployment: Deployment) -> None:
    scene = open_scene(deployment)
    scene.submit([event(1)], "first")
    scene.pay_in(900, "january")
    signer, database = signer_of(scene, tmp_path), deployment.running.parts.database
    with as_owner(deployment.settings.database_url or "") as owner:
        owner.exec_driver_sql("UPDATE signing SET database = '7713748664930432178/5/00000001'")
    assert refusal(scene) == "NOT_COMPARED"
    written = "SELECT pool_id, xmin::text, database FROM signing ORDER BY pool_id"
    noted = []
    for _ in range(2):
        assert signer.run_once() == []
        with database.reading() as connection:
            noted.append(connection.exec_driver_sql(written).all())
    assert noted[0] == noted[1]
    assert {database for _, _, database in noted[0]} == {found_in(database)}
    assert scene.cut("january").number == 1


def test_a_folder_that_takes_nothing_keeps_no_money_from_moving(tmp_path: Path, deployment: Deployment) -> None:
    """A log is compared by reading; a disk that is full after a restart of Postgres keeps the signer from signing."""
    scene = open_scene(deployment)
    scene.submit([event(1)], "first")
    scene.pay_in(900, "january")
    signer = signer_of(scene, tmp_path)
    scene.submit([event(2)], "since")
    scene.operator.create_platform("another", Platform(display_name="Another"))
    with as_owner(deployment.settings.database_url or "") as owner:
        owner.exec_driver_sql("UPDATE signing SET database = 'before the restart'")
    assert refusal(scene) == "NOT_COMPARED"
    with no_room(), structlog.testing.capture_logs() as logged:
        assert signer.run_once() == []
    failed = {(line["event"], line["pool"]) for line in logged}
    assert failed == {("checkpoint not signed", "registry"), ("checkpoint not signed", POOL)}
    assert scene.cut("january").number == 1
    assert {checkpoint.origin for checkpoint in signer.run_once()} == {
        "log.example/registry",
        f"log.example/pools/{POOL}",
    }


def test_a_database_in_partitions_is_told_from_its_copies_too(deployment: Deployment) -> None:
    url, database = deployment.settings.database_url or "", deployment.running.parts.database
    distribute(url, partitions=4)
    before = found_in(database)
    with as_owner(url) as owner:
        owner.exec_driver_sql("TRUNCATE signing")
    assert found_in(database) != before
