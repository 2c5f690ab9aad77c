"""Changes of the signing key: what the next key signs counts, and what the last one signs later does not."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.exceptions import InvalidSignature

from audit.steps import Step
from audit.verification.bundle import Older
from audit.verification.report import Report
from ledger.acts.entries import KeyChangeContent, WitnessesContent
from ledger.errors import FormatError, SignatureError
from ledger.log.key_changes import KeyChange, LastSigned, LogKeys, Reason
from ledger.log.merkle import inclusion_proof
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.notes import parse_note, sign_note
from ledger.log.proof_files import LogProof
from ledger.log.witness_policy import WitnessPolicy, all_of
from services.cli.app import main
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import LogSource
from tests.support.exports import KEY, ORIGIN, PoolSource, RegistrySource, report_of
from tests.support.independent import verifier
from tests.support.pool_log import PoolLog
from tests.support.replay_history import BATCH, HISTORY, REVENUE

OLD: Final = KEY.named("moiety.example")
NEW: Final = SigningKey("moiety.example", bytes([7] * 32))
NEXT: Final = SigningKey("moiety.example", bytes([8] * 32))
THIEF: Final = SigningKey("moiety.example", bytes([9] * 32))
WITNESS: Final = SigningKey("w1.example", bytes([1] * 32), SignatureType.COSIGNATURE)
QUORUM: Final = (all_of([WITNESS.verifier_key]),)
NOBODY: Final = (WitnessPolicy("none", {}, {}),)
"""Asks for no witness, whoever the log names."""
SIZE: Final = 9
"""Leaves of the pool's log when the key was changed."""


def change_of(
    log: PoolLog = HISTORY,
    reason: Reason = Reason.ROTATED,
    old: SigningKey = OLD,
    new: SigningKey = NEW,
    size: int = SIZE,
    registry_size: int | None = None,
) -> KeyChange:
    """A change of the key of a log that has been signed up to a size, and of its registry's."""
    registry = log.registry.size() if registry_size is None else registry_size
    last = (
        LastSigned("folk", size, bytes.fromhex(log.root_at(size))),
        LastSigned("registry", registry, bytes.fromhex(log.registry.root_at(registry))),
    )
    change = KeyChange(reason, old.verifier_key, new.verifier_key, last)
    return change.sign(new, old if reason is Reason.ROTATED else None)


def with_leaf(log: PoolLog, change: KeyChange) -> PoolLog:
    """The log with a change of its key in its registry's."""
    grown = deepcopy(log)
    grown.registry.now = grown.now + timedelta(hours=1)
    content = KeyChangeContent(note=change.note.decode(), logs_sha256=grown.registry.put(change.listed()))
    grown.registry.append(content)
    return grown


def with_witness(log: PoolLog = HISTORY, witness: SigningKey = WITNESS) -> PoolLog:
    """The log of a deployment that named its witness."""
    grown = deepcopy(log)
    grown.registry.now = grown.now + timedelta(hours=1)
    grown.registry.act(WitnessesContent(policy=f"witness w1 {witness.verifier_key}\nquorum w1\n"))
    return grown


CHANGED: Final = with_leaf(HISTORY, change_of())
TWICE: Final = with_leaf(CHANGED, change_of(CHANGED, old=NEW, new=NEXT, size=12))


@dataclass
class Signed(PoolSource):
    """A pool's log by one key, and its registry's by the same or another one; cosigned if there is a witness."""

    registry_key: SigningKey | None = None
    witness: SigningKey | None = None

    def checkpoint(self) -> bytes:
        return cosigned(super().checkpoint(), self.witness)

    def registry(self) -> LogSource | None:
        return SignedRegistry(self.log.registry, self.registry_key or self.key, self.witness)


@dataclass
class SignedRegistry(RegistrySource):
    witness: SigningKey | None = None

    def checkpoint(self) -> bytes:
        return cosigned(super().checkpoint(), self.witness)


def cosigned(checkpoint: bytes, witness: SigningKey | None = WITNESS) -> bytes:
    note = parse_note(checkpoint)
    return note.with_signatures([witness.sign(note.text, 77)] if witness else []).to_bytes()


def verified(
    folder: Path,
    log: PoolLog,
    signer: SigningKey,
    *,
    trusted: SigningKey = OLD,
    size: int | None = None,
    registry: SigningKey | None = None,
    by: SigningKey | None = None,
    **asked: Any,
) -> Report:
    """What is said of a bundle of a log that this key signed, and its registry the same or another one."""
    write_bundle(Signed(log, signer.named(ORIGIN), size, registry, by), folder / "folk.tar")
    return report_of(folder / "folk.tar", trusted.named(ORIGIN).verifier_key, **asked)


def kept(note: bytes, registry: bytes | None = None) -> tuple[Older, ...]:
    return (Older("kept", note, registry),)


def told(report: Report) -> str:
    assert report.finding is not None
    return f"{report.finding.figure}: {report.finding.claimed}"


def test_what_the_next_key_signs_counts_once_a_leaf_names_it(tmp_path: Path) -> None:
    report = verified(tmp_path, CHANGED, NEW)
    assert report.finding is None
    assert any("by the word of the old key alone" in warning for warning in report.warnings)
    assert told(verified(tmp_path, HISTORY, NEW)).startswith("signature: ")
    assert told(verified(tmp_path, CHANGED, THIEF)).startswith("signature: ")
    # A change that is not in the log does not make the new key sign, whoever hands it over.
    assert told(verified(tmp_path, HISTORY, NEW, changes=(change_of(),))) == "keychange.v1: none"


def test_one_deployments_key_stands_for_all_logs_and_the_next_for_those_that_follow(tmp_path: Path) -> None:
    assert verified(tmp_path, CHANGED, NEW, trusted=NEW).finding is None
    assert verified(tmp_path, CHANGED, OLD, size=SIZE, registry=NEW, trusted=NEW).finding is None
    assert told(verified(tmp_path, HISTORY, OLD, trusted=NEW)).startswith("signature: ")
    assert verified(tmp_path, HISTORY, OLD, trusted=NEW, changes=(change_of(),)).finding is not None
    stolen = with_leaf(HISTORY, change_of(reason=Reason.STOLEN))
    report = verified(tmp_path, stolen, NEW, trusted=NEW)
    assert report.finding is None
    assert [warning for warning in report.warnings if "STOLEN" in warning]


def test_the_old_key_counts_up_to_its_last_size_and_no_further(tmp_path: Path) -> None:
    assert verified(tmp_path, CHANGED, OLD, size=SIZE, registry=NEW).finding is None
    assert "was replaced when the log had 9 leaves" in told(verified(tmp_path, CHANGED, OLD, registry=NEW))
    # The thief, or the operator who goes back to it: the registry's log has the change, and the old key signs that too.
    assert "was replaced when the log had" in told(verified(tmp_path, CHANGED, OLD, size=SIZE))
    assert told(verified(tmp_path, CHANGED, NEW, registry=OLD)).startswith("signature: ")
    in_time = PoolSource(HISTORY, size=SIZE).checkpoint()
    assert verified(tmp_path, CHANGED, NEW, since=kept(in_time)).finding is None
    assert verified(tmp_path, CHANGED, NEW, since=kept(in_time), trusted=NEW).finding is None


def test_a_change_that_states_less_than_was_signed_is_found_by_whoever_kept_more(tmp_path: Path) -> None:
    late = PoolSource(HISTORY, size=SIZE + 1).checkpoint()
    assert "was replaced when the log had 9 leaves" in told(verified(tmp_path, CHANGED, NEW, since=kept(late)))
    registry = RegistrySource(HISTORY.registry).checkpoint()
    small = with_leaf(HISTORY, change_of(registry_size=HISTORY.registry.size() - 1))
    in_time = PoolSource(HISTORY, size=SIZE).checkpoint()
    assert verified(tmp_path, small, NEW, since=kept(in_time)).finding is None
    assert "was replaced when the log had" in told(verified(tmp_path, small, NEW, since=kept(in_time, registry)))


def test_the_old_key_does_not_count_for_a_log_that_the_change_does_not_name(tmp_path: Path) -> None:
    change = KeyChange(Reason.ROTATED, OLD.verifier_key, NEW.verifier_key, change_of().logs[1:]).sign(NEW, OLD)
    finding = told(verified(tmp_path, with_leaf(HISTORY, change), OLD, size=SIZE, registry=NEW))
    assert "was replaced when the log had 0 leaves" in finding


def test_the_log_under_the_new_key_extends_what_the_old_one_signed_last(tmp_path: Path) -> None:
    other = deepcopy(CHANGED)
    other.change(REVENUE, note="another history")
    finding = verified(tmp_path, other, NEW).finding
    assert finding is not None
    assert (finding.where.file, finding.figure) == ("key change", "root at 9")
    assert "5 leaves" in told(verified(tmp_path, CHANGED, NEW, size=5))


@pytest.mark.parametrize("reason", [Reason.LOST, Reason.STOLEN])
def test_after_a_loss_or_theft_only_the_witnesses_named_before_count(reason: Reason, tmp_path: Path) -> None:
    nobody = with_leaf(HISTORY, change_of(reason=reason))
    assert "it counts with a quorum" in told(verified(tmp_path, nobody, NEW, by=WITNESS))
    named = with_witness()
    changed = with_leaf(named, change_of(named, reason))
    assert told(verified(tmp_path, changed, NEW)) == "cosignatures: none by w1"
    report = verified(tmp_path, changed, NEW, by=WITNESS)
    assert report.finding is None
    assert [warning for warning in report.warnings if "witnesses whom this log itself names" in warning]
    assert "it counts with a quorum" in told(verified(tmp_path, changed, NEW, by=WITNESS, witnesses=NOBODY))
    # Whoever names witnesses asks for these alone.
    assert told(verified(tmp_path, nobody, NEW, witnesses=QUORUM)) == "cosignatures: none by w1.example"
    assert verified(tmp_path, nobody, NEW, witnesses=QUORUM, by=WITNESS).finding is None


def test_witnesses_that_a_thief_names_do_not_vouch_for_whoever_kept_a_registry_from_before(tmp_path: Path) -> None:
    theirs = SigningKey("w1.example", bytes([3] * 32), SignatureType.COSIGNATURE)
    before = with_witness()
    registry = RegistrySource(before.registry).checkpoint()
    note = PoolSource(before, size=SIZE).checkpoint()
    forged = with_witness(before, theirs)
    stolen = with_leaf(forged, change_of(forged, Reason.STOLEN, new=THIEF))
    assert verified(tmp_path, stolen, THIEF, by=theirs).finding is None  # nothing shows it to those who kept nothing
    since = kept(note, registry)
    assert told(verified(tmp_path, stolen, THIEF, by=theirs, since=since)) == "cosignatures: none by w1"
    # The owner's change, after the same theft, holds for both.
    owners = with_leaf(before, change_of(before, Reason.STOLEN))
    report = verified(tmp_path, owners, NEW, by=WITNESS, since=since)
    assert report.finding is None
    assert not [warning for warning in report.warnings if "itself names" in warning]


def test_a_thief_can_sign_a_rotation_but_not_have_it_cosigned(tmp_path: Path) -> None:
    named = with_witness()
    stolen = with_leaf(named, change_of(named, new=THIEF))  # with the old key in hand it looks like any other
    assert told(verified(tmp_path, stolen, THIEF)) == "cosignatures: none by w1"
    report = verified(tmp_path, stolen, THIEF, witnesses=NOBODY)
    assert [warning for warning in report.warnings if "whoever had stolen it could have done so too" in warning]
    # Nobody can take the thief's change and the owner's together for one history.
    both = [change_of(named, Reason.STOLEN), change_of(named, new=THIEF)]
    with pytest.raises(FormatError, match="is not of this key"):
        LogKeys.of(OLD.verifier_key, both)
    assert "signature" in told(verified(tmp_path, stolen, THIEF, changes=(both[0],), witnesses=QUORUM, by=WITNESS))


def test_two_changes_follow_each_other(tmp_path: Path) -> None:
    assert verified(tmp_path, TWICE, NEXT).finding is None
    assert verified(tmp_path, TWICE, NEXT, trusted=NEW).finding is None
    assert verified(tmp_path, TWICE, NEXT, trusted=NEXT).finding is None
    assert verified(tmp_path, TWICE, NEW, size=12, registry=NEXT).finding is None
    assert "was replaced" in told(verified(tmp_path, TWICE, NEW, registry=NEXT))
    assert "was replaced" in told(verified(tmp_path, TWICE, OLD, size=12, registry=NEXT))
    back = change_of(old=NEXT, new=OLD)
    changes = [change_of(), change_of(CHANGED, old=NEW, new=NEXT, size=12)]
    with pytest.raises(FormatError, match="brings back"):
        LogKeys.of(OLD.verifier_key, [*changes, back])
    assert verified(tmp_path, TWICE, NEXT, changes=tuple(changes[::-1])).finding is None


@pytest.mark.parametrize("signer", [OLD, NEW, THIEF])
def test_two_changes_of_one_key_are_found_whoever_signs(signer: SigningKey, tmp_path: Path) -> None:
    forked = with_leaf(CHANGED, change_of(CHANGED, new=THIEF))
    report = verified(tmp_path, forked, signer, keep_going=True)
    assert {finding.step for finding in report.findings} >= {Step.FORMS}
    assert [finding for finding in report.findings if finding.figure == "old key"]


def wrong(what: str, log: PoolLog) -> KeyChangeContent:
    """The leaf of a change that is none."""
    change = change_of()
    text, listed = change.step().text(), change.listed()
    signers = {"no second": [NEW], "no first": [OLD], "another": [OLD, THIEF], "a third": [OLD, NEW, THIEF]}.get(what)
    note = sign_note(text, signers).to_bytes() if signers else change.note
    if what == "forged":
        note = note[:-20] + b"AAAA" + note[-16:]
    elif what == "more":
        listed = listed.replace(b"folk 9 ", b"folk 8 ")
    elif what == "another's":
        names = [key.named("other.example") for key in (OLD, NEW)]
        theirs = KeyChange(Reason.ROTATED, names[0].verifier_key, names[1].verifier_key, change.logs)
        note = theirs.sign(names[1], names[0]).note
    return KeyChangeContent(note=note.decode(), logs_sha256=log.registry.put(listed))


@pytest.mark.parametrize("what", ["no second", "no first", "another", "a third", "forged", "more", "another's"])
def test_a_leaf_with_a_wrong_signature_or_list_names_no_key(what: str, tmp_path: Path) -> None:
    log = deepcopy(HISTORY)
    log.registry.now = log.now + timedelta(hours=1)
    log.registry.append(wrong(what, log))
    # Its old key goes on, and the leaf is found; its new key never begins.
    report = verified(tmp_path, log, OLD)
    assert report.finding is not None
    assert (report.finding.where.log, report.finding.step) == ("registry", Step.FORMS)
    assert told(verified(tmp_path, log, NEW)).startswith("signature: ")
    with pytest.raises((AssertionError, InvalidSignature)):
        verifier.verify(tmp_path / "folk.tar", str(OLD.verifier_key))


def test_the_registry_root_that_a_change_states_is_the_logs(tmp_path: Path) -> None:
    change = change_of()
    last = (change.logs[0], LastSigned("registry", 3, bytes(32)))
    other = KeyChange(Reason.ROTATED, OLD.verifier_key, NEW.verifier_key, last).sign(NEW, OLD)
    assert verified(tmp_path, with_leaf(HISTORY, other), NEW, keep_going=True).findings[0].figure == "root at 3"
    late = LastSigned("registry", HISTORY.registry.size() + 1, bytes(32))
    other = KeyChange(Reason.ROTATED, OLD.verifier_key, NEW.verifier_key, (late,)).sign(NEW, OLD)
    figures = {each.figure for each in verified(tmp_path, with_leaf(HISTORY, other), NEW, keep_going=True).findings}
    assert "registry" in figures


@pytest.mark.parametrize("name", ["Folk", "folk/rock", "folk\u00a0", "a" * 64, "registry/x"])
def test_a_change_names_logs_by_their_ids(name: str, tmp_path: Path) -> None:
    last = tuple(sorted([LastSigned(name, 3, bytes(32)), *change_of().logs], key=lambda each: each.log))
    other = KeyChange(Reason.ROTATED, OLD.verifier_key, NEW.verifier_key, last)
    note = sign_note(other.step().text(), [OLD, NEW]).to_bytes()
    with pytest.raises(FormatError, match="names no log"):
        KeyChange.read(note, other.listed())
    log = deepcopy(HISTORY)
    log.registry.now = log.now + timedelta(hours=1)
    log.registry.append(KeyChangeContent(note=note.decode(), logs_sha256=log.registry.put(other.listed())))
    assert verified(tmp_path, log, OLD).finding is not None
    with pytest.raises((AssertionError, KeyError)):
        verifier.verify(tmp_path / "folk.tar", str(OLD.verifier_key))


def test_a_file_counts_only_whole() -> None:
    file = change_of().to_bytes()
    assert KeyChange.parse(file).to_bytes() == file
    for place in range(len(file)):
        forged = file[:place] + bytes([file[place] ^ 1]) + file[place + 1 :]
        with pytest.raises((FormatError, SignatureError)):
            KeyChange.parse(forged)


def test_a_change_is_signed_by_just_its_keys() -> None:
    change = change_of()
    with pytest.raises(FormatError):
        change.sign(NEW)
    with pytest.raises(FormatError):
        change.sign(NEW, THIEF)
    with pytest.raises(FormatError):
        change_of(reason=Reason.LOST).sign(NEW, OLD)


def test_a_checkpoint_is_no_change_and_a_change_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        KeyChange.parse(PoolSource(HISTORY).checkpoint())
    found = told(verified(tmp_path, CHANGED, NEW, since=kept(change_of().note)))
    assert found.split(":")[0] in ("signature", "checkpoint.size")


def test_keys_of_two_deployments_are_no_change() -> None:
    other = SigningKey("other.example", bytes([7] * 32)).verifier_key
    logs = change_of().logs
    for old, new in ((OLD.verifier_key, other), (OLD.verifier_key, OLD.verifier_key)):
        with pytest.raises(FormatError):
            KeyChange(Reason.LOST, old, new, logs)
    with pytest.raises(FormatError):
        KeyChange(Reason.LOST, OLD.verifier_key, NEW.verifier_key, logs[::-1])


def test_the_second_verifier_follows_a_change_and_refuses_the_same(tmp_path: Path) -> None:
    named = with_witness()
    stolen = with_leaf(named, change_of(named, Reason.STOLEN))
    small = change_of(registry_size=HISTORY.registry.size() - 1)
    cases: list[tuple[PoolLog, SigningKey, dict[str, Any], bool]] = [
        (CHANGED, NEW, {}, True),
        (CHANGED, NEW, {"trusted": NEW}, True),
        (HISTORY, NEW, {}, False),
        (CHANGED, OLD, {"size": SIZE, "registry": NEW}, True),
        (CHANGED, OLD, {"size": SIZE}, False),
        (CHANGED, OLD, {"registry": NEW}, False),
        (CHANGED, NEW, {"registry": OLD}, False),
        (CHANGED, NEW, {"size": 5}, False),
        (TWICE, NEXT, {}, True),
        (TWICE, NEW, {}, False),
        (TWICE, NEW, {"size": 12, "registry": NEXT}, True),
        (CHANGED, THIEF, {}, False),
        (with_leaf(CHANGED, change_of(CHANGED, new=THIEF)), NEW, {}, False),
        (with_leaf(CHANGED, change_of(CHANGED, old=NEW, new=OLD)), OLD, {}, False),
        (with_leaf(HISTORY, small), NEW, {}, True),
        (named, OLD, {}, False),
        (named, OLD, {"by": WITNESS}, True),
        (stolen, NEW, {}, False),
        (stolen, NEW, {"by": WITNESS}, True),
        (with_leaf(HISTORY, change_of(reason=Reason.STOLEN)), NEW, {"by": WITNESS}, False),
    ]
    for number, (log, signer, asked, holds) in enumerate(cases):
        found = verified(tmp_path, log, signer, **asked).finding
        assert (found is None) == holds, (number, found)
        try:
            verifier.verify(tmp_path / "folk.tar", str(asked.get("trusted", OLD).verifier_key))
        except (AssertionError, KeyError):
            assert not holds, number
        else:
            assert holds, number


# The commands.


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err


def receipt(folder: Path, log: PoolLog, signer: SigningKey, witness: SigningKey | None = None) -> tuple[Path, Path]:
    """A proof of a batch, and the batch."""
    hashes = tuple(inclusion_proof(BATCH, [leaf.hash for leaf in log.entries]))
    checkpoint = Signed(log, signer.named(ORIGIN), witness=witness).checkpoint()
    proof, body = folder / "proof", folder / "body"
    proof.write_bytes(LogProof(BATCH, hashes, checkpoint, log.entries[BATCH].entry).to_bytes())
    body.write_bytes(log.bodies[bytes.fromhex(log.content(BATCH).body_sha256)])
    return proof, body


def test_an_auditor_follows_a_change_with_the_old_key_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(Signed(CHANGED, NEW.named(ORIGIN)), tmp_path / "folk.tar")
    code, out, _ = run(capsys, "verify", tmp_path / "folk.tar", "--key", OLD.verifier_key)
    assert (code, "Note: the signing key" in out) == (0, True)
    # One entry alone does not have the registry's log beside it: the change goes with it.
    (tmp_path / "change").write_bytes(change_of().to_bytes())
    proof, body = receipt(tmp_path, CHANGED, NEW)
    for command in (("log", "verify-proof", proof), ("verify", proof, "--only-batch", body)):
        assert run(capsys, *command, "--key", OLD.verifier_key)[0] == 1
        assert run(capsys, *command, "--key", OLD.verifier_key, "--key-change", tmp_path / "change")[0] == 0


def test_a_change_after_a_theft_does_not_count_by_itself_in_any_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "change").write_bytes(change_of(reason=Reason.STOLEN).to_bytes())
    proof, _ = receipt(tmp_path, CHANGED, NEW, WITNESS)
    command = ("log", "verify-proof", proof, "--key", OLD.verifier_key, "--key-change", tmp_path / "change")
    code, _, error = run(capsys, *command)
    assert (code, "it counts with a quorum" in error) == (1, True)
    assert run(capsys, *command, "--witness", WITNESS.verifier_key)[0] == 0


def test_what_is_no_change_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(Signed(CHANGED, NEW.named(ORIGIN)), tmp_path / "folk.tar")
    (tmp_path / "change").write_bytes(b"no note")
    code, _, error = run(
        capsys, "verify", tmp_path / "folk.tar", "--key", OLD.verifier_key, "--key-change", tmp_path / "change"
    )
    assert (code, error.startswith("key-change: ")) == (2, True)
