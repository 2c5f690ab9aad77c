"""Checkpoints and proofs as others get them: over gRPC and by command, verified by our own arithmetic and a peer's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import psycopg
import pymerkle
import pytest
import sqlalchemy as sa
import structlog

from ledger.files.tiles import tiles
from ledger.log import merkle
from ledger.log.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ledger.log.merkle import leaf_hash, verify_consistency, verify_inclusion
from ledger.log.note_keys import SignatureType, SigningKey, VerifierKey
from ledger.log.proof_files import LogProof
from ledger.store import tables as t
from ledger.store.logs import checkpoints, proofs
from ledger.store.logs.checkpoints import StoredCosignature
from ledger.store.pools.pools import get_pool, pool_ref
from ledger.store.postgres.statements import Statements
from moiety import FailedPreconditionError, InvalidArgumentError, NotFoundError
from services.cli.app import main
from services.cli.base.exits import Exit
from services.signing.folder import CheckpointFolder
from services.signing.key_file import generate_key, read_key
from services.signing.signer import Signer
from tests.support.deployment import Deployment
from tests.support.scene import POOL, Scene, event, open_scene

KEY: Final = SigningKey("log.example", bytes(range(32)))
POOL_KEY: Final = KEY.named(f"log.example/pools/{POOL}")
VKEY: Final = str(POOL_KEY.verifier_key)
DEPLOYMENT_VKEY: Final = str(KEY.verifier_key)
ANOTHER: Final = [str(KEY.named(name).verifier_key) for name in ("log.example/pools/other", "log")]
"""The same key under names that are neither the log's nor its deployment's."""
LEAVES: Final = 90
AHEAD: Final = timedelta(hours=2)
"""By how much the signer's clock is ahead of the database's."""


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A pool of 90 leaves with a checkpoint at 2, 64, 65 and 88 of them."""
    scene = open_scene(shared_deployment)
    parts = shared_deployment.running.parts
    folder = CheckpointFolder(tmp_path_factory.mktemp("checkpoints"))
    signer = Signer(parts.database, lambda: parts.clock() + AHEAD, KEY, folder)
    signer.run_once()
    for number in range(2, LEAVES):
        scene.submit([event(number)], f"b-{number}")
        if number + 1 in (64, 65, 88):
            signer.run_once()
    return scene


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The service in this process does not log on the stdout of the commands."""
    with structlog.testing.capture_logs():
        yield


def run(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_a_checkpoint_that_was_dated_ahead_does_not_hide_the_later_ones(scene: Scene, shared_owner: sa.Engine) -> None:
    """A signer's clock was two hours ahead for some seconds: what it signed then was the last one for two hours."""
    with shared_owner.connect() as connection:
        pool, here = pool_ref(connection, POOL), t.checkpoint.c
        times = connection.execute(sa.select(here.created_at).where(here.pool_id == pool.pool_id)).scalars().all()
        assert max(times) <= scene.deployment.clock()
        ahead = sa.update(t.checkpoint).where(here.pool_id == pool.pool_id, here.size == 64)
        connection.execute(ahead.values(created_at=scene.deployment.clock() + AHEAD))
        assert checkpoints.get_checkpoint(connection, pool).size == 88
        connection.rollback()


def connected(scene: Scene, principal: str = "auditors/ada") -> list[str]:
    return ["--address", scene.deployment.address, "--api-key", scene.deployment.key(principal)]


def test_a_checkpoint_is_the_last_or_the_first_of_a_size(scene: Scene) -> None:
    found = scene.operator.get_checkpoint(POOL)
    assert (found.size, found.name, found.verifier_key) == (88, f"pools/{POOL}/checkpoints/88", VKEY)
    assert open_checkpoint(found.note, POOL_KEY.verifier_key).checkpoint.size == 88
    sizes = {wanted: scene.operator.get_checkpoint(POOL, min_size=wanted).size for wanted in (1, 2, 3, 64, 65, 66, 88)}
    assert sizes == {1: 2, 2: 2, 3: 64, 64: 64, 65: 65, 66: 88, 88: 88}
    with pytest.raises(NotFoundError):
        scene.operator.get_checkpoint(POOL, min_size=89)


def test_checkpoints_are_listed_by_size(scene: Scene) -> None:
    listed = list(scene.operator.list_checkpoints(POOL))
    assert [found.size for found in listed] == [2, 64, 65, 88]
    assert listed[-1] == scene.operator.get_checkpoint(POOL)


def test_every_leaf_is_proved_to_every_checkpoint_that_has_it(scene: Scene) -> None:
    leaves = [leaf.hash for leaf in scene.operator.list_leaves(POOL)]
    for checkpoint in scene.operator.list_checkpoints(POOL):
        stated = open_checkpoint(checkpoint.note, POOL_KEY.verifier_key).checkpoint
        for index in range(stated.size):
            proof = scene.platform.get_inclusion_proof(POOL, index, checkpoint_size=stated.size)
            assert proof.leaf_hash == leaves[index]
            verify_inclusion(leaves[index], index, stated.size, list(proof.hashes), stated.root)
    assert scene.platform.get_inclusion_proof(POOL, 5).checkpoint.size == 88


def test_any_two_sizes_are_proved_consistent(scene: Scene) -> None:
    leaves = [leaf.hash for leaf in scene.operator.list_leaves(POOL)]
    random = Random(4)
    pairs = [(0, 90), (1, 1), (90, 90), (64, 65), (64, 90), (88, 90), (0, 1)]
    pairs += [tuple(sorted((random.randint(0, LEAVES), random.randint(1, LEAVES)))) for _ in range(80)]  # type: ignore[misc]
    for old_size, new_size in pairs:
        proof = scene.platform.get_consistency_proof(POOL, old_size, new_size)
        roots = merkle.root(leaves[:old_size]), merkle.root(leaves[:new_size])
        assert (proof.old_root, proof.new_root) == roots
        verify_consistency(old_size, new_size, *roots, list(proof.hashes))
    assert scene.platform.get_consistency_proof(POOL, 2).new_size == 88


def test_each_proof_is_one_query(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    executed: list[object] = []

    def counted(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(where: object, query: object, *arguments: Any, **options: Any) -> Any:
            executed.append(query)
            return ask(where, query, *arguments, **options)

        return asked

    database = scene.deployment.running.parts.database
    with database.transaction() as connection:
        pool = get_pool(connection, POOL).ref
        monkeypatch.setattr(psycopg.Cursor, "execute", counted(psycopg.Cursor.execute))
        monkeypatch.setattr(Statements, "_send", counted(Statements._send))
        for prove in (
            lambda: proofs.inclusion_proof(connection, pool, 37, 88),
            lambda: proofs.consistency_proof(connection, pool, 37, 88),
        ):
            executed.clear()
            prove()
            assert len(executed) == 1


def test_a_peer_comes_to_the_same_roots_and_paths(scene: Scene) -> None:
    """pymerkle, which has its own arithmetic for RFC 9162, and counts leaves from 1."""
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for leaf in scene.operator.list_leaves(POOL):
        tree.append_entry(leaf.entry)
    for checkpoint in scene.operator.list_checkpoints(POOL):
        stated = open_checkpoint(checkpoint.note, POOL_KEY.verifier_key).checkpoint
        assert tree.get_root(stated.size) == stated.root
        for index in range(0, stated.size, 3):
            ours = scene.operator.get_inclusion_proof(POOL, index, checkpoint_size=stated.size)
            theirs = tree.prove_inclusion(index + 1, stated.size)
            assert theirs.path == [ours.leaf_hash, *ours.hashes]
            theirs.path = [ours.leaf_hash, *ours.hashes]
            pymerkle.verify_inclusion(tree.get_leaf(index + 1), stated.root, theirs)


def test_a_leaf_that_no_checkpoint_has_yet_must_wait(scene: Scene) -> None:
    with pytest.raises(FailedPreconditionError) as caught:
        scene.operator.get_inclusion_proof(POOL, 88)
    assert caught.value.reason == "NOT_IN_CHECKPOINT"
    with pytest.raises(FailedPreconditionError):
        scene.operator.get_inclusion_proof(POOL, 3, checkpoint_size=2)
    for index, size in ((LEAVES, 0), (1, 63), (1, 90)):
        with pytest.raises(NotFoundError):
            scene.operator.get_inclusion_proof(POOL, index, checkpoint_size=size)


def test_what_is_out_of_range_is_refused_by_its_field(scene: Scene) -> None:
    refusals = (
        (lambda: scene.operator.get_inclusion_proof(POOL, -1), "leaf_index"),
        (lambda: scene.operator.get_inclusion_proof(POOL, 1, checkpoint_size=-1), "checkpoint_size"),
        (lambda: scene.operator.get_checkpoint(POOL, min_size=-1), "min_size"),
        (lambda: scene.operator.get_consistency_proof(POOL, -1, 5), "old_size"),
        (lambda: scene.operator.get_consistency_proof(POOL, 6, 5), "old_size"),
        (lambda: scene.operator.get_consistency_proof(POOL, 1, LEAVES + 1), "new_size"),
    )
    for ask, field in refusals:
        with pytest.raises(InvalidArgumentError) as caught:
            ask()
        assert [violation.field for violation in caught.value.violations] == [field]


def test_a_pool_without_a_checkpoint_says_so(scene: Scene) -> None:
    scene.operator.create_pool("silent", scene.operator.get_pool(POOL))
    assert list(scene.operator.list_checkpoints("silent")) == []
    for ask in (
        lambda: scene.operator.get_checkpoint("silent"),
        lambda: scene.operator.get_inclusion_proof("silent", 0),
        lambda: scene.operator.get_consistency_proof("silent", 0),
    ):
        with pytest.raises(NotFoundError):
            ask()


def test_a_platform_proves_its_own_batch_offline(scene: Scene) -> None:
    receipt = scene.platform.get_batch(POOL, "tunesmith", "b-7")
    found = scene.platform.get_batch_proof(POOL, "tunesmith", "b-7")
    proof = LogProof.parse(found.tlog_proof)
    assert leaf_hash(found.entry) == leaf_hash(proof.extra) == receipt.leaf_hash
    assert proof.verify(receipt.leaf_hash, POOL_KEY.verifier_key).checkpoint.size == found.checkpoint_size == 88
    assert json.loads(proof.extra)["body_sha256"] == receipt.body_sha256.hex()
    with pytest.raises(FailedPreconditionError):
        scene.platform.get_batch_proof(POOL, "tunesmith", "b-89")


def test_more_than_sixteen_cosignatures_are_served_with_the_checkpoint(scene: Scene) -> None:
    witnesses = [
        SigningKey(f"w{number}.example", bytes([number] * 32), SignatureType.COSIGNATURE) for number in range(18)
    ]
    database = scene.deployment.running.parts.database
    with database.transaction() as connection:
        pool = get_pool(connection, POOL).ref
        checkpoint = checkpoints.get_checkpoint(connection, pool, size=65)
        text = open_checkpoint(checkpoint.note, POOL_KEY.verifier_key).note.text
        for number, witness in enumerate(witnesses):
            cosignature = StoredCosignature(witness.verifier_key, witness.sign(text, 100 + number), 100 + number)
            checkpoints.insert_cosignature(connection, pool, checkpoint, cosignature)
    found = scene.operator.get_checkpoint(POOL, min_size=65)
    keys = [VerifierKey.parse(each.verifier_key) for each in found.cosignatures]
    opened = open_checkpoint(found.note, POOL_KEY.verifier_key, witnesses=keys)
    assert {each.key for each in opened.note.verified} == {
        POOL_KEY.verifier_key,
        *(key.verifier_key for key in witnesses),
    }
    assert sorted(each.cosign_time.seconds for each in found.cosignatures) == list(range(100, 118))


def test_the_commands_fetch_and_verify(scene: Scene, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    at = connected(scene)
    assert run(["log", "checkpoint", POOL, "--key", VKEY, *at]) == Exit.OK
    assert capfdbinary.readouterr().out == scene.operator.get_checkpoint(POOL).note
    assert run(["log", "checkpoint", POOL, "--key", DEPLOYMENT_VKEY, *at]) == Exit.OK
    for vkey in ANOTHER:
        assert run(["log", "checkpoint", POOL, "--key", vkey, *at]) == Exit.DOES_NOT_HOLD
    assert run(["log", "checkpoint", POOL, "--key", "none", *at]) == Exit.BAD_INPUT
    assert run(["log", "checkpoints", POOL, *at]) == Exit.OK
    assert run(["log", "consistency", POOL, "2", "88", *at]) == Exit.OK
    file = tmp_path / "leaf.tlog-proof"
    assert run(["log", "proof", POOL, "5", "--out", str(file), "--key", VKEY, *at]) == Exit.OK
    leaf = scene.operator.get_inclusion_proof(POOL, 5).leaf_hash.hex()
    capfdbinary.readouterr()
    assert run(["log", "verify-proof", str(file), "--key", VKEY, "--leaf-hash", leaf]) == Exit.OK
    assert capfdbinary.readouterr().out.startswith(b"HOLDS: leaf 5 ")
    assert run(["log", "verify-proof", str(file), "--key", VKEY]) == Exit.BAD_INPUT
    assert run(["log", "verify-proof", str(file), "--key", VKEY, "--leaf-hash", "00" * 32]) == Exit.DOES_NOT_HOLD
    assert run(["log", "verify-proof", str(file), "--key", VKEY, "--leaf-hash", "zz"]) == Exit.BAD_INPUT
    assert run(["log", "verify-proof", str(tmp_path / "none"), "--key", VKEY]) == Exit.BAD_INPUT


def test_a_platform_writes_and_verifies_the_proof_of_its_batch(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "batch.tlog-proof"
    command = ["usage", "proof", POOL, "tunesmith~b-7", "--out", str(file), "--key", VKEY]
    assert run([*command, *connected(scene, "platforms/tunesmith")]) == Exit.OK
    assert run([*command, *connected(scene, "platforms/songbird")]) == Exit.NOT_ALLOWED
    capsys.readouterr()
    assert run(["log", "verify-proof", str(file), "--key", VKEY, "--json"]) == Exit.OK
    assert json.loads(json.loads(capsys.readouterr().out)["entry"])["batch_id"] == "b-7"
    assert run(["log", "verify-proof", str(file), "--key", DEPLOYMENT_VKEY]) == Exit.OK
    for vkey in ANOTHER:
        assert run(["log", "verify-proof", str(file), "--key", vkey]) == Exit.DOES_NOT_HOLD


def test_keys_are_made_and_printed_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "key"
    assert run(["log", "key", "log.example", "--out", str(path)]) == Exit.OK
    assert "PRIVATE" not in capsys.readouterr().out
    assert run(["log", "vkey", str(path), POOL]) == Exit.OK
    assert capsys.readouterr().out.strip() == str(read_key(path).named(POOL_KEY.name).verifier_key)
    assert run(["log", "vkey", str(path)]) == Exit.OK
    assert capsys.readouterr().out.strip() == str(read_key(path).verifier_key)
    assert run(["log", "key", "log.example", "--out", str(path)]) == Exit.BAD_INPUT
    assert run(["log", "vkey", str(path), "No Pool"]) == Exit.BAD_INPUT


def test_a_fork_is_shown_and_verified_by_command(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service's log is the newer; the older, forged checkpoint was signed with the same key."""
    real, proof, evidence = tmp_path / "real", tmp_path / "proof.json", tmp_path / "fork"
    real.write_bytes(scene.operator.get_checkpoint(POOL).note)
    folder = tmp_path / "tiles"
    leaves = [leaf.hash for leaf in scene.operator.list_leaves(POOL)][:88]
    for tile in tiles(88):
        spans = [(place.index << place.level, place.index + 1 << place.level) for place in tile.coordinates()]
        (folder / tile.path()).parent.mkdir(parents=True, exist_ok=True)
        (folder / tile.path()).write_bytes(b"".join(merkle.root(leaves[begin:end]) for begin, end in spans))
    for size in (88, 64, 65, 1):
        forged = tmp_path / f"forged-{size}"
        forged.write_bytes(sign_checkpoint(Checkpoint(POOL_KEY.name, size, b"\x09" * 32), POOL_KEY).to_bytes())
        command = ["log", "fork", str(real), str(forged), "--key", VKEY, "--out", str(evidence)]
        if size != 88:
            assert run(command) == Exit.BAD_INPUT
            assert "a question to the log, not evidence" in capsys.readouterr().err
            assert run([*command, "--tiles", str(folder)]) == Exit.OK
            by_tiles = evidence.read_bytes()
            capsys.readouterr()
            assert run(["log", "consistency", POOL, str(size), "88", "--json", *connected(scene)]) == Exit.OK
            proof.write_text(capsys.readouterr().out)
            command += ["--consistency", str(proof)]
            assert run(command) == Exit.OK
            assert evidence.read_bytes() == by_tiles
        else:
            assert run(command) == Exit.OK
        capsys.readouterr()
        assert run(["log", "verify-fork", str(evidence), "--key", VKEY]) == Exit.OK
        assert capsys.readouterr().out.startswith("FORKED: log.example/pools/folk signed two histories.")
        assert run(["log", "verify-fork", str(evidence), "--key", DEPLOYMENT_VKEY]) == Exit.OK
        for vkey in ANOTHER:
            assert run(["log", "verify-fork", str(evidence), "--key", vkey]) == Exit.DOES_NOT_HOLD


def test_checkpoints_of_two_pools_are_no_fork_of_their_deployment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for pool in ("folk", "jazz"):
        key = KEY.named(f"log.example/pools/{pool}")
        files.append(tmp_path / pool)
        files[-1].write_bytes(sign_checkpoint(Checkpoint(key.name, 5, pool.encode() * 8), key).to_bytes())
    command = ["log", "fork", *map(str, files), "--key", DEPLOYMENT_VKEY, "--out", str(tmp_path / "fork")]
    assert run(command) == Exit.DOES_NOT_HOLD
    assert "log.example/pools/folk did not sign" in capsys.readouterr().err


def test_two_checkpoints_that_agree_are_no_fork(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = []
    for size in (65, 88):
        files.append(tmp_path / str(size))
        files[-1].write_bytes(scene.operator.get_checkpoint(POOL, min_size=size).note)
    assert run(["log", "consistency", POOL, "65", "88", "--json", *connected(scene)]) == Exit.OK
    proof = tmp_path / "proof.json"
    proof.write_text(capsys.readouterr().out)
    command = ["log", "fork", *map(str, files), "--key", VKEY, "--out", str(tmp_path / "fork")]
    assert run([*command, "--consistency", str(proof)]) == Exit.DOES_NOT_HOLD
    assert not (tmp_path / "fork").exists()
    assert run(["log", "fork", str(files[0]), str(files[0]), *command[4:]]) == Exit.DOES_NOT_HOLD
    proof.write_text("{}")
    assert run([*command, "--consistency", str(proof)]) == Exit.BAD_INPUT


def test_an_operator_adopts_by_command(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = open_scene(deployment)
    key = generate_key(tmp_path / "key", "log.example")
    parts = scene.deployment.running.parts
    Signer(parts.database, parts.clock, key, CheckpointFolder(tmp_path / "lost")).run_once()
    assert run(["log", "adopt", POOL]) == Exit.BAD_INPUT
    monkeypatch.setenv("MOIETY_DATABASE_URL", parts.settings.database_url)
    assert run(["log", "adopt", POOL]) == Exit.BAD_INPUT
    assert "MOIETY_SIGNING_KEY_FILE: is not set" in capsys.readouterr().err
    monkeypatch.setenv("MOIETY_SIGNING_KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("MOIETY_CHECKPOINT_FOLDER", str(tmp_path / "new"))
    assert run(["log", "adopt", POOL]) == Exit.OK
    assert "the checkpoint of 2 leaves" in capsys.readouterr().out
    assert (tmp_path / "new" / f"{POOL}.checkpoint").exists()
