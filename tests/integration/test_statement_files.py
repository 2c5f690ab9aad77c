"""Statement files by a real service: each collective gets its own, verifies it, and learns nothing of another's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from audit.statements.check import StatementReport, check_statement
from audit.statements.file import StatementFile
from ledger.log.merkle import leaf_hash
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.store.pools.pools import pool_ref
from moiety import (
    Client,
    Collective,
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    Policy,
)
from moiety.v1.rounds_pb2 import OBJECTION_ANSWER_SET_ASIDE
from payout.store import splits
from services.cli.app import main
from services.cli.base.exits import Exit
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer
from tests.support.deployment import Deployment
from tests.support.scene import NANO, POOL, Scene, event, open_scene
from tests.support.statement_files import NODE, checked_by_node

REVIEW: Final = 3600
KEY: Final = SigningKey("log.example", bytes(range(32)))


@pytest.fixture
def scene(deploy: Callable[..., Deployment]) -> Scene:
    """A calculated round of 1,000: 600 for irish, 400 for breton."""
    scene = open_scene(deploy(), policy=Policy(review_seconds=REVIEW))
    scene.pay_in(1000, "r")
    scene.submit([event(1, shares={"irish": 600_000_000, "breton": NANO - 600_000_000})], "b")
    scene.operator.calculate_round(POOL, request_id="q")
    return scene


@pytest.fixture
def irish(scene: Scene) -> Client:
    return scene.deployment.client("collectives/irish")


@pytest.fixture
def sign(scene: Scene, tmp_path: Path) -> Callable[[], object]:
    parts = scene.deployment.running.parts
    return Signer(parts.database, parts.clock, KEY, CheckpointFolder(tmp_path / "checkpoints")).run_once


def checked(file: bytes) -> StatementReport:
    """What both verifiers say of a file, which is the same."""
    report = check_statement(file, KEY.verifier_key)
    if NODE is not None:
        (said,) = checked_by_node([file], str(KEY.verifier_key))
        assert (said["failed"], said["facts"]) == (report.failed, report.facts)
    return report


def test_a_collective_verifies_its_line_before_it_is_posted_and_what_was_paid_after(
    scene: Scene, irish: Client, sign: Callable[[], object]
) -> None:
    sign()
    facts = checked(irish.get_statement_file(POOL, 1)).facts
    assert (facts["state"], facts["amount_minor"], facts["collective"]) == ("CALCULATED", "600", "irish")
    assert facts["calculated_by"] == "operators/olive"
    scene.after_review(1)
    scene.approve(1)
    scene.operator.record_payment(POOL, "irish", 250, request_id="p-1", reference="bank")
    scene.operator.record_payment(POOL, "breton", 7, request_id="p-2", reference="bank")
    sign()
    facts = checked(irish.get_statement_file(POOL, 1)).facts
    assert (facts["state"], facts["paid_minor"], facts["payments"]) == ("POSTED", "250", 1)
    assert facts["decided_by"].startswith("operators/")


def test_every_line_of_a_round_holds(scene: Scene, sign: Callable[[], object]) -> None:
    sign()
    lines = [each.collective.partition("/")[2] for each in scene.operator.list_allocations(POOL, 1)]
    reports = [checked(scene.operator.get_statement_file(POOL, 1, collective=name)) for name in lines]
    assert [report.reason for report in reports] == [""] * len(lines)
    assert sum(int(report.facts["amount_minor"]) for report in reports) == 1000


def test_a_round_that_no_checkpoint_has_yet_says_so(irish: Client, sign: Callable[[], object], scene: Scene) -> None:
    with pytest.raises(NotFoundError):
        irish.get_statement_file(POOL, 1)
    scene.operator.reject_round(POOL, 1, "again")
    sign()
    scene.operator.calculate_round(POOL, request_id="q-2")
    with pytest.raises(FailedPreconditionError) as caught:
        irish.get_statement_file(POOL, 2)
    assert caught.value.reason == "NOT_IN_CHECKPOINT"
    assert checked(irish.get_statement_file(POOL, 1)).facts["state"] == "REJECTED"


def test_nobody_gets_anothers_file(scene: Scene, irish: Client, sign: Callable[[], object]) -> None:
    sign()
    with pytest.raises(PermissionDeniedError):
        irish.get_statement_file(POOL, 1, collective="breton")
    with pytest.raises(PermissionDeniedError):
        scene.platform.get_statement_file(POOL, 1, collective="irish")
    with pytest.raises(InvalidArgumentError):
        scene.operator.get_statement_file(POOL, 1)
    with pytest.raises(NotFoundError):
        scene.operator.get_statement_file(POOL, 1, collective="nobody")


def test_the_registration_of_the_rounds_time_is_shown_whatever_changed_since(
    scene: Scene, irish: Client, sign: Callable[[], object]
) -> None:
    registered = scene.operator.get_collective("irish")
    scene.operator.update_collective("irish", Collective(display_name="Irish, renamed", members=9_999))
    sign()
    report = checked(irish.get_statement_file(POOL, 1))
    assert report.holds, report.reason
    file = StatementFile.parse(irish.get_statement_file(POOL, 1))
    said = [json.loads(proved.entry) for proved in file.registry.entries]
    (own,) = [entry for entry in said if entry["type"] == "collective.v1"]
    assert own["members"] == registered.members


def test_an_amount_that_was_set_aside_is_said_to_be_disputed(
    scene: Scene, irish: Client, sign: Callable[[], object]
) -> None:
    irish.object_to_round(POOL, 1, "ours")
    scene.operator.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_SET_ASIDE, "we ask")
    scene.after_review(1)
    scene.approve(1)
    sign()
    assert checked(irish.get_statement_file(POOL, 1)).facts["aside"] is True


def hashes_in(file: StatementFile) -> set[bytes]:
    """Every hash that a file shows: whoever guesses holds a guess against these."""
    paths = [file.path, *(proved.path for part in (file.pool, file.registry) for proved in part.entries)]
    return {found for path in paths for found in path}


def test_a_siblings_amount_cannot_be_guessed_from_a_proof(
    scene: Scene, irish: Client, sign: Callable[[], object]
) -> None:
    """The guesser knows the form of everything, the terms, all ids, even the other's exact dossier and payment.

    What it lacks is the salt: with it each guess would be confirmed at once, and without it none is.
    """
    scene.after_review(1)
    scene.approve(1)
    scene.operator.record_payment(POOL, "irish", 1, request_id="p-0", reference="")
    scene.operator.record_payment(POOL, "breton", 7, request_id="p-1", reference="")
    sign()
    own = StatementFile.parse(irish.get_statement_file(POOL, 1))
    other = StatementFile.parse(scene.operator.get_statement_file(POOL, 1, collective="breton"))
    shown = hashes_in(own)
    assert leaf_hash(other.salt + other.dossier) in shown
    guessed: dict[str, Any] = json.loads(other.dossier)
    for salt in (b"", bytes(32), own.salt, bytes.fromhex(json.loads(own.pool.entries[-1].entry)["salt"])):
        for amount in range(1_001):
            guessed["line"] |= {"amount_minor": str(amount), "attributed_minor": str(amount)}
            assert leaf_hash(salt + json.dumps(guessed, sort_keys=True, separators=(",", ":")).encode()) not in shown
    (paid,) = [proved.entry for proved in other.pool.entries if b'"payment.v1"' in proved.entry]
    assert leaf_hash(paid) in shown
    said: dict[str, Any] = json.loads(paid)
    real = said.pop("salt")
    for tried in ("", "00" * 32, json.loads(own.pool.entries[-1].entry)["salt"]):
        for amount in range(1, 1_001):
            guess = {**said, "amount_minor": str(amount), "salt": tried}
            assert leaf_hash(json.dumps(guess, sort_keys=True, separators=(",", ":")).encode()) not in shown
    assert len(real) == 64
    assert not {name for name in (b"breton",) if name in own.to_bytes()}


def test_a_collective_splits_its_amount_once_and_members_verify_their_lines(
    scene: Scene, irish: Client, sign: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MOIETY_ADDRESS", scene.deployment.address)
    monkeypatch.setenv("MOIETY_API_KEY", scene.deployment.key("collectives/irish"))
    csv, split = tmp_path / "members.csv", tmp_path / "split.json"
    csv.write_text("member,amount_minor\nana,400\n../bo,200\ncy,0\n")
    assert run(["split", "make", str(csv), "--out", str(split)]) == Exit.OK
    assert run(["split", "make", str(split), "--out", str(tmp_path / "other")]) == Exit.BAD_INPUT
    assert run(["split", "log", POOL, "1", str(csv), "--rule", "x"]) == Exit.BAD_INPUT
    log = ["split", "log", POOL, "1", str(split), "--rule", "By plays on stage."]
    assert run(log) == Exit.REFUSED_BY_STATE  # the round is not posted
    scene.after_review(1)
    scene.approve(1)
    assert run(log) == Exit.OK
    assert run(log) == Exit.OK
    wrong: dict[str, Any] = {"amount_minor": 600, "line_count": 3, "split_root": bytes(32), "rule": "another"}
    with pytest.raises(FailedPreconditionError) as caught:
        irish.log_split(POOL, 1, **wrong)
    assert caught.value.reason == "SPLIT"
    with pytest.raises(InvalidArgumentError):
        scene.deployment.client("collectives/breton").log_split(POOL, 1, **wrong)
    sign()
    assert run(["split", "files", POOL, "1", str(split), "--out", str(tmp_path / "files")]) == Exit.OK
    files = sorted((tmp_path / "files").iterdir())
    facts = [checked(file.read_bytes()).facts for file in files]
    assert {each["member"]: each["member_minor"] for each in facts} == {"ana": "400", "../bo": "200", "cy": "0"}
    capsys.readouterr()
    assert run(["verify", str(files[0]), "--key", str(KEY.verifier_key)]) == Exit.OK
    assert "By plays on stage." in capsys.readouterr().out
    with scene.deployment.running.parts.database.transaction() as connection:
        pool = pool_ref(connection, POOL)
        found = splits.find_split(connection, pool, 1, "irish")
    assert found is not None
    (row,) = [leaf for leaf in scene.operator.list_leaves(POOL) if leaf.index == found.index]
    assert not {name for name in (b"ana", b"bo") if name in row.entry}


def run(arguments: list[str]) -> int:
    """The exit status of a command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_the_command_writes_a_file_and_verifies_it(
    scene: Scene, sign: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    sign()
    monkeypatch.setenv("MOIETY_ADDRESS", scene.deployment.address)
    monkeypatch.setenv("MOIETY_API_KEY", scene.deployment.key("collectives/irish"))
    file, vkey = tmp_path / "mine.json", str(KEY.verifier_key)
    assert run(["statement", "get", POOL, "1", "--out", str(file)]) == Exit.OK
    capsys.readouterr()
    assert run(["verify", str(file), "--key", vkey]) == Exit.OK
    shown = capsys.readouterr().out
    assert "irish gets 6.00 EUR of round 1 of log.example/pools/" in shown
    assert "is the auditor's check" in " ".join(shown.split())
    assert "for 1 event, 0." in shown
    assert run(["verify", str(file), "--key", vkey, "--rounds", "1"]) == Exit.BAD_INPUT
    witness = SigningKey("witness.example", bytes(32), SignatureType.COSIGNATURE).verifier_key
    assert run(["verify", str(file), "--key", vkey, "--witness", str(witness)]) == Exit.DOES_NOT_HOLD
    assert "witness.example did not cosign" in " ".join(capsys.readouterr().out.split())
    capsys.readouterr()
    file.write_bytes(file.read_bytes().replace(b"600", b"601"))
    assert run(["verify", str(file), "--key", vkey, "--json"]) == Exit.DOES_NOT_HOLD
    assert json.loads(capsys.readouterr().out)["holds"] is False
