"""Witnesses cosign over a real socket; what they refuse is said, kept if it is evidence, and never holds up signing."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import structlog

from ledger.errors import InvalidInputError
from ledger.log.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from ledger.log.forks import ForkEvidence
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.witnessing import AddCheckpoint
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY
from moiety import Client, Policy, Pool
from services.cli.app import main
from services.process.embedded import embedded_postgres
from services.process.host import everything, scheduling
from services.settings import load_settings
from services.signing import witness as asking
from services.signing.folder import CheckpointFolder
from services.signing.key_file import generate_key
from services.signing.signer import Signer
from services.signing.witness import Cosigner, Witness, WitnessRefusedError
from tests.support import witness as third_party
from tests.support.books import wait_until
from tests.support.deployment import Deployment, SteppedClock
from tests.support.dripping import TLS, dripping
from tests.support.scene import POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

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
    return Signer(scene.deployment.running.parts.database, scene.deployment.clock, KEY, folder)


def stranger(number: int = 1) -> third_party.Witness:
    key = SigningKey(f"witness.example/w{number}", bytes([number] * 32), SignatureType.COSIGNATURE)
    return third_party.Witness(key, {POOL_KEY.name: POOL_KEY.verifier_key})


@pytest.fixture
def witness() -> Iterator[third_party.Witness]:
    with third_party.listening(stranger()) as found:
        yield found


def cosigner_of(scene: Scene, signer: Signer, folder: CheckpointFolder, *witnesses: third_party.Witness) -> Cosigner:
    known = tuple(Witness(each.url, each.key.verifier_key) for each in witnesses)
    return Cosigner(scene.deployment.running.parts.database, signer, folder, known)


def ask_all(cosigner: Cosigner) -> int:
    """Have every witness asked once; gives how many cosignatures came."""
    return sum(look() for look in cosigner.looks())


def reasons(logged: list[Any]) -> list[str]:
    return [line["reason"] for line in logged if line["event"] == "not cosigned"]


def test_a_witness_cosigns_each_checkpoint_and_the_last_is_served_with_it(
    scene: Scene, signer: Signer, folder: CheckpointFolder, witness: third_party.Witness
) -> None:
    cosigner = cosigner_of(scene, signer, folder, witness)
    for number in range(5):
        signer.run_once()
        assert ask_all(cosigner) == 1
        assert ask_all(cosigner) == 0
        scene.submit([event(number)], f"b-{number}")
    assert witness.statuses == [200] * 5
    found = scene.operator.get_checkpoint(POOL)
    opened = open_checkpoint(found.note, POOL_KEY.verifier_key, witnesses=[witness.key.verifier_key])
    assert [each.time_seconds for each in opened.note.verified] == [None, 1_700_000_000]
    assert [each.verifier_key for each in found.cosignatures] == [str(witness.key.verifier_key)]


@pytest.mark.parametrize(
    ("scheme", "begin", "drip"),
    [
        ("http", b"HTTP/1.1 200 OK\r\nX-A: ", b"x"),
        ("http", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("https", TLS, b"x"),
    ],
)
def test_a_witness_that_never_ends_its_answer_is_away_at_the_deadline(
    scheme: str, begin: bytes, drip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes well within the time of a read."""
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.5)
    with dripping(drip, begin) as address, ThreadPoolExecutor(1) as thread:
        witness = Witness(f"{scheme}://{address}", stranger().key.verifier_key)
        asked = thread.submit(asking.ask, witness, AddCheckpoint(0, (), b"note"))
        with pytest.raises(WitnessRefusedError, match="does not answer"):
            asked.result(timeout=60)


def test_several_witnesses_cosign_and_one_that_is_away_holds_up_nobody(
    scene: Scene, signer: Signer, folder: CheckpointFolder
) -> None:
    with ExitStack() as stack:
        here = [stack.enter_context(third_party.listening(stranger(number))) for number in (1, 2)]
        away = stranger(3)
        with socket.create_server(("127.0.0.1", 0)) as closed:
            away.url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        cosigner = cosigner_of(scene, signer, folder, away, *here)
        signer.run_once()
        with structlog.testing.capture_logs() as logged:
            assert ask_all(cosigner) == 2
            assert ask_all(cosigner) == 0
        (reason,) = reasons(logged)
        assert "witness.example/w3: does not answer" in reason
    assert len(scene.operator.get_checkpoint(POOL).cosignatures) == 2


def test_a_witness_that_saw_more_than_we_know_of_is_asked_again_from_there(
    scene: Scene, signer: Signer, folder: CheckpointFolder, witness: third_party.Witness
) -> None:
    """As where its answer was lost on the way: the size that it tells is where the next proof begins."""
    (first,) = signer.run_once()
    witness.latest[POOL_KEY.name] = first
    assert ask_all(cosigner_of(scene, signer, folder, witness)) == 1
    assert witness.statuses == [409, 200]
    scene.submit([event(1)], "b")
    (second,) = signer.run_once()
    witness.latest[POOL_KEY.name] = second
    scene.submit([event(2)], "b-2")
    signer.run_once()
    assert ask_all(cosigner_of(scene, signer, folder, witness)) == 1
    assert witness.statuses == [409, 200, 409, 200]


@pytest.mark.parametrize(
    ("latest", "said", "statuses"),
    [
        (Checkpoint(POOL_KEY.name, 3, b"\x07" * 32), "has cosigned another log of 3 leaves", [409, 409]),
        (Checkpoint(POOL_KEY.name, 2, b"\x07" * 32), "a log that this one does not extend", [409, 422]),
        (Checkpoint(POOL_KEY.name, 9, b"\x07" * 32), "has cosigned 9 leaves, and the last checkpoint", [409]),
    ],
)
def test_a_witness_of_another_history_is_heard_and_the_request_is_kept_as_evidence(
    scene: Scene,
    signer: Signer,
    folder: CheckpointFolder,
    witness: third_party.Witness,
    latest: Checkpoint,
    said: str,
    statuses: list[int],
    tmp_path: Path,
) -> None:
    scene.submit([event(1)], "b")
    signer.run_once()
    witness.latest[POOL_KEY.name] = latest
    with structlog.testing.capture_logs() as logged:
        assert ask_all(cosigner_of(scene, signer, folder, witness)) == 0
    (reason,) = reasons(logged)
    assert said in reason
    assert witness.statuses == statuses
    kept = list(folder.path.glob("evidence/*.add-checkpoint"))
    assert len(kept) == (1 if latest.size <= 3 else 0)
    for path in kept:
        request = AddCheckpoint.parse(path.read_bytes())
        assert request.old_size == latest.size
        # With the witness's own checkpoint, what is kept makes evidence that convinces anyone.
        files = [tmp_path / name for name in ("ours", "theirs", "evidence")]
        files[0].write_bytes(request.checkpoint)
        files[1].write_bytes(sign_checkpoint(latest, POOL_KEY).to_bytes())
        command = ["log", "fork", *map(str, files[:2]), "--key", str(POOL_KEY.verifier_key), "--out", str(files[2])]
        with pytest.raises(SystemExit) as ended:
            main([*command, "--consistency", str(path.with_suffix(".json"))])
        assert not ended.value.code
        ForkEvidence.parse(files[2].read_bytes()).verify(POOL_KEY.verifier_key)
    assert not scene.operator.get_checkpoint(POOL).cosignatures
    scene.submit([event(2)], "b-2")
    assert len(signer.run_once()) == 1


OTHER: Final = SigningKey("witness.example/w1", b"\x55" * 32, SignatureType.COSIGNATURE)
TIMELESS: Final = b"its own, signed for a time that no calendar has"
FORGED: Final = OTHER.sign("not the checkpoint\n", 5)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, "text/plain", b""), "answers without a cosignature of its own"),
        ((200, "text/plain", b"\xff\n"), "answers without a cosignature of its own"),
        ((200, "text/plain", f"{FORGED.line()}\n".encode()), "answers without a cosignature of its own"),
        ((200, "text/plain", f"{stranger().key.sign('other text', 5).line()}\n".encode()), "not its signature"),
        ((200, "text/plain", b"a" * 70_000), "does not answer"),
        ((200, "text/plain", TIMELESS), "past the year 9999"),
        ((409, "text/x.tlog.size", b"03\n"), "answers a conflict without a size"),
        ((409, "text/plain", b"3\n"), "answers with status 409"),
        ((500, "text/plain", b""), "answers with status 500"),
        ((599, "text/plain", b""), "answers with status 599"),
        ((301, "text/plain", b""), "answers with status 301"),
        ((400, "text/plain", b""), "does not understand"),
    ],
)
def test_an_answer_that_breaks_the_rules_is_not_kept(
    scene: Scene,
    signer: Signer,
    folder: CheckpointFolder,
    witness: third_party.Witness,
    answer: third_party.Answer,
    said: str,
) -> None:
    (checkpoint,) = signer.run_once()
    if answer[2] == TIMELESS:
        answer = 200, "text/plain", f"{witness.key.sign(checkpoint.text(), 2**62).line()}\n".encode()
    witness.instead = answer
    cosigner = cosigner_of(scene, signer, folder, witness)
    with structlog.testing.capture_logs() as logged:
        assert ask_all(cosigner) == 0
    (reason,) = reasons(logged)
    assert said in reason
    assert not scene.operator.get_checkpoint(POOL).cosignatures
    witness.instead = None
    assert ask_all(cosigner) == 1


def test_cosignatures_of_others_in_an_answer_are_ignored(
    scene: Scene, signer: Signer, folder: CheckpointFolder, witness: third_party.Witness
) -> None:
    (checkpoint,) = signer.run_once()
    own = witness.key.sign(checkpoint.text(), 9)
    witness.instead = 200, "text/plain", f"{FORGED.line()}\n{own.line()}\n".encode()
    assert ask_all(cosigner_of(scene, signer, folder, witness)) == 1
    (found,) = scene.operator.get_checkpoint(POOL).cosignatures
    assert (found.verifier_key, found.cosign_time.seconds) == (str(witness.key.verifier_key), 9)


def test_a_witness_that_does_not_know_the_log_or_trusts_another_key_says_so(
    scene: Scene, signer: Signer, folder: CheckpointFolder, witness: third_party.Witness
) -> None:
    signer.run_once()
    cosigner = cosigner_of(scene, signer, folder, witness)
    with structlog.testing.capture_logs() as logged:
        witness.logs = {POOL_KEY.name: SigningKey(POOL_KEY.name, b"\x33" * 32).verifier_key}
        ask_all(cosigner)
        witness.logs = {}
        ask_all(cosigner)
    first, second = reasons(logged)
    assert "trusts another key" in first
    assert "does not know the log" in second


def test_witnesses_are_read_from_their_setting() -> None:
    first, second = stranger(1).key.verifier_key, stranger(2).key.verifier_key
    text = f"https://w1.example/prefix/ {first}, http://127.0.0.1:8080 {second}"
    assert Witness.parse_all(text) == (
        Witness("https://w1.example/prefix", first),
        Witness("http://127.0.0.1:8080", second),
    )
    assert Witness.parse_all("") == Witness.parse_all(" , ") == ()
    for wrong in (
        "https://w1.example",
        f"ftp://w1.example {first}",
        f"{first} https://w1.example",
        f"https://w1.example?x=1 {first}",
        f"https://w1.example {KEY.verifier_key}",
        f"https:// {first}",
        f"https://w1.example:port {first}",
        f"https://[::1 {first}",
        f"https://user@w1.example {first}",
        ",".join([f"https://w1.example {first}"] * 65),
    ):
        with pytest.raises(InvalidInputError, match="MOIETY_WITNESSES"):
            Witness.parse_all(wrong)


def test_the_background_process_has_its_checkpoints_cosigned(scene: Scene, tmp_path: Path, clock: SteppedClock) -> None:
    path = tmp_path / "signing-key"
    key = generate_key(path, "log.example").named(POOL_KEY.name)
    third = stranger()
    third.logs[POOL_KEY.name] = key.verifier_key
    with third_party.listening(third):
        chosen = {
            "signing_key_file": path,
            "checkpoint_folder": tmp_path / "checkpoints",
            "checkpoint_seconds": 0.05,
            "witnesses": f"{third.url} {third.key.verifier_key}",
        }
        with scheduling(scene.deployment.settings.model_copy(update=chosen), clock=clock):
            wait_until(lambda: third.latest)
            scene.submit([event(1)], "b")
            wait_until(lambda: third.latest[POOL_KEY.name].size == 3)
            wait_until(lambda: scene.operator.get_checkpoint(POOL).cosignatures)
    opened = open_checkpoint(
        scene.operator.get_checkpoint(POOL).note, key.verifier_key, witnesses=[third.key.verifier_key]
    )
    assert opened.note.signed_by(third.key.verifier_key)


def test_everything_in_one_process_has_what_its_own_key_signs_cosigned(own_folder: Path, clock: SteppedClock) -> None:
    data = own_folder / "data"
    data.mkdir()
    third = stranger()
    name = f"localhost/moiety/pools/{POOL}"
    third.logs = {name: generate_key(data / "signing-key", "localhost/moiety").named(name).verifier_key}
    with third_party.listening(third):
        settings = load_settings(
            listen="127.0.0.1:0", checkpoint_seconds=0.05, witnesses=f"{third.url} {third.key.verifier_key}"
        )
        with (
            embedded_postgres(data) as url,
            everything(settings, data, url, clock=clock) as running,
            Client(running.address, running.founders_keys["operators/first"]) as client,
        ):
            client.create_pool(POOL, Pool(display_name="Folk tunes", currency="EUR", policy=Policy()))
            wait_until(lambda: third.latest)
    assert third.latest[name].size == 1


def test_witnesses_without_a_key_are_refused_by_their_setting(scene: Scene) -> None:
    chosen = {"witnesses": f"https://w.example {stranger().key.verifier_key}"}
    with (
        pytest.raises(InvalidInputError, match="MOIETY_WITNESSES"),
        scheduling(scene.deployment.settings.model_copy(update=chosen)),
    ):
        pass


def test_a_cosigner_that_is_told_to_stop_asks_nobody_else(
    scene: Scene, signer: Signer, folder: CheckpointFolder, witness: third_party.Witness
) -> None:
    signer.run_once()
    cosigner = cosigner_of(scene, signer, folder, witness)
    cosigner.stop()
    assert ask_all(cosigner) == 0
    assert witness.statuses == []


def test_what_another_process_had_cosigned_is_not_asked_for_again(
    scene: Scene, signer: Signer, folder: CheckpointFolder, witness: third_party.Witness
) -> None:
    signer.run_once()
    assert ask_all(cosigner_of(scene, signer, folder, witness)) == 1
    assert ask_all(cosigner_of(scene, signer, folder, witness)) == 0
    assert witness.statuses == [200]
