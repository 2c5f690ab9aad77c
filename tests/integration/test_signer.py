"""Checkpoints are signed one after another, each an extension of the last; after anything else, nothing is signed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa
import structlog

from ledger.errors import InvalidInputError, LedgerCorruptError, StateError
from ledger.log.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ledger.log.forks import ForkEvidence
from ledger.log.merkle import verify_consistency
from ledger.log.note_keys import SigningKey
from ledger.store.logs import checkpoints, log, proofs, signing
from ledger.store.logs.checkpoints import StoredCheckpoint
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.pools.pools import get_pool
from ledger.store.postgres.database import Database
from moiety import Client, Policy, Pool
from services.process.embedded import embedded_postgres
from services.process.host import everything, scheduling
from services.settings import load_settings
from services.signing.folder import CheckpointFolder
from services.signing.key_file import generate_key, read_key
from services.signing.signer import Signer
from tests.support.books import execute, wait_until
from tests.support.deployment import Deployment, SteppedClock, deployed, fresh_database
from tests.support.scene import POOL, Scene, event, open_scene

KEY: Final = SigningKey("log.example", bytes(range(32)))
POOL_KEY: Final = KEY.named(f"log.example/pools/{POOL}")


@pytest.fixture(autouse=True)
def pools_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's log is signed like any other; these tests are of a pool's."""
    every = log.read_heads
    monkeypatch.setattr(log, "read_heads", lambda *asked: [one for one in every(*asked) if one[0] != REGISTRY])


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints")


@pytest.fixture
def signer(scene: Scene, folder: CheckpointFolder) -> Signer:
    return signer_on(scene, folder)


def signer_on(scene: Scene, folder: CheckpointFolder, key: SigningKey = KEY) -> Signer:
    """A signer as a process of its own would have it."""
    return Signer(scene.deployment.running.parts.database, scene.deployment.clock, key, folder)


def pool_of(database: Database) -> PoolRef:
    with database.transaction() as connection:
        return get_pool(connection, POOL).ref


def stored(scene: Scene) -> list[StoredCheckpoint]:
    database = scene.deployment.running.parts.database
    with database.transaction() as connection:
        return checkpoints.list_checkpoints(connection, pool_of(database))


def require_chain(scene: Scene) -> list[int]:
    """Check that each checkpoint is signed and extends the one before it; gives their sizes."""
    database, pool = scene.deployment.running.parts.database, pool_of(scene.deployment.running.parts.database)
    opened = [open_checkpoint(found.note, POOL_KEY.verifier_key).checkpoint for found in stored(scene)]
    for older, newer in pairwise(opened):
        with database.transaction() as connection:
            proof = proofs.consistency_proof(connection, pool, older.size, newer.size)
        verify_consistency(older.size, newer.size, older.root, newer.root, proof.hashes)
    return [checkpoint.size for checkpoint in opened]


def refusal(signer: Signer, scene: Scene) -> StateError:
    with pytest.raises(StateError) as caught:
        signer.sign(pool_of(scene.deployment.running.parts.database))
    return caught.value


def test_a_log_that_grew_is_signed_once(scene: Scene, signer: Signer, folder: CheckpointFolder) -> None:
    (first,) = signer.run_once()
    assert (first.origin, first.size) == (POOL_KEY.name, 2)
    assert first.root == scene.operator.get_log_head(POOL).root
    assert signer.run_once() == []
    scene.submit([event(1)], "b")
    scene.submit([event(2)], "b-2")
    (second,) = signer.run_once()
    assert second.size == 4
    assert require_chain(scene) == [2, 4]
    copy = folder.read(POOL, POOL_KEY.verifier_key)
    assert copy is not None
    assert copy == (second, stored(scene)[-1].note)


def test_a_key_with_another_name_than_the_deployment_signs_nothing(scene: Scene, folder: CheckpointFolder) -> None:
    """Whoever verifies knows the deployment by the name of its key: what such a key signs never verifies."""
    misnamed = signer_on(scene, folder, SigningKey("exmaple.com", KEY.seed))
    refused = refusal(misnamed, scene)
    assert refused.kind == "KEY_OF_ANOTHER"
    assert "the key is that of exmaple.com, and the deployment is log.example" in str(refused)
    assert misnamed.run_once() == []
    assert stored(scene) == []
    assert len(signer_on(scene, folder).run_once()) == 1


def test_what_a_signer_with_a_folder_of_its_own_refused_holds_no_round_up_once_it_is_gone(
    scene: Scene, signer: Signer, tmp_path: Path
) -> None:
    database = scene.deployment.running.parts.database
    signer.run_once()
    assert signer_on(scene, CheckpointFolder(tmp_path / "empty")).run_once() == []
    with database.transaction() as connection, pytest.raises(StateError) as refused:
        signing.require_sound(connection, pool_of(database))
    assert refused.value.kind == "SIGNING_REFUSED"
    assert signer.run_once() == []
    with database.transaction() as connection:
        signing.require_sound(connection, pool_of(database))


def test_another_process_goes_on_where_the_last_one_ended(scene: Scene, folder: CheckpointFolder) -> None:
    for number in range(3):
        scene.submit([event(number)], f"b-{number}")
        assert len(signer_on(scene, folder).run_once()) == 1
        assert signer_on(scene, folder).run_once() == []
    assert require_chain(scene) == [3, 4, 5]


def test_three_signers_at_once_give_one_chain(scene: Scene, folder: CheckpointFolder) -> None:
    signers = [signer_on(scene, folder) for _ in range(3)]
    with ThreadPoolExecutor(3) as threads:
        for number in range(8):
            scene.submit([event(number)], f"b-{number}")
            for ended in [threads.submit(signer.run_once) for signer in signers]:
                ended.result()
    signers[0].run_once()
    sizes = require_chain(scene)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == scene.operator.get_log_head(POOL).size


def test_a_row_that_was_lost_after_the_copy_is_made_up_for(
    scene: Scene, signer: Signer, folder: CheckpointFolder, owner: sa.Engine
) -> None:
    """As when the process is killed, or the database goes away, between the copy and the commit."""
    signer.run_once()
    note = stored(scene)[0].note
    execute(owner, "DELETE FROM checkpoint")
    assert signer_on(scene, folder).run_once() == []
    assert [found.note for found in stored(scene)] == [note]

    execute(owner, "DELETE FROM checkpoint")
    scene.submit([event(1)], "b")
    (signed,) = signer_on(scene, folder).run_once()
    assert signed.size == 3
    assert require_chain(scene) == [2, 3]


def test_a_copy_without_a_commit_is_the_last_one_signed(
    scene: Scene, signer: Signer, folder: CheckpointFolder, owner: sa.Engine
) -> None:
    signer.sign(REGISTRY)
    execute(owner, "REVOKE INSERT ON checkpoint FROM moiety_app")
    assert signer.run_once() == []
    copy = folder.read(POOL, POOL_KEY.verifier_key)
    assert copy is not None
    execute(owner, "GRANT INSERT ON checkpoint TO moiety_app")
    scene.submit([event(1)], "b")
    signer.run_once()
    assert require_chain(scene) == [copy[0].size, copy[0].size + 1]


DIES: Final = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from ledger.log.note_keys import SigningKey
from ledger.store.postgres.database import Database
from services.signing import folder
from services.signing.signer import Signer

url, path, moment = sys.argv[1:]

class Dying(folder.CheckpointFolder):
    def write(self, pool, note):
        if pool == "registry":
            return super().write(pool, note)
        if moment == "before":
            os._exit(9)
        if moment == "amid":
            os.replace = Path.replace = lambda *_: os._exit(9)
        super().write(pool, note)
        os._exit(9)

key = SigningKey("log.example", bytes(range(32)))
Signer(Database(url), lambda: datetime.now(UTC), key, Dying(Path(path))).run_once()
"""


@pytest.mark.parametrize(("moment", "sizes"), [("before", [2, 4]), ("amid", [2, 4]), ("after", [2, 3, 4])])
def test_a_signer_that_is_killed_at_its_copy_loses_and_forks_nothing(
    scene: Scene, signer: Signer, folder: CheckpointFolder, database_url: str, moment: str, sizes: list[int]
) -> None:
    signer.run_once()
    scene.submit([event(1)], "b")
    command = [sys.executable, "-c", DIES, database_url, str(folder.path), moment]
    assert subprocess.run(command, check=False).returncode == 9
    assert [found.size for found in stored(scene)] == [2]
    copy = folder.read(POOL, POOL_KEY.verifier_key)
    assert copy is not None
    assert copy[0].size == (3 if moment == "after" else 2)
    scene.submit([event(2)], "b-2")
    assert [checkpoint.size for checkpoint in signer_on(scene, folder).run_once()] == [4]
    assert require_chain(scene) == sizes


def test_after_restoring_an_old_backup_nothing_is_signed_and_the_service_goes_on(
    scene: Scene,
    signer: Signer,
    folder: CheckpointFolder,
    postgres: sa.Engine,
    clock: SteppedClock,
) -> None:
    scene.submit([event(1)], "b")
    signer.run_once()
    parts = scene.deployment.running.parts
    backup = sa.engine.make_url(parts.settings.database_url).database
    parts.database.close()
    with fresh_database(postgres, template=str(backup)) as restored, deployed(restored, clock) as again:
        scene.submit([event(2)], "b-2")
        signer.run_once()
        scene_sizes = require_chain(scene)
        platform = again.client("platforms/tunesmith")
        database = again.running.parts.database
        late = Signer(database, clock, KEY, folder)
        copy = folder.read(POOL, POOL_KEY.verifier_key)

        with structlog.testing.capture_logs() as logged:
            assert late.run_once() == []
            assert late.run_once() == []
        (said,) = logged
        assert said["log_level"] == "error"
        assert "the log has only 3 leaves" in said["reason"]
        assert "an old backup was restored" in said["reason"]

        # The service serves, the log grows past what was signed, and still nothing is signed of it.
        for number in range(5, 8):
            platform.submit_events(POOL, [event(number)], "ngram", batch_id=f"b-{number}")
        with structlog.testing.capture_logs() as logged:
            assert late.run_once() == []
        assert "the log has other leaves" in logged[0]["reason"]
        with database.transaction() as connection:
            found = checkpoints.list_checkpoints(connection, pool_of(database))
        assert [checkpoint.size for checkpoint in found] == scene_sizes[:-1]
        assert folder.read(POOL, POOL_KEY.verifier_key) == copy
        with pytest.raises(StateError) as caught:
            late.adopt(pool_of(database))
        assert caught.value.kind == "COPY_NEWER"


def test_a_refusal_that_stands_is_said_again_only_after_a_while(
    scene: Scene, signer: Signer, folder: CheckpointFolder, clock: SteppedClock
) -> None:
    signer.run_once()
    (folder.path / f"{POOL}.checkpoint").unlink()
    late = signer_on(scene, folder)
    with structlog.testing.capture_logs() as logged:
        late.run_once()
        late.run_once()
        clock.advance(minutes=5)
        late.run_once()
    assert [line["event"] for line in logged] == ["nothing is signed"] * 2


def test_a_log_whose_leaves_were_changed_is_not_signed(
    scene: Scene, signer: Signer, folder: CheckpointFolder, owner: sa.Engine
) -> None:
    scene.submit([event(1)], "b")
    signer.run_once()
    execute(owner, "UPDATE node SET hash = sha256(hash) WHERE level = 1 AND node_index = 0")
    scene.submit([event(2)], "b-2")
    assert refusal(signer, scene).kind == "LOG_CONTRADICTS_CHECKPOINT"
    assert signer_on(scene, folder).run_once() == []
    assert len(stored(scene)) == 1


def test_a_head_that_is_not_that_of_its_leaves_is_not_signed_even_first(
    scene: Scene, signer: Signer, owner: sa.Engine
) -> None:
    execute(owner, "UPDATE head SET frontier = sha256(frontier)")
    with pytest.raises(LedgerCorruptError):
        signer.sign(pool_of(scene.deployment.running.parts.database))
    assert signer.run_once() == []
    assert stored(scene) == []


def test_without_its_copy_nothing_is_signed_until_an_operator_adopts(
    scene: Scene, signer: Signer, folder: CheckpointFolder
) -> None:
    signer.run_once()
    shutil.rmtree(folder.path)
    folder.path.mkdir()
    scene.submit([event(1)], "b")
    error = refusal(signer, scene)
    assert error.kind == "COPY_MISSING"
    assert f"moiety log adopt {POOL}" in error.detail
    assert signer.adopt(pool_of(scene.deployment.running.parts.database)).size == 2
    # Nothing is signed that rests on a registry that is not.
    assert signer.run_once() == []
    signer.adopt(REGISTRY)
    assert [checkpoint.size for checkpoint in signer.run_once()] == [3]


def test_signers_that_share_no_folder_do_not_sign_past_each_other(
    scene: Scene, signer: Signer, folder: CheckpointFolder, tmp_path: Path
) -> None:
    elsewhere = CheckpointFolder(tmp_path / "elsewhere")
    signer.run_once()
    shutil.copytree(folder.path, elsewhere.path, dirs_exist_ok=True)
    scene.submit([event(1)], "b")
    signer.run_once()
    scene.submit([event(2)], "b-2")
    other = signer_on(scene, elsewhere)
    assert refusal(other, scene).kind == "COPY_BEHIND"
    assert other.adopt(pool_of(scene.deployment.running.parts.database)).size == 3
    assert [checkpoint.size for checkpoint in other.run_once()] == [4]
    assert not (elsewhere.path / "evidence").exists()


@pytest.mark.parametrize("size", [2, 3])
def test_two_contradictory_checkpoints_of_this_key_leave_evidence(
    scene: Scene, signer: Signer, folder: CheckpointFolder, size: int
) -> None:
    """As when another machine with the same key has signed another log, and its folder came here."""
    signer.run_once()
    scene.submit([event(1)], "b")
    other = sign_checkpoint(Checkpoint(POOL_KEY.name, size, b"\x05" * 32), POOL_KEY).to_bytes()
    scene.submit([event(2)], "b-2")
    signer.run_once()
    folder.write(POOL, other)
    assert refusal(signer, scene).kind == "COPY_BEHIND"
    (kept,) = (folder.path / "evidence").glob("*.fork-evidence")
    fork = ForkEvidence.parse(kept.read_bytes()).verify(POOL_KEY.verifier_key)
    assert (fork.older.size, fork.newer.size) == (size, 4)
    assert fork.older.root == b"\x05" * 32
    refusal(signer, scene)
    assert len(list((folder.path / "evidence").iterdir())) == 1


def test_evidence_that_cannot_be_kept_does_not_hide_why_nothing_is_signed(
    scene: Scene, signer: Signer, folder: CheckpointFolder
) -> None:
    signer.run_once()
    other = sign_checkpoint(Checkpoint(POOL_KEY.name, 2, b"\x05" * 32), POOL_KEY).to_bytes()
    folder.write(POOL, other)
    (folder.path / "evidence").touch()  # in the way, as a full disk is
    with structlog.testing.capture_logs() as logged:
        assert refusal(signer, scene).kind == "COPY_BEHIND"
    (line,) = logged
    assert str(folder.path) in line["evidence"]


def test_a_folder_that_takes_nothing_is_named_and_signed_into_later(
    scene: Scene, signer: Signer, folder: CheckpointFolder
) -> None:
    shutil.rmtree(folder.path)
    with structlog.testing.capture_logs() as logged:
        assert signer.run_once() == []
    assert {line["event"] for line in logged} == {"checkpoint not signed"}
    reason = f"the folder of checkpoints {folder.path} is not available: No such file or directory"
    assert {line["reason"] for line in logged} == {reason}
    assert stored(scene) == []
    folder.path.mkdir()
    signer.run_once()
    assert len(stored(scene)) == 1


OF_ANOTHER_LOG: Final = sign_checkpoint(Checkpoint("x", 1, bytes(32)), KEY).to_bytes()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint\n", OF_ANOTHER_LOG])
def test_a_copy_that_this_key_did_not_sign_is_not_extended(
    scene: Scene, signer: Signer, folder: CheckpointFolder, content: bytes
) -> None:
    signer.run_once()
    folder.write(POOL, content)
    assert refusal(signer, scene).kind == "COPY_UNREADABLE"


def test_one_pools_refusal_is_not_anothers(scene: Scene, signer: Signer, folder: CheckpointFolder) -> None:
    folder.write(POOL, b"")
    scene.operator.create_pool("sea", scene.operator.get_pool(POOL))
    assert [checkpoint.origin for checkpoint in signer.run_once()] == ["log.example/pools/sea"]


def test_a_key_of_another_origin_signs_nothing(scene: Scene, signer: Signer, tmp_path: Path) -> None:
    signer.run_once()
    renewed = signer_on(scene, CheckpointFolder(tmp_path / "new"), SigningKey("log.example/2", bytes(32)))
    assert renewed.run_once() == []
    assert refusal(renewed, scene).kind == "KEY_OF_ANOTHER"


def test_nothing_was_signed_and_so_nothing_can_be_adopted(scene: Scene, signer: Signer) -> None:
    with pytest.raises(StateError) as caught:
        signer.adopt(pool_of(scene.deployment.running.parts.database))
    assert caught.value.kind == "NOTHING_SIGNED"


def test_a_key_file_is_its_owners_and_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "signing-key"
    key = generate_key(path, "log.example")
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path) == key
    for origin, wanted in (("log.example", "signing key file"), ("no spaces", "origin")):
        with pytest.raises(InvalidInputError) as caught:
            generate_key(path, origin)
        assert caught.value.violations[0].field == wanted
    for content in (b"", b"\xff", b"nonsense\n"):
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match="MOIETY_SIGNING_KEY_FILE"):
            read_key(path)
    with pytest.raises(InvalidInputError, match="MOIETY_SIGNING_KEY_FILE"):
        read_key(tmp_path / "none")


def test_a_folder_that_cannot_be_is_refused_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="MOIETY_CHECKPOINT_FOLDER"):
        CheckpointFolder(tmp_path / "file" / "checkpoints")


def test_the_background_process_signs(scene: Scene, tmp_path: Path, clock: SteppedClock) -> None:
    path = tmp_path / "signing-key"
    key = generate_key(path, "log.example")
    chosen = {"signing_key_file": path, "checkpoint_folder": tmp_path / "checkpoints", "checkpoint_seconds": 0.05}
    with scheduling(scene.deployment.settings.model_copy(update=chosen), clock=clock):
        wait_until(lambda: stored(scene))
        scene.submit([event(1)], "b")
        wait_until(lambda: len(stored(scene)) == 2)
    assert stored(scene)[-1].key == key.named(POOL_KEY.name).verifier_key


def test_everything_in_one_process_makes_its_key_and_signs(own_folder: Path, clock: SteppedClock) -> None:
    data = own_folder / "data"
    settings = load_settings(listen="127.0.0.1:0", checkpoint_seconds=0.05)
    copy = data / "checkpoints" / f"{POOL}.checkpoint"
    with (
        embedded_postgres(data) as url,
        everything(settings, data, url, clock=clock) as running,
        Client(running.address, running.founders_keys["operators/first"] or "") as client,
    ):
        client.create_pool(POOL, Pool(display_name="Folk tunes", currency="EUR", policy=Policy()))
        wait_until(copy.exists)
    key = read_key(data / "signing-key").named(f"localhost/moiety/pools/{POOL}")
    assert open_checkpoint(copy.read_bytes(), key.verifier_key).checkpoint.size == 1
