"""Witnesses of statement files, and deployments whose key was changed: both verifiers say who signed."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from audit.statements.check import Check, check_statement
from audit.statements.file import StatementFile
from ledger.acts.entries import KeyChangeContent
from ledger.log.checkpoint import read_checkpoint, sign_checkpoint
from ledger.log.key_changes import KeyChange, LastSigned, Reason
from ledger.log.leaves import Content
from ledger.log.note_keys import SigningKey, VerifierKey
from ledger.log.notes import sign_note
from ledger.log.origins import log_origin
from ledger.log.witness_policy import all_of
from payout.policy import Policy
from tests.support.exports import KEY
from tests.support.statement_files import (
    NODE,
    STRANGER,
    WITNESS,
    checked_by_node,
    cosigned,
    guarded_log,
    small_log,
    statement_file,
)

FILE: Final = statement_file(guarded_log(), 1, "eire")
ASKED: Final = all_of([WITNESS.verifier_key])

CASES: Final[dict[str, tuple[bytes, str | None]]] = {
    "cosigned": (cosigned(FILE, WITNESS), None),
    "not cosigned": (FILE.to_bytes(), "signatures"),
    "of which the registry's checkpoint is not": (cosigned(FILE, WITNESS, only_pool=True), "signatures"),
    "cosigned by somebody else": (cosigned(FILE, STRANGER), "signatures"),
    "cosigned by somebody else too": (cosigned(FILE, WITNESS, STRANGER), "signatures"),
    "cosigned under the name of another": (
        cosigned(FILE, SigningKey(WITNESS.name, bytes(32), WITNESS.type)), "signatures",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_witness_that_is_asked_for_has_cosigned_both_checkpoints(name: str) -> None:
    file, failed = CASES[name]
    report = check_statement(file, KEY.verifier_key, [ASKED])
    assert report.failed == failed, report.reason
    if NODE is not None:
        (said,) = checked_by_node([file], str(KEY.verifier_key), [str(WITNESS.verifier_key)])
        assert said["failed"] == failed, said["reason"]


def test_without_being_asked_a_cosignature_of_a_witness_that_the_registry_names_is_told_and_verified() -> None:
    file = cosigned(FILE, WITNESS)
    assert check_statement(file, KEY.verifier_key).facts["cosigned_by"] == ["w1"]
    assert check_statement(FILE.to_bytes(), KEY.verifier_key).facts["cosigned_by"] == []
    begin = file.index(b"w1 ") + 3
    end = file.index(b"\\n", begin)
    changed = [file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :] for at in range(begin, end)]
    assert [each for each in changed if check_statement(each, KEY.verifier_key).holds] == []
    stranger = cosigned(statement_file(small_log(Policy()), 1, "eire"), WITNESS)
    assert check_statement(stranger, KEY.verifier_key).failed is Check.SIGNATURES
    if NODE is not None:
        said = checked_by_node([file, stranger, *changed], str(KEY.verifier_key))
        assert [at for at, each in enumerate(said) if each["holds"]] == [0]
        assert said[0]["facts"]["cosigned_by"] == ["w1"]


def resigned(file: StatementFile, key: SigningKey) -> bytes:
    """The file with its checkpoints signed by another key of the deployment."""

    def signed(note: bytes) -> bytes:
        checkpoint, _ = read_checkpoint(note)
        return sign_checkpoint(checkpoint, key.named(checkpoint.origin)).to_bytes()

    parts = (replace(part, checkpoint=signed(part.checkpoint)) for part in (file.pool, file.registry))
    pool, registry = parts
    return replace(file, pool=pool, registry=registry).to_bytes()


def test_a_file_after_a_change_of_the_key_holds_by_the_old_key_and_the_change() -> None:
    deployment = "moiety.example"
    old, new = SigningKey(deployment, bytes(range(32))), SigningKey(deployment, bytes(range(1, 33)))
    last = [
        LastSigned(log, checkpoint.size, checkpoint.root)
        for log, part in (("folk", FILE.pool), ("registry", FILE.registry))
        for checkpoint, _ in [read_checkpoint(part.checkpoint)]
    ]
    change = KeyChange(Reason.ROTATED, old.verifier_key, new.verifier_key, tuple(last))
    after = resigned(FILE, new)
    assert check_statement(after, new.verifier_key).holds
    assert check_statement(after, old.verifier_key).failed is Check.SIGNATURES
    assert check_statement(after, old.verifier_key, (), [change]).holds
    assert check_statement(FILE.to_bytes(), new.verifier_key, (), [change]).holds
    lost = replace(change, reason=Reason.LOST)
    assert check_statement(after, old.verifier_key, (), [lost]).failed is Check.SIGNATURES
    early = replace(change, logs=tuple(replace(each, size=each.size - 1) for each in change.logs))
    key = VerifierKey(log_origin(deployment, "folk"), old.verifier_key.public_key)
    report = check_statement(FILE.to_bytes(), key, (), [early])
    assert "was replaced when the log had" in report.reason
    if NODE is not None:
        (said,) = checked_by_node([after], str(new.verifier_key))
        assert said["holds"]


DEPLOYMENT: Final = "moiety.example"
OLD, NEW, NEXT, THIEF = (SigningKey(DEPLOYMENT, bytes(range(at, at + 32))) for at in range(4))


def step(old: SigningKey, new: SigningKey, reason: Reason = Reason.ROTATED, *, forged: bool = False) -> Content:
    """A leaf that names the next key, or that only looks so."""
    change = KeyChange(reason, old.verifier_key, new.verifier_key, (LastSigned("registry", 1, bytes(32)),))
    note = change.sign(new, old if reason is Reason.ROTATED else None).note
    if forged:
        note = sign_note(change.step().text(), [THIEF, new]).to_bytes()
    return KeyChangeContent(note=note.decode(), logs_sha256=change.step().logs_sha256.hex())


def after(signer: SigningKey, *steps: Content) -> bytes:
    """A file of a deployment whose registry's log has these leaves, signed by a key."""
    log = small_log(Policy())
    log.registry.now = log.now
    for content in steps:
        log.registry.append(content)
    return resigned(statement_file(log, 1, "eire"), signer)


ROTATED: Final = step(OLD, NEW)
CHANGES: Final[dict[str, tuple[bytes, SigningKey, bool]]] = {
    "the next key": (after(NEW, ROTATED), OLD, True),
    "the next key, which is trusted": (after(NEW, ROTATED), NEW, True),
    "the key after the next": (after(NEXT, ROTATED, step(NEW, NEXT)), OLD, True),
    "the old key, after its change": (after(OLD, ROTATED), OLD, False),
    "the next key, after its own change": (after(NEW, ROTATED, step(NEW, NEXT)), OLD, False),
    "another key than the next": (after(THIEF, ROTATED), OLD, False),
    "a key that another deployment trusts": (after(NEW, ROTATED), THIEF, False),
    "a change that the old key did not sign": (after(NEW, step(OLD, NEW, forged=True)), OLD, False),
    "a second change of one key": (after(THIEF, ROTATED, step(OLD, THIEF)), OLD, False),
    "a key that comes back": (after(OLD, ROTATED, step(NEW, OLD)), OLD, False),
    "a change after a theft": (after(NEW, step(OLD, NEW, Reason.STOLEN)), OLD, False),
    "a change after a theft, whose key is trusted": (after(NEW, step(OLD, NEW, Reason.STOLEN)), NEW, True),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_has_the_changes_of_the_key_up_to_the_one_that_signs(name: str) -> None:
    file, trusted, holds = CHANGES[name]
    report = check_statement(file, trusted.verifier_key)
    assert report.failed == (None if holds else Check.SIGNATURES), report.reason
    if NODE is not None:
        (said,) = checked_by_node([file], str(trusted.verifier_key))
        assert said["failed"] == (None if holds else "signatures"), said["reason"]


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_both_refuse_a_change_with_any_byte_of_its_note_changed() -> None:
    file = after(NEW, ROTATED)
    begin = file.index(f"{DEPLOYMENT}/key-change".encode())
    end = file.index(b'\\",\\"pool\\"', begin)
    changed = [file[:at] + bytes([file[at] ^ 1]) + file[at + 1 :] for at in range(begin, end)]
    assert [at for at, each in enumerate(changed) if check_statement(each, OLD.verifier_key).holds] == []
    assert not any(each["holds"] for each in checked_by_node(changed, str(OLD.verifier_key)))
