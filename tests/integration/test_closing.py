"""Closing a pool: no more usage, its last round, and then the rows of its events go."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

from ledger.log.note_keys import SigningKey
from ledger.store import tables as t
from ledger.store.postgres.database import Database
from moiety import FailedPreconditionError, batch_of
from services.cli.app import main
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer
from tests.support.books import execute
from tests.support.deployment import Deployment
from tests.support.exports import report_of
from tests.support.fsck_scene import check
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene

KEY: Final = SigningKey("log.example", bytes(range(32)))


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    scene = open_scene(deployment)
    scene.submit([event(1), event(2), event(1)], "first")
    return scene


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


def event_rows(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(t.event)).scalar_one())


def findings(database: Database) -> list[str]:
    with database.snapshot() as connection:
        return [f"{each.where.table} {each.figure}" for report in check(connection) for each in report.findings]


def signer_of(scene: Scene, folder: Path) -> Signer:
    parts = scene.deployment.running.parts
    return Signer(parts.database, scene.deployment.clock, KEY, CheckpointFolder(folder))


def test_a_closed_pool_takes_no_usage_and_no_retraction_and_says_what_that_means(
    scene: Scene, database: Database
) -> None:
    first = scene.platform.get_batch(POOL, "tunesmith", "first")
    closed = scene.operator.close_pool(POOL)
    assert closed.HasField("close_time")
    assert scene.operator.close_pool(POOL).close_time == closed.close_time
    assert scene.operator.get_pool(POOL).close_time == closed.close_time
    for refused in (
        lambda: scene.submit([event(3)], "second"),
        lambda: scene.platform.submit_usage(POOL, batch_of(events(range(5, 9))), METHOD),
        lambda: scene.platform.submit_usage(POOL, batch_of(events(range(5, 9))), METHOD, validate_only=True),
        lambda: scene.platform.retract_usage(POOL, request_id="r", batch_id="first", reason="no"),
    ):
        with pytest.raises(FailedPreconditionError, match="takes no usage since") as caught:
            refused()
        assert "no receipt" in str(caught.value)
    again = scene.submit([event(1), event(2), event(1)], "first")
    assert again.leaf_hash == first.leaf_hash
    assert findings(database) == []


def test_its_last_round_is_calculated_and_paid(scene: Scene) -> None:
    scene.operator.close_pool(POOL)
    scene.pay_in(1000, "late")
    assert scene.cut("last").pot_minor == 1000
    assert scene.balances()["revenue"] == 0
    assert scene.allocations(1)["irish"] > 600


def test_whatever_races_with_the_closing_no_usage_comes_after_it(scene: Scene, database: Database) -> None:
    started = threading.Barrier(5)

    def submit(worker: int) -> int:
        started.wait()
        done = 0
        for number in range(30):
            try:
                scene.submit([event(1000 + 100 * worker + number)], f"b-{worker}-{number}")
            except FailedPreconditionError:
                break
            done += 1
        return done

    with ThreadPoolExecutor(4) as threads:
        working = [threads.submit(submit, worker) for worker in range(4)]
        started.wait()
        scene.operator.close_pool(POOL)
        done = sum(each.result() for each in working)
    with database.reading() as connection:
        last = connection.execute(sa.select(sa.func.max(t.batch.c.leaf_index))).scalar_one()
        closing = connection.execute(sa.select(t.closing.c.leaf_index)).scalar_one()
        batches = connection.execute(sa.select(sa.func.count()).select_from(t.batch)).scalar_one()
    assert last < closing
    assert batches == done + 1
    assert findings(database) == []


def test_rows_of_events_go_once_the_last_round_is_posted_signed_and_bundled(
    scene: Scene,
    database: Database,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MOIETY_DATABASE_URL", database_url)
    signer, auditor = signer_of(scene, tmp_path / "checkpoints"), scene.deployment.client("auditors/ada")
    early, whole = tmp_path / "early.tar", tmp_path / "whole.tar"

    def drop(bundle: Path) -> tuple[int, str]:
        code = run("db", "drop-events", POOL, "--bundle", str(bundle), "--json")
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    signer.run_once()
    write_bundle(PoolSource(auditor, POOL), early)
    code, said = drop(early)
    assert (code, "takes usage; close it first" in said) == (3, True), said
    scene.operator.close_pool(POOL)
    scene.pay_in(1000, "money")
    code, said = drop(early)
    assert (code, "no posted round has taken" in said) == (3, True), said
    scene.cut("last")
    code, said = drop(early)
    assert (code, "holds" in said) == (2, True), said
    (tmp_path / "no.tar").write_bytes(b"no bundle")
    assert drop(tmp_path / "no.tar")[0] == 2
    signer.run_once()
    write_bundle(PoolSource(auditor, POOL), whole)
    assert event_rows(database) == 2
    code, said = drop(whole)
    assert (code, json.loads(said[said.index("{") :])) == (0, {"pool": POOL, "deleted": 2})
    assert event_rows(database) == 0
    assert json.loads(drop(whole)[1])["deleted"] == 0
    assert findings(database) == []
    with pytest.raises(FailedPreconditionError, match="rows of its events were dropped"):
        scene.platform.find_event(POOL, str(event(1).event_id))
    assert report_of(whole, KEY.named(f"log.example/pools/{POOL}").verifier_key).finding is None


@pytest.mark.usefixtures("scene")
def test_fsck_finds_what_is_left_of_events_that_were_dropped_and_a_pool_closed_behind_its_log(
    database: Database, owner: sa.Engine
) -> None:
    execute(owner, "INSERT INTO closing SELECT pool_id, now(), true, 2 FROM pool WHERE name = 'folk'")
    found = findings(database)
    assert found.count("closing row") == 1
    assert found.count("event row") == 2


def test_a_service_that_lost_the_race_hears_of_the_closing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is closed between a batch's preparation and its transaction."""
    store = scene.deployment.running.parts.usage
    record = store._record_new

    def closed_meanwhile(group: object) -> object:
        scene.operator.close_pool(POOL)
        return record(group)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "_record_new", closed_meanwhile)
    with pytest.raises(FailedPreconditionError, match="takes no usage since"):
        scene.submit([event(3)], "second")
