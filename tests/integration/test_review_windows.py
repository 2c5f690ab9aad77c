"""Reviews that witnesses time: the service posts nothing before they have said twice that time has passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from audit.statements.check import check_statement
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.witness_policy import all_of
from ledger.store.logs.log import REGISTRY
from moiety import Client, FailedPreconditionError, InvalidArgumentError, Policy
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.rounds_pb2 import OBJECTION_ANSWER_DISMISSED, ROUND_STATE_POSTED
from payout.store.windows import timed_rounds
from services.cli.app import main
from services.cli.base.exits import Exit
from services.signing import witness as asking
from services.signing.folder import CheckpointFolder
from services.signing.signer import Signer
from services.signing.witness import Cosigner, Witness
from tests.support import witness as third_party
from tests.support.deployment import Deployment
from tests.support.scene import POOL, Scene, open_scene

KEY: Final = SigningKey("log.example", bytes(range(32)))
REVIEW: Final = 3_600


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment, policy=Policy(review_seconds=REVIEW))


@pytest.fixture
def witness(scene: Scene) -> Iterator[third_party.Witness]:
    """A witness of all logs, whose clock goes as the deployment's does."""
    key = SigningKey("witness.example/w", bytes([7] * 32), SignatureType.COSIGNATURE)
    logs = {name: KEY.named(name).verifier_key for name in (f"{KEY.name}/pools/{POOL}", f"{KEY.name}/registry")}
    now = int(scene.deployment.clock.now.timestamp())
    with third_party.listening(third_party.Witness(key, logs, time_seconds=now)) as found:
        yield found


@pytest.fixture
def sign(
    scene: Scene, witness: third_party.Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Signs all logs and has the witness cosign them, as the signer does again and again."""
    monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.0)
    database, folder = scene.deployment.running.parts.database, CheckpointFolder(tmp_path / "checkpoints")
    signer = Signer(database, scene.deployment.clock, KEY, folder)
    cosigner = Cosigner(database, signer, folder, (Witness(witness.url, witness.key.verifier_key),), timed_rounds)

    def sign_all() -> None:
        signer.run_once()
        for look in cosigner.looks():
            look()

    return sign_all


def policy_of(witness: third_party.Witness) -> str:
    return f"witness w {witness.key.verifier_key}\nquorum w\n"


def refused(by: Client, number: int = 1) -> str:
    with pytest.raises(FailedPreconditionError) as caught:
        by.approve_round(POOL, number)
    assert caught.value.reason == "REVIEW_RUNS"
    return str(caught.value)


def test_a_round_is_posted_once_witnesses_have_seen_its_review_pass(
    scene: Scene, witness: third_party.Witness, sign: Callable[[], None]
) -> None:
    clock, irish = scene.deployment.clock, scene.deployment.client("collectives/irish")
    scene.operator.update_timing_witnesses(policy_of(witness))
    scene.fill()
    scene.operator.calculate_round(POOL, request_id="q")
    assert "can be approved from" in refused(scene.reviewer)
    # Set forward, the database's clock alone ends nothing.
    clock.advance(days=30)
    assert "cosigned the log with it, which begins its review" in refused(scene.reviewer)
    sign()
    assert "cosigned the log after 2026-01-01 01:00:00 UTC" in refused(scene.reviewer)
    irish.object_to_round(POOL, 1, "late by one clock, in time by the other")
    scene.reviewer.answer_objection(POOL, 1, "irish", OBJECTION_ANSWER_DISMISSED, "no")
    witness.time_seconds += REVIEW - 1
    sign()
    refused(scene.reviewer)
    # The log has not grown since: the witness is asked again.
    witness.time_seconds += 1
    sign()
    assert scene.reviewer.approve_round(POOL, 1).state == ROUND_STATE_POSTED
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH
    with pytest.raises(FailedPreconditionError):
        irish.object_to_round(POOL, 1, "again")
    sign()
    report = check_statement(irish.get_statement_file(POOL, 1), KEY.verifier_key, [all_of([witness.key.verifier_key])])
    assert (report.failed, report.reason) == (None, "")
    assert (report.facts["state"], report.facts["cosigned_by"]) == ("POSTED", [witness.key.name])


def test_both_logs_are_bundled_and_verified_from_outside(
    scene: Scene,
    witness: third_party.Witness,
    sign: Callable[[], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scene.operator.update_timing_witnesses(policy_of(witness))
    scene.fill()
    scene.operator.calculate_round(POOL, request_id="q")
    sign()
    scene.deployment.clock.advance(seconds=REVIEW)
    witness.time_seconds += REVIEW
    sign()
    scene.reviewer.approve_round(POOL, 1)
    sign()
    key = scene.deployment.key("auditors/ada")
    sign()
    for log in (POOL, "registry"):
        file = str(tmp_path / f"{log}.tar")
        for command in (
            ["bundle", log, file, "--address", scene.deployment.address, "--api-key", key],
            ["verify", file, "--key", str(KEY.verifier_key)],
        ):
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main(command)
            said = capsys.readouterr()
            assert ended.value.code == Exit.OK, said
        assert "whoever acted was allowed to" in said.out
        assert "operator's clock" not in said.out


def test_witnesses_taken_away_meanwhile_still_time_the_round(scene: Scene, witness: third_party.Witness) -> None:
    scene.operator.update_timing_witnesses(policy_of(witness))
    scene.fill()
    scene.operator.calculate_round(POOL, request_id="q")
    scene.operator.update_timing_witnesses("")
    scene.deployment.clock.advance(seconds=REVIEW)
    refused(scene.reviewer)
    scene.reviewer.reject_round(POOL, 1, "nobody witnesses it any more")
    scene.operator.calculate_round(POOL, request_id="q-2")
    scene.deployment.clock.advance(seconds=REVIEW)
    assert scene.reviewer.approve_round(POOL, 2).state == ROUND_STATE_POSTED
    assert scene.operator.replay_round(POOL, 2).outcome == REPLAY_OUTCOME_MATCH


def test_a_log_without_a_round_that_waits_is_cosigned_once(
    scene: Scene, witness: third_party.Witness, sign: Callable[[], None]
) -> None:
    scene.operator.update_timing_witnesses(policy_of(witness))
    for _ in range(3):
        witness.time_seconds += 10
        sign()
    assert len(scene.operator.get_checkpoint(POOL).cosignatures) == 1
    assert witness.statuses == [200, 200]
    assert REGISTRY.name in {name.rpartition("/")[2] for name in witness.latest}


def test_a_review_ends_however_long_a_witness_was_down(
    scene: Scene, witness: third_party.Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one of two is down, the other cosigns one checkpoint after the other: hundreds without a quorum."""
    monkeypatch.setattr(asking, "AGAIN_SECONDS", 0.0)
    other = SigningKey("other.example/w", bytes([8] * 32), SignatureType.COSIGNATURE)
    away = third_party.Witness(other, witness.logs, witness.time_seconds, instead=(503, "text/plain", b""))
    both = f"witness w {witness.key.verifier_key}\nwitness o {other.verifier_key}\ngroup all all w o\nquorum all\n"
    scene.operator.update_timing_witnesses(both)
    database, folder = scene.deployment.running.parts.database, CheckpointFolder(tmp_path / "checkpoints")
    signer = Signer(database, scene.deployment.clock, KEY, folder)
    with third_party.listening(away):
        asked = tuple(Witness(each.url, each.key.verifier_key) for each in (witness, away))
        cosigner = Cosigner(database, signer, folder, asked, timed_rounds)

        def signed(times: int = 1) -> None:
            for number in range(times):
                if times > 1:
                    scene.pay_in(1, f"{away.time_seconds}-{number}")
                signer.run_once()
                for look in cosigner.looks():
                    look()

        scene.fill()
        scene.operator.calculate_round(POOL, request_id="q")
        signed(101)
        away.instead = None
        signed()
        assert scene.operator.get_checkpoint(POOL, cosigned=True).size == scene.operator.get_checkpoint(POOL).size
        scene.deployment.clock.advance(seconds=REVIEW)
        for each in (witness, away):
            each.time_seconds += REVIEW
        assert "cosigned the log after" in refused(scene.reviewer)
        away.instead = (503, "text/plain", b"")
        signed(101)
        refused(scene.reviewer)
        away.instead = None
        signed()
    assert scene.reviewer.approve_round(POOL, 1).state == ROUND_STATE_POSTED
    assert scene.operator.replay_round(POOL, 1).outcome == REPLAY_OUTCOME_MATCH


@pytest.mark.parametrize("policy", ["quorum none\n", "witness w x\n", "nonsense", "w" * 2**15 + "w"])
def test_what_is_no_policy_is_refused(scene: Scene, policy: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"witnesses\.policy"):
        scene.operator.update_timing_witnesses(policy)


def test_the_command_line_names_witnesses(
    scene: Scene, witness: third_party.Witness, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "policy"
    file.write_text(policy_of(witness))
    key = scene.deployment.key("operators/olive")

    def run(*arguments: str, code: Exit = Exit.OK) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["witnesses", *arguments, "--address", scene.deployment.address, "--api-key", key])
        assert ended.value.code == code
        return capsys.readouterr().out

    assert "No witnesses" in run("show")
    assert "changed" in run("set", str(file))
    assert policy_of(witness).strip() in run("show")
    run("set", code=Exit.BAD_INPUT)
    run("set", str(tmp_path / "none"), code=Exit.BAD_INPUT)
    run("set", "--none")
    assert scene.operator.get_timing_witnesses().policy == ""
