"""Changes of the signing key: what the next key signs counts, and what the last one signs later does not."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import pytest

from audit.report import Report
from audit.verification import Asked, Older
from ledger.errors import FormatError, SignatureError
from ledger.log.checkpoint import Checkpoint, sign_checkpoint
from ledger.log.key_changes import KeyChange, LastSigned, LogKeys, Reason
from ledger.log.merkle import inclusion_proof
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.notes import parse_note, sign_note
from ledger.log.proof_files import LogProof
from ledger.log.witness_policy import WitnessPolicy, all_of
from services.cli.app import main
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import LogSource
from tests.support.exports import KEY, ORIGIN, REGISTRY_ORIGIN, PoolSource, RegistrySource, report_of
from tests.support.independent import verifier
from tests.support.pool_log import PoolLog
from tests.support.replay_history import BATCH, HISTORY, REVENUE

OLD: Final = KEY.named("moiety.example")
NEW: Final = SigningKey("moiety.example", bytes([7] * 32))
NEXT: Final = SigningKey("moiety.example", bytes([8] * 32))
THIEF: Final = SigningKey("moiety.example", bytes([9] * 32))
WITNESS: Final = SigningKey("w1.example", bytes([1] * 32), SignatureType.COSIGNATURE)
QUORUM: Final = (all_of([WITNESS.verifier_key]),)
SIZE: Final = 9
"""Leaves of the pool's log when the key was changed."""


def last_signed(log: PoolLog = HISTORY, size: int = SIZE) -> tuple[LastSigned, ...]:
    registry = log.registry.size()
    return (
        LastSigned("folk", size, bytes.fromhex(log.root_at(size))),
        LastSigned("registry", registry, bytes.fromhex(log.registry.root_at(registry))),
    )


def change_of(reason: Reason = Reason.ROTATED, old: SigningKey = OLD, new: SigningKey = NEW, **last: Any) -> KeyChange:
    change = KeyChange(reason, old.verifier_key, new.verifier_key, last_signed(**last))
    return KeyChange.parse(change.sign(new, old if reason is Reason.ROTATED else None))


class Cosigned(PoolSource):
    """A pool whose checkpoint, and the registry's, the witness has cosigned."""

    def checkpoint(self) -> bytes:
        return cosigned(super().checkpoint())

    def registry(self) -> LogSource | None:
        return CosignedRegistry(self.log.registry, self.key)


class CosignedRegistry(RegistrySource):
    def checkpoint(self) -> bytes:
        return cosigned(super().checkpoint())


def cosigned(checkpoint: bytes) -> bytes:
    note = parse_note(checkpoint)
    return note.with_signatures([WITNESS.sign(note.text, 77)]).to_bytes()


def verified(
    folder: Path,
    signer: SigningKey,
    *changes: KeyChange,
    trusted: SigningKey = OLD,
    log: PoolLog = HISTORY,
    size: int | None = None,
    is_cosigned: bool = False,
    witnesses: tuple[WitnessPolicy, ...] = (),
    since: Sequence[bytes] = (),
) -> Report:
    source = (Cosigned if is_cosigned else PoolSource)(log, signer.named(ORIGIN), size)
    write_bundle(source, folder / "folk.tar")
    older = tuple(Older("kept", note) for note in since)
    key = trusted.named(ORIGIN).verifier_key
    return report_of(folder / "folk.tar", key, changes=changes, witnesses=witnesses, since=older)


def told(report: Report) -> str:
    assert report.finding is not None
    return f"{report.finding.figure}: {report.finding.claimed}"


def test_what_the_next_key_signs_counts_with_the_change_and_not_without(tmp_path: Path) -> None:
    report = verified(tmp_path, NEW, change_of())
    assert report.finding is None
    assert any("by the word of the old key alone" in warning for warning in report.warnings)
    assert told(verified(tmp_path, NEW)).startswith("signature: ")
    assert told(verified(tmp_path, THIEF, change_of())).startswith("signature: ")


def test_whoever_trusts_the_new_key_needs_no_change_for_it(tmp_path: Path) -> None:
    assert verified(tmp_path, NEW, trusted=NEW).finding is None
    report = verified(tmp_path, NEW, change_of(Reason.STOLEN), trusted=NEW)
    assert report.finding is None
    assert [warning for warning in report.warnings if "STOLEN" in warning]


def test_the_old_key_counts_up_to_its_last_size_and_no_further(tmp_path: Path) -> None:
    assert verified(tmp_path, OLD, change_of(), size=SIZE).finding is None
    assert "was replaced when the log had 9 leaves" in told(verified(tmp_path, OLD, change_of()))
    late = PoolSource(HISTORY, size=SIZE + 1).checkpoint()
    assert "was replaced" in told(verified(tmp_path, NEW, change_of(), since=[late]))
    in_time = PoolSource(HISTORY, size=SIZE).checkpoint()
    assert verified(tmp_path, NEW, change_of(), since=[in_time]).finding is None
    assert verified(tmp_path, NEW, change_of(), since=[in_time], trusted=NEW).finding is None


def test_the_old_key_does_not_count_for_a_log_that_the_change_does_not_name(tmp_path: Path) -> None:
    change = KeyChange(Reason.ROTATED, OLD.verifier_key, NEW.verifier_key, last_signed()[1:])
    assert "was replaced when the log had 0 leaves" in told(verified(tmp_path, OLD, change, size=SIZE))


def test_the_log_under_the_new_key_extends_what_the_old_one_signed_last(tmp_path: Path) -> None:
    other = deepcopy(HISTORY)
    other.change(REVENUE, note="another history")
    finding = verified(tmp_path, NEW, change_of(), log=other).finding
    assert finding is not None
    assert (finding.where.file, finding.figure) == ("key change", "root at 9")
    assert "5 leaves" in told(verified(tmp_path, NEW, change_of(), size=5))


@pytest.mark.parametrize("reason", [Reason.LOST, Reason.STOLEN])
def test_after_a_loss_or_theft_only_a_quorum_of_witnesses_counts(reason: Reason, tmp_path: Path) -> None:
    change = change_of(reason)
    assert "it counts with a quorum" in told(verified(tmp_path, NEW, change, is_cosigned=True))
    assert "it counts with a quorum" in told(verified(tmp_path, NEW, change, witnesses=(all_of([]),)))
    assert told(verified(tmp_path, NEW, change, witnesses=QUORUM)) == "cosignatures: none by w1.example"
    assert verified(tmp_path, NEW, change, witnesses=QUORUM, is_cosigned=True).finding is None


def test_a_thief_can_sign_a_change_but_not_have_it_cosigned(tmp_path: Path) -> None:
    stolen = change_of(new=THIEF)  # with the old key in hand, a rotation looks like any other
    report = verified(tmp_path, THIEF, stolen)
    assert [warning for warning in report.warnings if "whoever had stolen it could have done so too" in warning]
    assert told(verified(tmp_path, THIEF, stolen, witnesses=QUORUM)) == "cosignatures: none by w1.example"
    # Nobody can take the thief's change and the owner's together for one history.
    with pytest.raises(FormatError, match="is not of this key"):
        LogKeys.of(OLD.verifier_key, [change_of(Reason.STOLEN), stolen])


def test_changes_follow_each_other_in_any_order(tmp_path: Path) -> None:
    first, second = change_of(), change_of(old=NEW, new=NEXT, size=12)
    for changes in ((first, second), (second, first)):
        assert verified(tmp_path, NEXT, *changes).finding is None
        assert verified(tmp_path, NEXT, *changes, trusted=NEW).finding is None
        assert verified(tmp_path, NEW, *changes, size=12).finding is None
        assert "was replaced" in told(verified(tmp_path, NEW, *changes))
    with pytest.raises(FormatError, match="is not of this key"):
        Asked(OLD.verifier_key, changes=(second,)).trust(OLD.verifier_key)
    back = change_of(old=NEXT, new=OLD)
    with pytest.raises(FormatError, match="brings back"):
        LogKeys.of(OLD.verifier_key, [first, second, back])


def test_a_note_counts_only_whole() -> None:
    note = change_of().sign(NEW, OLD)
    for place in range(len(note)):
        forged = note[:place] + bytes([note[place] ^ 1]) + note[place + 1 :]
        with pytest.raises((FormatError, SignatureError)):
            KeyChange.parse(forged)


def test_a_rotation_without_the_old_keys_signature_is_none() -> None:
    change = change_of()
    with pytest.raises(SignatureError):
        KeyChange.parse(sign_note(change.text(), [NEW]).to_bytes())
    with pytest.raises(SignatureError):
        KeyChange.parse(sign_note(change.text(), [OLD]).to_bytes())
    with pytest.raises(FormatError):
        change.sign(NEW)
    with pytest.raises(FormatError):
        change_of(Reason.LOST).sign(NEW, OLD)


def test_a_checkpoint_is_no_change_and_a_change_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        KeyChange.parse(PoolSource(HISTORY).checkpoint())
    note = change_of().sign(NEW, OLD)
    assert told(verified(tmp_path, NEW, change_of(), since=[note])).split(":")[0] in ("signature", "checkpoint.size")


def test_keys_of_two_deployments_are_no_change() -> None:
    other = SigningKey("other.example", bytes([7] * 32)).verifier_key
    for old, new in ((OLD.verifier_key, other), (OLD.verifier_key, OLD.verifier_key)):
        with pytest.raises(FormatError):
            KeyChange(Reason.LOST, old, new, last_signed())
    with pytest.raises(FormatError):
        KeyChange(Reason.LOST, OLD.verifier_key, NEW.verifier_key, last_signed()[::-1])


def test_the_second_verifier_follows_a_change_and_refuses_the_same(tmp_path: Path) -> None:
    cases: list[tuple[SigningKey, list[KeyChange], int | None, bool]] = [
        (NEW, [change_of()], None, True),
        (NEW, [], None, False),
        (OLD, [change_of()], SIZE, True),
        (OLD, [change_of()], None, False),
        (NEW, [change_of()], 5, False),
        (NEXT, [change_of(), change_of(old=NEW, new=NEXT, size=12)], None, True),
        (NEW, [change_of(), change_of(old=NEW, new=NEXT, size=12)], None, False),
        (THIEF, [change_of()], None, False),
    ]
    for signer, changes, size, holds in cases:
        assert (verified(tmp_path, signer, *changes, size=size).finding is None) == holds
        olds = {str(OLD.verifier_key): OLD, str(NEW.verifier_key): NEW}
        notes = [
            change.sign(NEW if change.new == NEW.verifier_key else NEXT, olds[str(change.old)]) for change in changes
        ]
        try:
            verifier.verify(tmp_path / "folk.tar", str(OLD.verifier_key), notes)
        except (AssertionError, KeyError):
            assert not holds
        else:
            assert holds


# The commands.


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The files of both keys, and the old one's last checkpoints."""
    (tmp_path / "old.key").write_text(OLD.to_text() + "\n")
    (tmp_path / "new.key").write_text(NEW.to_text() + "\n")
    (tmp_path / "checkpoints").mkdir()
    for last, origin in zip(last_signed(), (ORIGIN, REGISTRY_ORIGIN), strict=True):
        note = sign_checkpoint(Checkpoint(origin, last.size, last.root), OLD.named(origin)).to_bytes()
        (tmp_path / "checkpoints" / f"{last.log}.checkpoint").write_bytes(note)
    return tmp_path


def change_key(capsys: pytest.CaptureFixture[str], keys: Path, *how: object) -> tuple[int, str, str]:
    given = ("--checkpoints", keys / "checkpoints", "--out", keys / "change")
    return run(capsys, "log", "change-key", keys / "new.key", *given, *how)


def test_an_operator_makes_the_change_and_an_auditor_follows_it(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = change_key(capsys, keys, "--old", keys / "old.key")
    assert (code, "9 leaves under the old key" in out) == (0, True)
    assert KeyChange.parse((keys / "change").read_bytes()) == change_of()
    write_bundle(PoolSource(HISTORY, NEW.named(ORIGIN)), keys / "folk.tar")
    old = OLD.verifier_key
    assert run(capsys, "verify", keys / "folk.tar", "--key", old)[0] == 1
    code, out, _ = run(capsys, "verify", keys / "folk.tar", "--key", old, "--key-change", keys / "change")
    assert (code, "Note: the signing key" in out) == (0, True)
    hashes = tuple(inclusion_proof(BATCH, [leaf.hash for leaf in HISTORY.entries]))
    checkpoint = PoolSource(HISTORY, NEW.named(ORIGIN)).checkpoint()
    (keys / "proof").write_bytes(LogProof(BATCH, hashes, checkpoint, HISTORY.entries[BATCH].entry).to_bytes())
    (keys / "body").write_bytes(HISTORY.bodies[bytes.fromhex(HISTORY.content(BATCH).body_sha256)])
    for command in (("log", "verify-proof", keys / "proof"), ("verify", keys / "proof", "--only-batch", keys / "body")):
        assert run(capsys, *command, "--key", old)[0] == 1
        assert run(capsys, *command, "--key", old, "--key-change", keys / "change")[0] == 0


def test_a_change_after_a_theft_does_not_count_by_itself_in_any_command(
    keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert change_key(capsys, keys, "--stolen", OLD.verifier_key)[0] == 0
    hashes = tuple(inclusion_proof(BATCH, [leaf.hash for leaf in HISTORY.entries]))
    checkpoint = cosigned(PoolSource(HISTORY, NEW.named(ORIGIN)).checkpoint())
    (keys / "proof").write_bytes(LogProof(BATCH, hashes, checkpoint, HISTORY.entries[BATCH].entry).to_bytes())
    command = ("log", "verify-proof", keys / "proof", "--key", OLD.verifier_key, "--key-change", keys / "change")
    code, _, error = run(capsys, *command)
    assert (code, "it counts with a quorum" in error) == (1, True)
    assert run(capsys, *command, "--witness", WITNESS.verifier_key)[0] == 0


def test_what_is_no_change_is_bad_input(keys: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert change_key(capsys, keys)[0] == 2
    assert change_key(capsys, keys, "--old", keys / "old.key", "--lost", OLD.verifier_key)[0] == 2
    assert change_key(capsys, keys, "--lost", THIEF.verifier_key)[0] == 3
    write_bundle(PoolSource(HISTORY, NEW.named(ORIGIN)), keys / "folk.tar")
    (keys / "change").write_bytes(b"no note")
    code, _, error = run(
        capsys, "verify", keys / "folk.tar", "--key", OLD.verifier_key, "--key-change", keys / "change"
    )
    assert (code, error.startswith("key-change: ")) == (2, True)
