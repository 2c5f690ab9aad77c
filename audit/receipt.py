"""A check of a platform's own receipt with what the platform has: the batch that it sent, and its proof.

One batch does not tell about others: whether a duplicate came before takes the whole bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from audit.batches.check import WeighedBatch
from audit.findings import Finding, FoundError, Where, at
from audit.folds.pool import PoolFold
from audit.folds.registry import RegistryFold
from audit.folds.usage import UsageFold
from audit.reader import checked_body
from audit.signatures import Trust, checked_signatures, signers_of
from audit.steps import Step
from audit.verification.report import Report, in_step
from ledger.errors import FormatError, InvalidInputError, LedgerCorruptError, NotFoundError, ProofError
from ledger.files.layout import MAX_FILE_BYTES, bounded
from ledger.journal import Transfer
from ledger.log.checkpoint import SignedCheckpoint
from ledger.log.key_changes import KeyChange, LogKeys
from ledger.log.leaves import EncodedLeaf, Leaf
from ledger.log.merkle import leaf_hash
from ledger.log.note_keys import VerifierKey
from ledger.log.proof_files import LogProof
from ledger.log.witness_policy import WitnessPolicy
from ledger.usage.entries import MethodContent, UsageContent
from ledger.usage.scores import parse_score_batch

_ALONE: Final = "needs the whole bundle"


@dataclass(slots=True)
class _OneBody:
    """A log of which only one body is known."""

    pool: str
    data: bytes

    def size(self) -> int:
        return 0

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:  # noqa: ARG002 - the protocol's
        return iter(())

    def body(self, digest: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        if sha256(self.data).digest() != digest:
            raise NotFoundError(f"bodies/{digest.hex()}")
        return bounded(self.data, "body", bytes_max)

    def transfers(self, leaf_index: int, most: int) -> list[Transfer]:  # noqa: ARG002 - the protocol's
        return []


def check_receipt(
    proof_file: bytes,
    body: bytes,
    key: VerifierKey,
    witnesses: Sequence[WitnessPolicy] = (),
    changes: Sequence[KeyChange] = (),
) -> tuple[Report, UsageContent | None]:
    """Check a proof that contains its entry (C2SP tlog-proof, extra data) against the batch that was sent.

    1. The checkpoint in the proof is signed, and cosigned as `witnesses` require. 2. The entry is in the log of that
    checkpoint. 3. The entry names this body. 4. The batch is valid, and the entry's figures follow from it.
    """
    report = Report(skipped={step: _ALONE for step in Step if step not in _STEPS})
    try:
        return report, _checked(report, proof_file, body, Trust(LogKeys.of(key, changes), tuple(witnesses)))
    except FoundError as found:
        report.add(found.finding)
    except FormatError as error:
        report.add(Finding(Where(), error.subject, error.reason, "as it is specified", Step.SIGNATURES))
    return report, None


_STEPS: Final = (Step.SIGNATURES, Step.ENTRIES, Step.FORMS, Step.BODIES, Step.BATCHES, Step.WEIGHTS)


def _checked(report: Report, proof_file: bytes, body: bytes, trust: Trust) -> UsageContent:
    proof = LogProof.parse(proof_file)
    if not proof.extra:
        raise FormatError("proof.extra", "is missing: a receipt's proof contains its entry")
    hashed = leaf_hash(proof.extra)
    key = trust.keys.key_of(proof.checkpoint)

    def opening(witnesses: Sequence[VerifierKey]) -> SignedCheckpoint:
        opened = proof.verify(hashed, key, witnesses=witnesses)
        trust.keys.require(proof.checkpoint, opened.checkpoint, trust.vouched)
        return opened

    try:
        signed = checked_signatures(opening, key, "", Step.SIGNATURES, trust.policies)
    except ProofError as error:
        raise at(proof.index, step=Step.ENTRIES).error("leaf_hash", hashed.hex(), error.reason) from None
    report.checkpoint = signed.checkpoint
    report.signers = signers_of(signed.note, "pool")
    report.count(Step.SIGNATURES, "signatures", len(signed.note.verified))
    report.count(Step.ENTRIES, "entries")
    report.take(Step.SIGNATURES, Step.ENTRIES)

    pool = signed.checkpoint.origin.rpartition("/pools/")[2]
    alone = _OneBody(pool, body)
    fold = PoolFold(alone, RegistryFold(alone), UsageFold(alone, observe=lambda _, weighed: _count(report, weighed)))
    leaf: Leaf[UsageContent] | None = None
    try:
        leaf = fold.read(EncodedLeaf(proof.index, proof.extra, hashed))
        if not isinstance(leaf.content, UsageContent):
            raise at(proof.index, step=Step.FORMS).error("type", leaf.content.type, UsageContent.type)
        report.count(Step.FORMS, "entries")
        if _holds_scores(body):
            report.skipped[Step.BATCHES] = report.skipped[Step.WEIGHTS] = "scores become shares by the log's own rule"
            checked_body(fold.log, proof.index, "body_sha256", leaf.content.body_sha256)
        else:
            # The version was declared before, or the log would not verify for anyone who has its checkpoint.
            fold.usage.declared.know(proof.index, _declared(leaf.content))
            fold.usage.weigh_batch(leaf)
    except FoundError as found:
        raise FoundError(in_step(found.finding, leaf)) from None
    except (InvalidInputError, LedgerCorruptError) as error:
        raise at(proof.index, step=Step.BATCHES).error("entry", error, "a sound entry") from None
    report.count(Step.BODIES, "bodies")
    report.count(Step.BODIES, "bytes", len(body))
    report.take(Step.FORMS, Step.BODIES, *(step for step in (Step.BATCHES, Step.WEIGHTS) if step not in report.skipped))
    return leaf.content


def _holds_scores(body: bytes) -> bool:
    """Returns whether this is a valid batch of scores; their shares also depend on the method and a membership."""
    try:
        parse_score_batch(body)
    except InvalidInputError:
        return False
    return True


def _declared(content: UsageContent) -> MethodContent:
    """Returns a method of shares that the entry may name."""
    name, version = content.method, content.method_version
    return MethodContent(method=name, version=version, display_name=name, confidence_ppm=0, evidence_uri="")


def _count(report: Report, weighed: WeighedBatch) -> None:
    report.count(Step.BATCHES, "batches")
    report.count(Step.BATCHES, "events", len(weighed))
    report.count(Step.BATCHES, "accepted", int(weighed.accepted.sum()))
    report.count(Step.WEIGHTS, "shares", weighed.share_count)
