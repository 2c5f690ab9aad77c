"""Who must have cosigned: a witness that is named must have, and where a quorum is, it must be met."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from audit.receipt import check_receipt
from audit.steps import Step
from audit.verification.report import Report
from ledger.log.merkle import inclusion_proof
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.notes import parse_note
from ledger.log.proof_files import LogProof
from ledger.log.witness_policy import WitnessPolicy, all_of, parse_policy
from services.exports.tiles.bundles import write_bundle
from services.exports.tiles.folders import LogSource
from tests.support.exports import KEY, PoolSource, RegistrySource, report_of
from tests.support.replay_history import BATCH, HISTORY


def witness(number: int) -> SigningKey:
    return SigningKey(f"w{number}", bytes([number] * 32), SignatureType.COSIGNATURE)


ONE, TWO, THREE = (witness(number) for number in (1, 2, 3))
STRANGER: Final = SigningKey("w1", bytes(32), SignatureType.COSIGNATURE)
"""Somebody else under the first one's name."""

TWO_OF_THREE: Final = parse_policy(
    "".join(f"witness {key.name} {key.verifier_key}\n" for key in (ONE, TWO, THREE)).encode()
    + b"group g 2 w1 w2 w3\nquorum g\n"
)


class Cosigned(PoolSource):
    """A pool whose last checkpoint these have cosigned."""

    cosigners: tuple[SigningKey, ...] = ()

    def registry(self) -> LogSource | None:
        found = CosignedRegistry(self.log.registry)
        found.cosigners = self.cosigners
        return found

    def checkpoint(self) -> bytes:
        return cosigned(super().checkpoint(), self.cosigners)


class CosignedRegistry(RegistrySource):
    """A registry whose last checkpoint these have cosigned."""

    cosigners: tuple[SigningKey, ...] = ()

    def checkpoint(self) -> bytes:
        return cosigned(super().checkpoint(), self.cosigners)


def cosigned(checkpoint: bytes, cosigners: Sequence[SigningKey]) -> bytes:
    note = parse_note(checkpoint)
    return note.with_signatures(key.sign(note.text, 77) for key in cosigners).to_bytes()


def source(*cosigners: SigningKey) -> Cosigned:
    found = Cosigned(HISTORY)
    found.cosigners = cosigners
    return found


def verified(tmp_path: Path, cosigners: tuple[SigningKey, ...], *policies: WitnessPolicy) -> Report:
    write_bundle(source(*cosigners), tmp_path / "folk.tar")
    return report_of(tmp_path / "folk.tar", witnesses=policies)


def receipt(cosigners: tuple[SigningKey, ...], *policies: WitnessPolicy) -> Report:
    hashes = tuple(inclusion_proof(BATCH, [leaf.hash for leaf in HISTORY.entries]))
    proof = LogProof(BATCH, hashes, source(*cosigners).checkpoint(), HISTORY.entries[BATCH].entry)
    body = HISTORY.bodies[bytes.fromhex(HISTORY.content(BATCH).body_sha256)]
    return check_receipt(proof.to_bytes(), body, KEY.verifier_key, policies)[0]


def outcome(report: Report) -> tuple[Step | None, str, str] | None:
    finding = report.finding
    return None if finding is None else (finding.step, finding.figure, finding.claimed)


MISSING: Final = (Step.SIGNATURES, "cosignatures", "none by w1")


@pytest.mark.parametrize(
    ("cosigners", "expected"),
    [((ONE,), None), ((ONE, TWO), None), ((), MISSING), ((TWO,), MISSING), ((STRANGER,), MISSING)],
)
def test_a_witness_that_is_named_must_have_cosigned(
    cosigners: tuple[SigningKey, ...], expected: tuple[Step, str, str] | None, tmp_path: Path
) -> None:
    named = all_of([ONE.verifier_key])
    assert outcome(verified(tmp_path, cosigners, named)) == expected
    assert outcome(receipt(cosigners, named)) == expected


@pytest.mark.parametrize(
    ("cosigners", "missing"),
    [
        ((ONE, THREE), ""),
        ((ONE, TWO, THREE), ""),
        ((THREE,), "w1, w2"),
        ((STRANGER, TWO), "w1, w3"),
        ((), "w1, w2, w3"),
    ],
)
def test_a_quorum_must_be_met(cosigners: tuple[SigningKey, ...], missing: str, tmp_path: Path) -> None:
    expected = (Step.SIGNATURES, "cosignatures", f"none by {missing}") if missing else None
    for report in (verified(tmp_path, cosigners, TWO_OF_THREE), receipt(cosigners, TWO_OF_THREE)):
        assert outcome(report) == expected
        if report.finding is not None:
            assert report.finding.expected == "by 2 of (w1, w2, w3)"


def test_every_policy_must_be_met(tmp_path: Path) -> None:
    named = all_of([THREE.verifier_key])
    assert outcome(verified(tmp_path, (ONE, TWO), named, TWO_OF_THREE)) == (*MISSING[:2], "none by w3")
    assert outcome(verified(tmp_path, (ONE, THREE), named, TWO_OF_THREE)) is None


def test_one_signature_many_times_is_one_witness(tmp_path: Path) -> None:
    again = SigningKey("w2", ONE.seed, SignatureType.COSIGNATURE)
    assert outcome(verified(tmp_path, (ONE, again, ONE), TWO_OF_THREE)) == (*MISSING[:2], "none by w2, w3")


def test_a_false_cosignature_of_one_who_is_named_is_found_whoever_else_cosigned(tmp_path: Path) -> None:
    note = source(ONE, TWO, THREE).checkpoint()
    at = note.rindex(b"w3 ") + 20
    broken = note[:at] + (b"A" if note[at : at + 1] != b"A" else b"B") + note[at + 1 :]

    class Broken(PoolSource):
        def checkpoint(self) -> bytes:
            return broken

    write_bundle(Broken(HISTORY), tmp_path / "folk.tar")
    found = outcome(report_of(tmp_path / "folk.tar", witnesses=(TWO_OF_THREE,)))
    assert found == (Step.SIGNATURES, "signature", "w3 is known, and this is not its signature")


def test_who_cosigned_is_told(tmp_path: Path) -> None:
    report = verified(tmp_path, (ONE, THREE), TWO_OF_THREE)
    assert [each.name for each in report.signers if each.log == "pool"] == [KEY.name, "w1", "w3"]
    assert report.counts[Step.SIGNATURES] == {"signatures": 3, "registry signatures": 3}


def test_a_report_names_who_cosigned_and_when(tmp_path: Path) -> None:
    report = verified(tmp_path, (ONE, STRANGER), all_of([ONE.verifier_key]))
    stated = {(each.log, each.name, each.cosigned_at) for each in report.signers if each.cosigned_at}
    assert stated == {(log, "w1", "1970-01-01T00:01:17+00:00") for log in ("pool", "registry")}
    assert report.counts[Step.SIGNATURES]["unknown signatures"] == 2


def test_a_time_beyond_all_calendars_is_told_as_a_number(tmp_path: Path) -> None:
    later = Cosigned(HISTORY)
    note = parse_note(PoolSource(HISTORY).checkpoint())
    later.checkpoint = lambda: note.with_signatures([ONE.sign(note.text, 2**62)]).to_bytes()  # type: ignore[method-assign]
    write_bundle(later, tmp_path / "folk.tar")
    report = report_of(tmp_path / "folk.tar", witnesses=(all_of([ONE.verifier_key]),), keep_going=True)
    assert str(2**62) in {each.cosigned_at for each in report.signers}
