"""Verifies a statement file with the deployment's public key alone, step by step.

`verify.mjs` beside this does the same in browsers and in Node; vectors hold the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from audit.findings import UNSOUND, FoundError
from audit.statements.acts import POOL_KINDS, REGISTRY_KINDS
from audit.statements.file import LogPart, StatementFile, canonical_json
from audit.statements.line import (
    check_adjustments,
    check_amount,
    check_approval,
    check_line,
    check_member,
    check_payments,
    check_terms,
    check_weight,
)
from audit.statements.reading import Entry, Reading, RefusedError, require
from ledger.acts.entries import KeyChangeContent, WitnessesContent
from ledger.entries import Movement
from ledger.errors import FormatError, InvalidInputError, LedgerCorruptError, ProofError, SignatureError
from ledger.log.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from ledger.log.key_changes import MAX_CHANGES, KeyChange, KeyStep, LogKeys, Reason
from ledger.log.leaves import Content, decode
from ledger.log.merkle import leaf_hash, verify_inclusion
from ledger.log.note_keys import VerifierKey
from ledger.log.origins import REGISTRY_LOG, log_origin, split_origin
from ledger.log.witness_policy import NONE, WitnessPolicy, first_unmet, witnesses_of
from ledger.money import require_amount
from payout.dossiers import Dossier
from payout.entries import PolicyContent, PoolContent


class Check(StrEnum):
    """What is checked, in order."""

    FORM = "form"
    SIGNATURES = "signatures"
    ENTRIES = "entries"
    LINE = "line"
    TERMS = "terms"
    APPROVAL = "approval"
    WEIGHT = "weight"
    AMOUNT = "amount"
    ADJUSTMENTS = "adjustments"
    PAYMENTS = "payments"
    MEMBER = "member"


TITLES: Final[dict[Check, str]] = {
    Check.FORM: "the file has its form",
    Check.SIGNATURES: "both checkpoints are signed",
    Check.ENTRIES: "every entry is in its log",
    Check.LINE: "your line is the one that the round commits to",
    Check.TERMS: "policy, methods and registry are those logged",
    Check.APPROVAL: "who calculated and approved it",
    Check.WEIGHT: "your weight follows from your usage",
    Check.AMOUNT: "your amount follows from your weight",
    Check.ADJUSTMENTS: "what later adjustments made of it",
    Check.PAYMENTS: "what was paid",
    Check.MEMBER: "the line of a member is one of the split",
}

VERDICT: Final = (
    "Your line is the committed one and follows. That all lines sum to the pot, and that no usage was left out, "
    "is the auditor's check."
)


@dataclass(slots=True)
class StatementReport:
    """What was checked, and what the file says. A step that failed has its reason; later ones were not reached.

    Attributes:
        held: the steps that held.
        failed: the step that did not.
        reason: why not.
        facts: what the file shows, by name: amounts are decimal texts.
    """

    held: list[Check] = field(default_factory=list)
    failed: Check | None = None
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every step held."""
        return self.failed is None


def check_statement(
    data: bytes, key: VerifierKey, witnesses: Sequence[WitnessPolicy] = (), changes: Sequence[KeyChange] = ()
) -> StatementReport:
    """Check a statement file.

    Args:
        data: the file.
        key: the deployment's public key, or that of one of its logs.
        witnesses: who must have cosigned both checkpoints. A file has the cosignatures of witnesses that the registry's
            log names, and no others.
        changes: changes of the deployment's key that are known.
    """
    report = StatementReport()
    reading = Reading(key, data, report.facts, tuple(witnesses), tuple(changes))
    for check, run in _CHECKS.items():
        try:
            run(reading)
        except RefusedError as refused:
            report.failed, report.reason = check, refused.reason
        except FoundError as found:
            report.failed, report.reason = check, f"leaf {found.finding.where.leaf_index}: {found.finding}"
        except (FormatError, InvalidInputError, LedgerCorruptError, ProofError, SignatureError) as error:
            report.failed, report.reason = check, str(error)
        except (*UNSOUND, AttributeError, TypeError):
            report.failed, report.reason = check, "an entry lacks what it must say"
        if report.failed is not None:
            return report
        report.held.append(check)
    return report


def _check_form(reading: Reading) -> None:
    reading.file = StatementFile.parse(reading.data)
    reading.dossier = Dossier.parse(reading.file.dossier)
    reading.facts |= {"round": reading.dossier.totals.round, "collective": reading.dossier.line.collective}


def _check_signatures(reading: Reading) -> None:
    """Both checkpoints are signed by the deployment's key under their log's name, and cosigned as is asked for.

    Every signature on them is verified: besides the log's own there are only those of witnesses whose keys the file's
    entries of the registry have, or the verifier.

    Raises:
        RefusedError: they are not.
    """
    deployment = reading.deployment = (split_origin(reading.key.name) or (reading.key.name, ""))[0]
    stated, _ = read_checkpoint(reading.file.pool.checkpoint)
    name = (split_origin(stated.origin) or ("", ""))[1]
    require(name not in ("", REGISTRY_LOG), "the checkpoint is not a pool's")
    known = dict.fromkeys([*_named_witnesses(reading.file.registry), *witnesses_of(reading.witnesses)])
    trusted = VerifierKey(deployment, _newest_key(reading))
    cosigned = []
    for log, part in ((name, reading.file.pool), (REGISTRY_LOG, reading.file.registry)):
        origin = log_origin(deployment, log)
        of_log = LogKeys.of(trusted.of_log(origin), reading.changes)
        signed = open_checkpoint(part.checkpoint, of_log.key_of(part.checkpoint), witnesses=known)
        signers = [found.key for found in signed.note.verified]
        once = not signed.note.unknown and len(set(signers)) == len(signers)
        require(once, f"{origin} has signatures of others, or one twice")
        if unmet := first_unmet(signed.note, reading.witnesses):
            raise RefusedError(f"{', '.join(unmet.missing)} did not cosign {origin}, which {unmet.policy} asks for")
        of_log.require(part.checkpoint, signed.checkpoint, lambda _: _witnessed(reading))
        reading.checkpoints[log] = signed.checkpoint
        cosigned.append({signer.name for signer in signers if signer in known})
    reading.facts |= {
        "origin": stated.origin,
        "cosigned_by": sorted(cosigned[0] & cosigned[1]),
        "pool": name,
        "size": stated.size,
        "registry_size": reading.checkpoints[REGISTRY_LOG].size,
    }


def _named_witnesses(registry: LogPart) -> Iterator[VerifierKey]:
    """The keys in the witness policies that a file's entries of the registry have, which are verified later."""
    for proved in registry.entries:
        with suppress(FormatError, LedgerCorruptError):
            content = decode(proved.entry, {WitnessesContent.type: WitnessesContent}).content
            for line in content.policy.split("\n"):
                word, *items = re.split(r"[ \t]+", line)
                if word == "witness" and len(items) > 1:
                    yield VerifierKey.parse(items[1])


def _newest_key(reading: Reading) -> bytes:
    """The public key that the changes of the key in the file lead to; the given one without any.

    After a loss or theft the change counts where witnesses are asked for, who vouch for it.
    """
    entries = [proved.entry for proved in reading.file.registry.entries if _KEY_CHANGE in proved.entry]
    require(len(entries) <= MAX_CHANGES, "the file has more changes of the key than there can be")
    steps = [KeyStep.parse(canonical_json(entry, "entry")["note"].encode()) for entry in entries]
    if not steps:
        return reading.key.public_key
    keys = [steps[0].old.public_key, *(step.new.public_key for step in steps)]
    of_deployment = all(step.old.name == reading.deployment for step in steps)
    follow = all(step.old.public_key == keys[place] for place, step in enumerate(steps))
    require(of_deployment and follow and len(set(keys)) == len(keys), "the changes of the key are not one chain")
    require(reading.key.public_key in keys, "the changes of the key are of another key")
    since = steps[keys.index(reading.key.public_key) :]
    vouched = _witnessed(reading) or all(step.reason is Reason.ROTATED for step in since)
    require(vouched, "a later key came after one that was lost or stolen: verify with that later key")
    return keys[-1]


def _witnessed(reading: Reading) -> bool:
    """Whether a quorum of witnesses is asked for, who vouch for a change after a loss or theft."""
    return any(policy.quorum != NONE for policy in reading.witnesses)


_KEY_CHANGE: Final = f'"type":"{KeyChangeContent.type}"'.encode()
"""Occurs in no other entry: within a JSON string its quotes would be escaped."""


def _check_entries(reading: Reading) -> None:
    """Each entry is one of its log, of a kind that a file may have, and has the form of its kind."""
    name = reading.facts["pool"]
    for log, part, kinds in (
        (name, reading.file.pool, POOL_KINDS),
        (REGISTRY_LOG, reading.file.registry, REGISTRY_KINDS),
    ):
        hashes: dict[int, bytes] = {}
        reading.hashes[log] = hashes
        entries = list(_proved(part, log, reading.checkpoints[log], hashes))
        reading.leaves[log] = [decode(proved.entry, kinds) for proved in part.entries]
        for leaf in reading.leaves[log]:
            _require_ranges(leaf.content)
        if log == name:
            reading.pool = entries
        else:
            reading.registry = entries


def _require_ranges(content: Content) -> None:
    if isinstance(content, Movement):
        require_amount(content.amount_minor, "amount_minor")
    elif isinstance(content, PoolContent | PolicyContent):
        content.policy.require_sound()


def _proved(part: LogPart, log: str, checkpoint: Checkpoint, hashes: dict[int, bytes]) -> Iterator[Entry]:
    last = -1
    for proved in part.entries:
        entry = canonical_json(proved.entry, "entry")
        index = entry["index"]
        require(entry["pool"] == log and type(index) is int, "an entry is of another log")
        require(last < index < checkpoint.size, "the entries are not in the order of their log, or beyond it")
        hashes[index] = leaf_hash(proved.entry)
        verify_inclusion(hashes[index], index, checkpoint.size, proved.path, checkpoint.root)
        last = index
        yield entry


_CHECKS: Final[dict[Check, Callable[[Reading], None]]] = {
    Check.FORM: _check_form,
    Check.SIGNATURES: _check_signatures,
    Check.ENTRIES: _check_entries,
    Check.LINE: check_line,
    Check.TERMS: check_terms,
    Check.APPROVAL: check_approval,
    Check.WEIGHT: check_weight,
    Check.AMOUNT: check_amount,
    Check.ADJUSTMENTS: check_adjustments,
    Check.PAYMENTS: check_payments,
    Check.MEMBER: check_member,
}
