"""Verifies a statement file with the deployment's public key alone, step by step.

`verify.mjs` beside this does the same in browsers and in Node; vectors hold the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction
from math import ceil, floor
from typing import Any, Final

from audit.findings import UNSOUND, FoundError
from audit.statement_acts import POOL_KINDS, REGISTRY_KINDS, ShownRegistry, judge_pool, read_registry
from audit.statement_file import LogPart, StatementFile, canonical_json
from ledger.acts.entries import POLICY, SCHEDULER, KeyChangeContent, WitnessesContent
from ledger.entries import Movement
from ledger.errors import FormatError, InvalidInputError, LedgerCorruptError, ProofError, SignatureError
from ledger.journal import collective_account, held_account
from ledger.log.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from ledger.log.key_changes import MAX_CHANGES, KeyChange, KeyStep, LogKeys, Reason
from ledger.log.leaves import Content, Leaf, decode
from ledger.log.merkle import leaf_hash, verify_inclusion
from ledger.log.note_keys import VerifierKey
from ledger.log.origins import REGISTRY_LOG, log_origin, split_origin
from ledger.log.witness_policy import NONE, WitnessPolicy, first_unmet, witnesses_of
from ledger.money import require_amount
from ledger.payments import BookingKind, PoolBooking, booking_leaf
from ledger.registry import NANO, Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY, HUMAN_AI, MODES
from payout.adjustments import adjusted_leaf, parse_line
from payout.amounts import commons_weights, part_unit
from payout.dossiers import Dossier, statement_leaf
from payout.entries import PolicyContent, PoolContent
from payout.objections import review_runs
from payout.policy import Approval, CommonsRule, Rounding, counted_weight
from payout.splits import SumNode, sum_leaf, verify_sum
from payout.splits import parse_line as parse_member

Entry = dict[str, Any]


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


class _Refused(Exception):  # noqa: N818 - it never leaves this module
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


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


@dataclass(slots=True)
class _Reading:
    """What is known of a file so far."""

    key: VerifierKey
    data: bytes
    facts: dict[str, Any]
    witnesses: tuple[WitnessPolicy, ...]
    changes: tuple[KeyChange, ...]
    file: StatementFile = field(init=False)
    dossier: Dossier = field(init=False)
    checkpoints: dict[str, Checkpoint] = field(default_factory=dict)
    deployment: str = ""
    pool: list[Entry] = field(default_factory=list)
    registry: list[Entry] = field(default_factory=list)
    leaves: dict[str, list[Leaf[Any]]] = field(default_factory=dict)
    """By log."""
    hashes: dict[str, dict[int, bytes]] = field(default_factory=dict)
    """Of the entries, by log and index."""
    acting: ShownRegistry = field(init=False)
    round: Entry = field(default_factory=dict)


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
    reading = _Reading(key, data, report.facts, tuple(witnesses), tuple(changes))
    for check, run in _CHECKS.items():
        try:
            run(reading)
        except _Refused as refused:
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


def _require(holds: bool, reason: str) -> None:
    if not holds:
        raise _Refused(reason)


def _check_form(reading: _Reading) -> None:
    reading.file = StatementFile.parse(reading.data)
    reading.dossier = Dossier.parse(reading.file.dossier)
    reading.facts |= {"round": reading.dossier.totals.round, "collective": reading.dossier.line.collective}


def _check_signatures(reading: _Reading) -> None:
    """Both checkpoints are signed by the deployment's key under their log's name, and cosigned as is asked for.

    Every signature on them is verified: besides the log's own there are only those of witnesses whose keys the file's
    entries of the registry have, or the verifier.
    """
    deployment = reading.deployment = (split_origin(reading.key.name) or (reading.key.name, ""))[0]
    stated, _ = read_checkpoint(reading.file.pool.checkpoint)
    name = (split_origin(stated.origin) or ("", ""))[1]
    _require(name not in ("", REGISTRY_LOG), "the checkpoint is not a pool's")
    known = dict.fromkeys([*_named_witnesses(reading.file.registry), *witnesses_of(reading.witnesses)])
    trusted = VerifierKey(deployment, _newest_key(reading))
    cosigned = []
    for log, part in ((name, reading.file.pool), (REGISTRY_LOG, reading.file.registry)):
        origin = log_origin(deployment, log)
        of_log = LogKeys.of(trusted.of_log(origin), reading.changes)
        signed = open_checkpoint(part.checkpoint, of_log.key_of(part.checkpoint), witnesses=known)
        signers = [found.key for found in signed.note.verified]
        once = not signed.note.unknown and len(set(signers)) == len(signers)
        _require(once, f"{origin} has signatures of others, or one twice")
        if unmet := first_unmet(signed.note, reading.witnesses):
            raise _Refused(f"{', '.join(unmet.missing)} did not cosign {origin}, which {unmet.policy} asks for")
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


def _newest_key(reading: _Reading) -> bytes:
    """The public key that the changes of the key in the file lead to; the given one without any.

    After a loss or theft the change counts where witnesses are asked for, who vouch for it.
    """
    entries = [proved.entry for proved in reading.file.registry.entries if _KEY_CHANGE in proved.entry]
    _require(len(entries) <= MAX_CHANGES, "the file has more changes of the key than there can be")
    steps = [KeyStep.parse(canonical_json(entry, "entry")["note"].encode()) for entry in entries]
    if not steps:
        return reading.key.public_key
    keys = [steps[0].old.public_key, *(step.new.public_key for step in steps)]
    of_deployment = all(step.old.name == reading.deployment for step in steps)
    follow = all(step.old.public_key == keys[place] for place, step in enumerate(steps))
    _require(of_deployment and follow and len(set(keys)) == len(keys), "the changes of the key are not one chain")
    _require(reading.key.public_key in keys, "the changes of the key are of another key")
    since = steps[keys.index(reading.key.public_key) :]
    vouched = _witnessed(reading) or all(step.reason is Reason.ROTATED for step in since)
    _require(vouched, "a later key came after one that was lost or stolen: verify with that later key")
    return keys[-1]


def _witnessed(reading: _Reading) -> bool:
    """Whether a quorum of witnesses is asked for, who vouch for a change after a loss or theft."""
    return any(policy.quorum != NONE for policy in reading.witnesses)


_KEY_CHANGE: Final = f'"type":"{KeyChangeContent.type}"'.encode()
"""Occurs in no other entry: within a JSON string its quotes would be escaped."""


def _check_entries(reading: _Reading) -> None:
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
        _require(entry["pool"] == log and type(index) is int, "an entry is of another log")
        _require(last < index < checkpoint.size, "the entries are not in the order of their log, or beyond it")
        hashes[index] = leaf_hash(proved.entry)
        verify_inclusion(hashes[index], index, checkpoint.size, proved.path, checkpoint.root)
        last = index
        yield entry


def _check_line(reading: _Reading) -> None:
    """The dossier is a leaf of the statement tree of the round."""
    dossier, file = reading.dossier, reading.file
    totals = dossier.totals
    reading.round = _only(reading.pool, "round.v1", number=totals.round)
    said = reading.round
    stated = (totals.lines, totals.pot_minor, totals.fee_minor, totals.weight, totals.weight_unattributed)
    names = ("pot_minor", "fee_minor", "weight", "weight_unattributed")
    logged = (said["statement_lines"], *(int(said[name]) for name in names))
    _require(stated == logged, "the totals are not the round's")
    leaf = statement_leaf(file.salt, file.dossier)
    verify_inclusion(leaf, dossier.position, totals.lines, file.path, bytes.fromhex(said["statement_root"]))
    reading.facts |= {"round_leaf": said["index"], "lines": totals.lines, "position": dossier.position}
    reading.facts["period"] = said.get("period", "")


def _check_terms(reading: _Reading) -> None:
    """The policy, each method's confidence and the registry's line are those that the logs have.

    The registry's leaves that are shown are judged here: who registered and changed what, and whether they might.
    """
    size = reading.checkpoints[REGISTRY_LOG].size
    reading.acting = read_registry(reading.leaves[REGISTRY_LOG], reading.hashes[REGISTRY_LOG], reading.deployment, size)
    dossier, said = reading.dossier, reading.round
    opened = _only(reading.pool, "pool.v1", index=0)
    version = dossier.terms.policy_version
    _require(version == said["policy_version"], "the policy is not the round's")
    logged = opened if said["policy_leaf"] == 0 else _only(reading.pool, "policy.v1", index=said["policy_leaf"])
    _require(version == (1 if logged is opened else logged["version"]), "the policy is not of this version")
    _require(dossier.terms.policy.model_dump(mode="json") == logged["policy"], "the terms are not the policy's")
    for each in dossier.weights:
        method = _only(reading.pool, "method.v1", method=each.method, version=each.method_version)
        _require(method["index"] < said["end"], "a method is younger than the round")
        _require(method["confidence_ppm"] == each.confidence_ppm, "a confidence is not the method's")
    registered = [entry for entry in _of(reading.registry, "collective.v1") if entry["index"] < said["registry_size"]]
    _require(bool(registered), "the collective's registration is missing")
    line, latest = dossier.line, registered[-1]
    stated = line.collective, line.status.value, dossier.registry.members, dossier.registry.equity_ppm
    names = "collective", "status", "members", "equity_ppm"
    _require(stated == tuple(latest[name] for name in names), "the registry's line is another")
    owners = {entry["collective"] for entry in _of(reading.registry, "collective.v1")}
    _require(owners == {line.collective}, "the file has another collective's registration")
    reading.facts |= {"currency": opened["currency"], "policy_version": version, "status": line.status.value}


def _check_approval(reading: _Reading) -> None:
    """Who calculated, approved and posted it, and all else that was done, was somebody who might do it then."""
    said, facts, name = reading.round, reading.facts, reading.facts["pool"]
    policy = reading.dossier.terms.policy
    decisions = _of(reading.pool, "decision.v1", subject=said["index"])
    _require(len(decisions) <= 1, "the round is decided twice")
    postings = _of(reading.pool, "posting.v1", round=said["number"])
    _require(len(postings) <= 1, "the round is posted twice")
    acts = judge_pool(reading.leaves[name], reading.hashes[name], reading.acting, policy)
    state = "CALCULATED"
    for decision in decisions:
        state = decision["decision"]
        _require(state in ("APPROVED", "REJECTED"), "the decision is none")
        silent = policy.approval is Approval.SILENCE and said["by"] == SCHEDULER
        _require(
            decision["by"] != POLICY or not policy.review_seconds or silent, "a policy approves what is to be reviewed"
        )
    facts["aside"] = False
    for posting in postings:
        _require(state == "APPROVED" and posting["index"] > decisions[0]["index"], "the round is posted unapproved")
        calculated, posted = (_time_of(reading, index) for index in (said["index"], posting["index"]))
        _require(not review_runs(calculated, policy, posted), "the round is posted before its review is over")
        facts["aside"] = reading.dossier.line.collective in posting.get("set_aside", [])
    facts |= {
        "state": "POSTED" if postings else state,
        "calculated_by": said["by"],
        "calculated_at": said["time"],
        "decided_by": decisions[0]["by"] if decisions else "",
        "decided_at": decisions[0]["time"] if decisions else "",
        "decided_alone": any(act.alone for act in acts.done if act.leaf_index == said["index"]),
        "posted_at": postings[0]["time"] if postings else "",
    }


def _time_of(reading: _Reading, index: int) -> datetime:
    return next(leaf.time for leaf in reading.leaves[reading.facts["pool"]] if leaf.index == index)


def _check_weight(reading: _Reading) -> None:
    """Weights times the policy's factors times the methods' confidences, less the deficit, give the weight."""
    line, policy = reading.dossier.line, reading.dossier.terms.policy
    raw, counted, events = dict.fromkeys(MODES, 0), 0, 0
    mode_ppm = {AI_ONLY: policy.ai_only_ppm, HUMAN_AI: policy.human_ai_ppm}
    seen = set()
    for each in reading.dossier.weights:
        _require(each.mode in mode_ppm, "a mode is none")
        seen.add((each.method, each.method_version, each.mode))
        raw[each.mode] += each.weight
        events += each.events
        counted += counted_weight(each.weight, mode_ppm[each.mode], each.confidence_ppm)
    _require(len(seen) == len(reading.dossier.weights), "a method and mode is there twice")
    _require((raw[AI_ONLY], raw[HUMAN_AI], events) == (line.weight_ai_only, line.weight_human_ai, line.events),
             "the weights are not the line's")  # fmt: skip
    net = counted - line.deficit_before
    _require(line.deficit_before >= 0, "a deficit is below zero")
    _require((line.weight, line.deficit_after) == (max(0, net), max(0, -net)), "the weight does not follow")
    reading.facts |= {"events": str(events), "counted": str(counted), "weight": str(line.weight)}


def _check_amount(reading: _Reading) -> None:
    """The amount follows from claim, `k`, bounds and what was carried; under PLACED to within the one unit."""
    line, totals, policy = reading.dossier.line, reading.dossier.totals, reading.dossier.terms.policy
    shares_out = totals.weight + totals.weight_unattributed > 0
    _require(totals.fee_minor == (policy.fee(totals.pot_minor) if shares_out else 0), "the fee does not follow")
    unit = part_unit(policy)
    (claim,) = policy.claims([line.weight])
    quota = _clamped(totals.attributed_k, claim, policy.floor_minor * unit, policy.cap_minor, unit)
    name, registry = line.collective, reading.dossier.registry
    collective = Collective(name, name, registry.members, registry.equity_ppm, line.status)
    (part,) = commons_weights(policy.commons_rule, [collective])
    _require(totals.commons_k >= 0, "k is below zero")
    _require(policy.commons_rule is not CommonsRule.FUND or totals.commons_k == 0, "the fund keeps the commons")
    parts = (
        (quota, line.attributed_minor, line.attributed_before_nano, line.attributed_after_nano),
        (part * totals.commons_k, line.commons_minor, line.commons_before_nano, line.commons_after_nano),
    )
    for exact, amount, before, after in parts:
        _require(0 <= before < NANO and 0 <= after < NANO, "a fraction is not below a unit")
        if policy.rounding is Rounding.CARRIED:
            _require(floor(exact) + before == amount * NANO + after, "the amount does not follow")
        else:
            _require(floor(exact) <= amount <= ceil(exact) and before == after, "the amount does not follow")
    _require(line.amount_minor == line.attributed_minor + line.commons_minor, "the amount is not the sum of its parts")
    reading.facts |= {name: str(getattr(line, name)) for name in ("attributed_minor", "commons_minor", "amount_minor")}


def _clamped(k: Fraction | None, claim: int, least: int, cap_minor: int | None, unit: int) -> Fraction:
    """Returns the quota of a claim, before it is rounded down."""
    if k is None:
        _require(least > 0, "k is missing, and there is no floor")
        return Fraction(0)
    _require(k >= 0, "k is below zero")
    if claim == 0:
        return Fraction(0)
    exact = max(claim * k, Fraction(least))
    return exact if cap_minor is None else min(exact, Fraction(cap_minor * unit))


def _check_adjustments(reading: _Reading) -> None:
    """Each adjustment in the file is of the round, and its line of the collective goes on from the one before."""
    line, file = reading.dossier.line, reading.file
    is_held = line.status is CollectiveStatus.SUSPENDED or reading.facts["aside"]
    account = (held_account if is_held else collective_account)(line.collective)
    shown = {each.leaf_index: each for each in file.adjusted}
    logged = _of(reading.pool, "adjustment.v1", round=reading.round["number"])
    _require(len(shown) == len(file.adjusted), "a line of an adjustment is there twice")
    of_round = [entry["index"] for entry in logged] == list(shown)
    _require(of_round and len(logged) == len(_of(reading.pool, "adjustment.v1")), "the adjustments are not the lines'")
    posted = [entry["index"] for entry in _of(reading.pool, "posting.v1", round=reading.round["number"])]
    amount, found = line.amount_minor, []
    for entry in logged:
        _require(bool(posted) and entry["index"] > posted[0], "a round is adjusted that is not posted")
        own = shown[entry["index"]]
        said = parse_line(own.document)
        leaf = adjusted_leaf(own.salt, own.document)
        verify_inclusion(leaf, own.position, entry["lines"], own.path, bytes.fromhex(entry["lines_root"]))
        _require(said.account == account, "an adjustment is of another account")
        _require(said.old_minor == amount, "an adjustment does not go on from the amount before it")
        amount = said.new_minor
        found.append({"new_minor": str(amount), "old_minor": str(said.old_minor), "reason": entry["reason"]})
    reading.facts |= {"adjusted": found, "adjusted_minor": str(amount)}


def _check_payments(reading: _Reading) -> None:
    """All entries about money are the collective's own; what was paid since the round is summed."""
    own, paid, count = reading.dossier.line.collective, 0, 0
    for entry in reading.pool:
        _require(entry.get("collective", own) == own, "the file has another collective's entry")
        if entry["type"] == "payment.v1" and entry["index"] > reading.round["index"]:
            paid, count = paid + int(entry["amount_minor"]), count + 1
    seen = set()
    returned = []
    for line in reading.file.booked:
        entry = _only(reading.pool, "booking.v1", index=line.leaf_index)
        _require(line.leaf_index > reading.round["index"], "the bank booked a line before the round")
        _require((line.leaf_index, line.position) not in seen, "a line of the bank's is there twice")
        seen.add((line.leaf_index, line.position))
        said = _booking(line.document)
        _require(said.subject == own, "the file has another collective's line of the bank's")
        leaf = booking_leaf(line.salt, line.document)
        verify_inclusion(leaf, line.position, entry["lines"], line.path, bytes.fromhex(entry["lines_root"]))
        if said.kind == BookingKind.PAID:
            paid, count = paid + said.amount_minor, count + 1
        elif said.kind == BookingKind.RETURNED:
            returned.append({"amount_minor": str(said.amount_minor), "day": said.day, "reason": said.reason})
    reading.facts |= {"paid_minor": str(paid), "payments": count, "returned": returned}


def _booking(document: bytes) -> PoolBooking:
    try:
        return PoolBooking.model_validate(canonical_json(document, "booking"))
    except ValueError:
        raise FormatError("booking", "is not a line of the bank's") from None


def _check_member(reading: _Reading) -> None:
    """What the collective split is its amount, and a member's line is a leaf of the sum tree; most files have none."""
    name, facts, member = reading.dossier.line.collective, reading.facts, reading.file.member
    splits = _of(reading.pool, "split.v1", round=reading.round["number"])
    _require(len(splits) <= 1, "the amount is split twice")
    _require(member is None or bool(splits), "the file has a member's line, and no split")
    for split in splits:
        _require(split["by"] == f"collectives/{name}", "the split is not the collective's own act")
        _require(
            split["round_hash"] == reading.hashes[facts["pool"]][reading.round["index"]].hex(),
            "the split is of another round",
        )
        _require(split["amount_minor"] == str(reading.dossier.line.amount_minor), "the split is of another amount")
        facts["split_rule"] = split["rule"]
        if member is not None:
            pseudonym, amount = parse_member(member.document)
            leaf = sum_leaf(amount, member.salt + member.document)
            root = SumNode(bytes.fromhex(split["split_root"]), int(split["amount_minor"]))
            verify_sum(leaf, member.position, split["lines"], member.path, root)
            facts |= {"member": pseudonym, "member_minor": str(amount)}


def _of(entries: Sequence[Entry], kind: str, **said: Any) -> list[Entry]:
    return [entry for entry in entries if entry["type"] == kind and all(entry[name] == said[name] for name in said)]


def _only(entries: Sequence[Entry], kind: str, **said: Any) -> Entry:
    """Returns the entry of a kind that says this."""
    found = _of(entries, kind, **said)
    _require(len(found) == 1, f"the file must have one {kind} entry that says {said}, and has {len(found)}")
    return found[0]


_CHECKS: Final[dict[Check, Callable[[_Reading], None]]] = {
    Check.FORM: _check_form,
    Check.SIGNATURES: _check_signatures,
    Check.ENTRIES: _check_entries,
    Check.LINE: _check_line,
    Check.TERMS: _check_terms,
    Check.APPROVAL: _check_approval,
    Check.WEIGHT: _check_weight,
    Check.AMOUNT: _check_amount,
    Check.ADJUSTMENTS: _check_adjustments,
    Check.PAYMENTS: _check_payments,
    Check.MEMBER: _check_member,
}
