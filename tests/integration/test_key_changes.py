"""The signing key is changed for real: the old one signs nothing any more, and the new one nothing before its leaf."""

from __future__ import annotations

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
import sqlalchemy as sa

import audit.folds.registry
import audit.verification.named
import services.signing.key_changes
from ledger.acts.entries import WitnessesContent
from ledger.errors import InvalidInputError, StateError
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.key_changes import KeyChange, Reason
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.notes import parse_note
from ledger.store.logs import checkpoints
from ledger.store.logs.checkpoints import StoredCosignature
from ledger.store.logs.log import REGISTRY
from ledger.store.pools.pools import get_pool, pool_refs
from moiety.errors import InvalidArgumentError
from services.cli.app import main
from services.exports.source import PoolSource
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import export_folder
from services.signing.folder import CheckpointFolder
from services.signing.key_changes import MadeChange, change_key
from services.signing.signer import Signer
from tests.support.books import execute
from tests.support.deployment import Deployment
from tests.support.scene import POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

OLD: Final = SigningKey("log.example", bytes(range(32)))
NEW: Final = SigningKey("log.example", bytes([7] * 32))
NEXT: Final = SigningKey("log.example", bytes([8] * 32))
WITNESS: Final = SigningKey("w1.example", bytes([1] * 32), SignatureType.COSIGNATURE)
ROOT: Final = Path(__file__).parents[2]


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    return CheckpointFolder(tmp_path / "checkpoints")


def signer_of(scene: Scene, folder: CheckpointFolder, key: SigningKey) -> Signer:
    return Signer(scene.deployment.running.parts.database, scene.deployment.clock, key, folder)


def changed(
    scene: Scene, folder: CheckpointFolder, old: SigningKey | None, new: SigningKey, reason: Reason = Reason.ROTATED
) -> MadeChange:
    return change_key(scene.deployment.running.parts.database, folder, reason, old, new)


def refusal(signer: Signer) -> str:
    """Why the signer signs no pool's log; it must not sign the registry's either."""
    database = signer._database
    with database.transaction() as connection:
        pool = get_pool(connection, POOL).ref
    kinds = set()
    for each in (pool, REGISTRY):
        with pytest.raises(StateError) as caught:
            signer.sign(each)
        kinds.add(caught.value.kind)
    (kind,) = kinds
    return kind


def sizes(signed: list[Checkpoint]) -> dict[str, int]:
    return {checkpoint.origin.rpartition("/")[2]: checkpoint.size for checkpoint in signed}


def refusals(scene: Scene) -> list[str]:
    with scene.deployment.running.parts.database.transaction() as connection:
        return [row.refusal for row in connection.execute(sa.text("SELECT refusal FROM signing WHERE refusal <> ''"))]


def verdict(scene: Scene, folder: Path, key: SigningKey, *options: str) -> int:
    write_bundle(PoolSource(scene.operator, POOL), folder / "folk.tar")
    arguments = ["verify", str(folder / "folk.tar"), "--key", str(key.verifier_key), *options]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_the_old_key_signs_nothing_after_the_leaf_and_the_new_one_nothing_before(
    scene: Scene, folder: CheckpointFolder, tmp_path: Path
) -> None:
    old, new = signer_of(scene, folder, OLD), signer_of(scene, folder, NEW)
    scene.submit([event(1)], "b-1")
    before = sizes(old.run_once())
    assert before.keys() == {"registry", POOL}
    export_folder(PoolSource(scene.operator, POOL), tmp_path / "tiles")

    # 1. Another key signs nothing, even with a folder of its own; and does not keep rounds from being cut.
    assert new.run_once() == []
    assert refusal(new) == "KEY_NOT_NAMED"
    assert refusal(signer_of(scene, CheckpointFolder(tmp_path / "empty"), NEW)) == "KEY_NOT_NAMED"
    assert refusals(scene) == []

    # 2. The leaf says how far the old key signed. From then on it signs nothing, wherever it is.
    scene.submit([event(2)], "b-2")
    made = changed(scene, folder, OLD, NEW)
    assert {last.log: last.size for last in made.change.logs} == before
    assert old.run_once() == []
    assert refusal(old) == "KEY_REPLACED"
    assert refusal(signer_of(scene, CheckpointFolder(tmp_path / "thief"), OLD)) == "KEY_REPLACED"

    # 3. The new one goes on in the same folder, and signs each log anew.
    after = sizes(new.run_once())
    assert after == {"registry": made.leaf_index + 1, POOL: before[POOL] + 1}
    scene.submit([event(3)], "b-3")
    assert sizes(new.run_once()) == {POOL: after[POOL] + 1}
    assert sizes(signer_of(scene, folder, NEW).run_once()) == {}

    # 4. Bundles and tiles go on, and hold for whoever has one of the keys.
    assert verdict(scene, tmp_path, OLD) == 0
    assert verdict(scene, tmp_path, NEW, "--since", str(tmp_path / "folk.tar")) == 0
    export_folder(PoolSource(scene.operator, POOL), tmp_path / "tiles")
    for key in (OLD, NEW):
        with pytest.raises(SystemExit) as ended:
            main(["verify", str(tmp_path / "tiles"), "--key", str(key.verifier_key)])
        assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(tmp_path / "tiles"), "--key", str(NEXT.verifier_key)])
    assert ended.value.code == 1


def test_a_key_is_changed_twice_and_none_comes_back(scene: Scene, folder: CheckpointFolder, tmp_path: Path) -> None:
    signer_of(scene, folder, OLD).run_once()
    changed(scene, folder, OLD, NEW)
    # The new key has signed nothing yet: the next change states what the one before says.
    changed(scene, folder, NEW, NEXT)
    for old in (OLD, NEW):
        assert refusal(signer_of(scene, folder, old)) == "KEY_REPLACED"
        with pytest.raises(InvalidInputError, match="is not the key that signs now"):
            changed(scene, folder, old, SigningKey("log.example", bytes([9] * 32)))
    assert sizes(signer_of(scene, folder, NEXT).run_once()).keys() == {"registry", POOL}
    for new in (OLD, NEW, NEXT):
        with pytest.raises(InvalidInputError):
            changed(scene, folder, NEXT, new)
    with pytest.raises(InvalidInputError):
        changed(scene, folder, NEXT, SigningKey("other.example", bytes([9] * 32)))
    for key in (OLD, NEW, NEXT):
        assert verdict(scene, tmp_path, key) == 0


def test_a_change_that_verifiers_would_not_read_is_not_logged(
    scene: Scene, folder: CheckpointFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (services.signing.key_changes, audit.folds.registry, audit.verification.named):
        monkeypatch.setattr(room, "MAX_CHANGES", 1)
    signer_of(scene, folder, OLD).run_once()
    made = changed(scene, folder, OLD, NEW)
    after = signer_of(scene, folder, NEW).run_once()
    with pytest.raises(StateError, match="at most 1 changes") as caught:
        changed(scene, folder, NEW, NEXT)
    assert caught.value.kind == "TOO_MANY_KEY_CHANGES"
    for room in (services.signing.key_changes, audit.folds.registry, audit.verification.named):
        monkeypatch.setattr(room, "MAX_CHANGES", 1_000)
        monkeypatch.setattr(room, "MAX_LISTED_BYTES", 2 * len(made.change.listed()) - 1)
    with pytest.raises(StateError, match="bytes of their lists of logs"):
        changed(scene, folder, NEW, NEXT)
    assert verdict(scene, tmp_path, OLD) == 0
    assert after


def test_a_change_never_states_less_than_the_old_key_signed(
    scene: Scene, folder: CheckpointFolder, owner: sa.Engine, tmp_path: Path
) -> None:
    old = signer_of(scene, folder, OLD)
    old.run_once()
    copies = shutil.copytree(folder.path, tmp_path / "copies")
    scene.submit([event(1)], "b-1")
    signed = sizes(old.run_once())[POOL]
    # The copies are older than the database, or away: of a rotation this is an error.
    for other in (CheckpointFolder(copies), CheckpointFolder(tmp_path / "empty")):
        with pytest.raises(StateError) as caught:
            changed(scene, other, OLD, NEW)
        assert caught.value.kind == "COPY_MISSING"
    # The database lost the row that the copy has, as when a process is killed between the two.
    execute(owner, f"DELETE FROM checkpoint WHERE size = {signed} AND pool_id > 0")
    made = changed(scene, folder, OLD, NEW)
    assert {last.log: last.size for last in made.change.logs}[POOL] == signed
    # A copy by the old key beyond what the change says contradicts it: a thief, or a second machine, signed.
    scene.submit([event(2)], "b-2")
    with scene.deployment.running.parts.database.transaction() as connection:
        pool = get_pool(connection, POOL).ref
    assert signer_of(scene, folder, NEW).sign(pool)[0] is not None
    execute(owner, "DELETE FROM checkpoint WHERE pool_id > 0")
    head = scene.operator.get_log_head(POOL)
    named = OLD.named(f"log.example/pools/{POOL}")
    folder.write(POOL, sign_checkpoint(Checkpoint(named.name, head.size, head.root), named).to_bytes())
    with pytest.raises(StateError) as caught:
        signer_of(scene, folder, NEW).sign(pool)
    assert caught.value.kind == "LOG_CONTRADICTS_CHECKPOINT"


def test_a_lost_key_is_replaced_without_it_and_counts_by_the_witnesses_named_before(
    scene: Scene, folder: CheckpointFolder, tmp_path: Path
) -> None:
    scene.deployment.act(WitnessesContent(policy=f"witness w1 {WITNESS.verifier_key}\nquorum w1\n"))
    signer_of(scene, folder, OLD).run_once()
    empty = CheckpointFolder(tmp_path / "new-machine")
    made = changed(scene, empty, None, NEW, Reason.STOLEN)
    assert made.witnesses_named
    assert KeyChange.parse(made.change.to_bytes()) == made.change
    assert sizes(signer_of(scene, empty, NEW).run_once()).keys() == {"registry", POOL}
    assert verdict(scene, tmp_path, OLD) == 1  # no witness has cosigned it
    cosign(scene)
    assert verdict(scene, tmp_path, OLD) == 0
    # Until the witness comes round again, bundles and exports are of what it cosigned.
    scene.submit([event(1)], "b-1")
    assert sizes(signer_of(scene, empty, NEW).run_once()).keys() == {POOL}
    newest, held = (scene.operator.get_checkpoint(POOL, cosigned=asked) for asked in (False, True))
    assert (newest.size, len(newest.cosignatures)) == (held.size + 1, 0)
    assert verdict(scene, tmp_path, OLD) == 0
    export_folder(PoolSource(scene.operator, POOL), tmp_path / "tiles")
    with pytest.raises(SystemExit) as ended:
        main(["verify", str(tmp_path / "tiles"), "--key", str(OLD.verifier_key)])
    assert ended.value.code == 0
    with pytest.raises(InvalidArgumentError):
        scene.operator.get_checkpoint(POOL, min_size=1, cosigned=True)


def cosign(scene: Scene) -> None:
    """The witness cosigns the newest checkpoint of each log."""
    with scene.deployment.running.parts.database.transaction() as connection:
        for pool in pool_refs(connection):
            latest = checkpoints.latest_checkpoint(connection, pool)
            assert latest is not None
            signature = WITNESS.sign(parse_note(latest.note).text, 1_767_225_600)
            found = StoredCosignature(WITNESS.verifier_key, signature, 1_767_225_600)
            checkpoints.insert_cosignature(connection, pool, latest, found)


def test_signers_at_work_while_the_key_is_changed_leave_nothing_beyond_the_change(
    scene: Scene, folder: CheckpointFolder, tmp_path: Path
) -> None:
    signers = [signer_of(scene, folder, OLD) for _ in range(2)]
    signers[0].run_once()

    def keep_signing(number: int) -> list[Checkpoint]:
        return [signed for _ in range(6) for signed in signers[number].run_once()]

    with ThreadPoolExecutor(3) as threads:
        at_work = [threads.submit(keep_signing, number) for number in range(2)]
        made = threads.submit(lambda: changed(scene, folder, OLD, NEW)).result()
        for number in range(3):
            scene.submit([event(number)], f"b-{number}")
        signed = [each for work in at_work for each in work.result()]
    last = {each.log: each.size for each in made.change.logs}
    assert all(each.size <= last[each.origin.rpartition("/")[2]] for each in signed)
    signer_of(scene, folder, NEW).run_once()
    assert verdict(scene, tmp_path, OLD) == 0


def test_the_page_for_operators_is_followed_step_by_step(
    scene: Scene, folder: CheckpointFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer_of(scene, folder, OLD).run_once()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.key").write_text(OLD.to_text() + "\n")
    settings = scene.deployment.settings
    for name, value in {
        "DATABASE_URL": settings.database_url, "SIGNING_KEY_FILE": "old.key", "CHECKPOINT_FOLDER": str(folder.path),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"MOIETY_{name}", value)
    page = (ROOT / "docs/operations.md").read_text()
    section = page.partition("## Changing the signing key\n")[2].partition("\n## ")[0]
    commands = re.findall(r"^    moiety (.*)$", section, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["key", "change-key", "vkey"]
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            main(command.replace("example.com/moiety", "log.example").split())
        assert ended.value.code == 0, command
    new = SigningKey.parse((tmp_path / "new.key").read_text().rstrip())
    assert refusal(signer_of(scene, folder, OLD)) == "KEY_REPLACED"
    assert len(signer_of(scene, folder, new).run_once()) == 2
    change = KeyChange.parse((tmp_path / "change-1").read_bytes())
    assert (change.old, change.new) == (OLD.verifier_key, new.verifier_key)
    assert verdict(scene, tmp_path, OLD) == 0
