"""A base backup and an archive of the write-ahead log, restored to its end and to an earlier point."""

from __future__ import annotations

import json
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
import pytest

from ledger.errors import InvalidInputError
from ledger.log.note_keys import SigningKey
from ledger.store.postgres.database import Database
from moiety import FailedPreconditionError
from services.cli.app import main
from services.cli.base.documents import document
from services.cli.local.since import KeptReceipt, State, compare, read_receipts
from services.process.embedded import embedded_postgres
from services.schema import upgrade
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer
from tests.support.books import wait_until
from tests.support.deployment import START, SteppedClock, deployed
from tests.support.scene import POOL, Scene, event, open_scene
from tests.support.standby import base_backup, make_archive, own_postgres_folder, restored

pytestmark = pytest.mark.surface

KEY: Final = SigningKey("log.example", bytes(range(32)))
NOON: Final = "noon"
"""The restore point before the last batch."""


@dataclass(frozen=True)
class Backups:
    """What is kept apart from a database that is gone: backup, archive, last checkpoints, and platforms' receipts."""

    backup: Path
    archive: Path
    checkpoints: Path
    receipts: Path
    clock: SteppedClock


@dataclass(frozen=True)
class Restored:
    """A deployment on a restored database."""

    scene: Scene
    signer: Signer
    url: str


@pytest.fixture(scope="module")
def backups() -> Iterator[Backups]:
    with own_postgres_folder() as folder:
        yield _backed_up(folder)


def _backed_up(folder: Path) -> Backups:
    kept = Backups(
        folder / "backup", folder / "archive", folder / "checkpoints", folder / "receipts", SteppedClock(START)
    )
    make_archive(kept.archive)
    with embedded_postgres(folder / "primary") as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET archive_mode = on")
        connection.execute(f"ALTER SYSTEM SET archive_command = 'cp %p {kept.archive}/%f'")
    with embedded_postgres(folder / "primary") as url:
        upgrade(url)
        with deployed(url, kept.clock) as deployment:
            scene = open_scene(deployment)
            signer = Signer(deployment.running.parts.database, kept.clock, KEY, CheckpointFolder(kept.checkpoints))
            receipts = [scene.submit([event(1)], "first")]
            base_backup(url, kept.backup)
            receipts.append(scene.submit([event(2)], "second"))
            scene.pay_in(90_000, "january")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(f"SELECT pg_create_restore_point('{NOON}')")
                receipts.append(scene.submit([event(3)], "last"))
                assert signer.run_once()
                _archive_all(connection)
            reports = [document(each) for each in scene.operator.list_reports(POOL)]
    lines = [{"batches": [document(each) for each in receipts]}, reports]
    kept.receipts.write_text("\n".join(map(json.dumps, lines)))
    return kept


def _archive_all(connection: psycopg.Connection) -> None:
    (last,) = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone() or ("",)
    archived = "SELECT last_archived_wal >= %s FROM pg_stat_archiver"
    wait_until(lambda: connection.execute(archived, (last,)).fetchone() == (True,))


@pytest.fixture
def restore(backups: Backups, own_folder: Path) -> Iterator[Callable[[str], Restored]]:
    @contextmanager
    def to(target: str) -> Iterator[Restored]:
        with (
            restored(backups.backup, backups.archive, own_folder / "restored", target) as url,
            deployed(url, backups.clock) as deployment,
        ):
            people = (deployment.client(name) for name in ("operators/olive", "operators/otto", "platforms/tunesmith"))
            # Its own copy: what each test signs contradicts the other's.
            folder = CheckpointFolder(shutil.copytree(backups.checkpoints, own_folder / "checkpoints"))
            signer = Signer(deployment.running.parts.database, backups.clock, KEY, folder)
            yield Restored(Scene(deployment, *people), signer, url)

    with ExitStack() as stack:
        yield lambda target: stack.enter_context(to(target))


def run(found: Restored, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv("MOIETY_DATABASE_URL", found.url)
    with pytest.raises(SystemExit) as caught:
        main(["db", *arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_earlier_point_lacks_what_was_signed_and_platforms_submit_it_again(
    restore: Callable[[str], Restored],
    backups: Backups,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = restore(NOON)
    assert run(found, monkeypatch, "since", str(backups.receipts)) == 1
    assert capsys.readouterr().out.endswith(
        "missing: pools/folk/batches/tunesmith~last, leaf 5\n"
        "Of 4 receipts, 3 are there, 0 are there again at another leaf, and 1 are missing.\n"
    )
    # The registry's log, to which this test adds keys, extends what was signed.
    assert [signed.origin for signed in found.signer.run_once()] == [f"{KEY.name}/registry"]
    with pytest.raises(FailedPreconditionError, match="old backup was restored") as refused:
        found.scene.operator.calculate_round(POOL, request_id="january")
    assert refused.value.reason == "SIGNING_REFUSED"

    backups.clock.advance(hours=1)
    assert found.scene.submit([event(3)], "last").accepted_count == 1
    capsys.readouterr()  # what the service logged
    assert run(found, monkeypatch, "since", "--json", str(backups.receipts)) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["receipts"], said["there"], said["again"], said["lost"]) == (4, 3, 1, [])
    assert run(found, monkeypatch, "fsck") == 0


def test_the_end_of_the_archive_lacks_nothing_and_the_service_goes_on(
    restore: Callable[[str], Restored], backups: Backups, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = restore("")
    assert run(found, monkeypatch, "since", str(backups.receipts)) == 0
    with pytest.raises(FailedPreconditionError, match="failed over or restored"):
        found.scene.operator.calculate_round(POOL, request_id="january")
    found.signer.run_once()
    assert found.scene.cut("january").number == 1
    assert found.signer.run_once()
    assert run(found, monkeypatch, "fsck") == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "line 1 is not JSON"),
        ("[" * 100_000, "line 1 is not JSON"),
        ('{"name": "pools/folk/batches/x", "leaf_index": 1}', "has no receipt"),
        ('{"name": "pools/folk", "leaf_index": 1, "leaf_hash": "' + "00" * 32 + '"}', "has no receipt"),
    ],
)
def test_what_holds_no_receipts_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "receipts").write_text(text)
    with pytest.raises(InvalidInputError, match=told):
        read_receipts([tmp_path / "receipts"])


def test_receipts_are_read_as_the_api_prints_them_in_json_and_each_once(tmp_path: Path) -> None:
    printed = {"name": "pools/folk/batches/a~b", "leafIndex": "7", "leafHash": b64encode(bytes(32)).decode()}
    (tmp_path / "receipts").write_text("\n".join([json.dumps({"receipt": printed})] * 2))
    assert read_receipts([tmp_path / "receipts"]) == [KeptReceipt("pools/folk/batches/a~b", 7, bytes(32))]


def test_receipts_of_pools_that_a_database_does_not_have_are_missing(database: Database) -> None:
    kept = [KeptReceipt("pools/folk/batches/a~b", 7, bytes(32))]
    with database.snapshot() as connection:
        assert list(compare(connection, kept)) == [(kept[0], State.MISSING)]
