"""The steps of a statement file's check that are about the line: it is the committed one, and what follows from it."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction
from math import ceil, floor

from audit.statements.acts import judge_pool, read_registry
from audit.statements.file import canonical_json
from audit.statements.reading import Reading, of_kind, only, require
from ledger.acts.act import POLICY, SCHEDULER
from ledger.errors import FormatError
from ledger.journal import collective_account, held_account
from ledger.log.merkle import verify_inclusion
from ledger.log.origins import REGISTRY_LOG
from ledger.payments import BookingKind, PoolBooking, booking_leaf
from ledger.registry import NANO, Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY, HUMAN_AI, MODES
from payout.adjustments import adjusted_leaf, parse_line
from payout.amounts import commons_weights, part_unit
from payout.dossiers import statement_leaf
from payout.objections import review_runs
from payout.policy import Approval, CommonsRule, Rounding, counted_weight
from payout.splits import SumNode, sum_leaf, verify_sum
from payout.splits import parse_line as parse_member


def check_line(reading: Reading) -> None:
    """The dossier is a leaf of the statement tree of the round."""
    dossier, file = reading.dossier, reading.file
    totals = dossier.totals
    reading.round = only(reading.pool, "round.v1", number=totals.round)
    said = reading.round
    stated = (totals.lines, totals.pot_minor, totals.fee_minor, totals.weight, totals.weight_unattributed)
    names = ("pot_minor", "fee_minor", "weight", "weight_unattributed")
    logged = (said["statement_lines"], *(int(said[name]) for name in names))
    require(stated == logged, "the totals are not the round's")
    leaf = statement_leaf(file.salt, file.dossier)
    verify_inclusion(leaf, dossier.position, totals.lines, file.path, bytes.fromhex(said["statement_root"]))
    reading.facts |= {"round_leaf": said["index"], "lines": totals.lines, "position": dossier.position}
    reading.facts["period"] = said.get("period", "")


def check_terms(reading: Reading) -> None:
    """The policy, each method's confidence and the registry's line are those that the logs have.

    The registry's leaves that are shown are judged here: who registered and changed what, and whether they might.
    """
    size = reading.checkpoints[REGISTRY_LOG].size
    reading.acting = read_registry(reading.leaves[REGISTRY_LOG], reading.hashes[REGISTRY_LOG], reading.deployment, size)
    dossier, said = reading.dossier, reading.round
    opened = only(reading.pool, "pool.v1", index=0)
    version = dossier.terms.policy_version
    require(version == said["policy_version"], "the policy is not the round's")
    logged = opened if said["policy_leaf"] == 0 else only(reading.pool, "policy.v1", index=said["policy_leaf"])
    require(version == (1 if logged is opened else logged["version"]), "the policy is not of this version")
    require(dossier.terms.policy.model_dump(mode="json") == logged["policy"], "the terms are not the policy's")
    for each in dossier.weights:
        method = only(reading.pool, "method.v1", method=each.method, version=each.method_version)
        require(method["index"] < said["end"], "a method is younger than the round")
        require(method["confidence_ppm"] == each.confidence_ppm, "a confidence is not the method's")
    shown = of_kind(reading.registry, "collective.v1")
    registered = [entry for entry in shown if entry["index"] < said["registry_size"]]
    require(bool(registered), "the collective's registration is missing")
    line, latest = dossier.line, registered[-1]
    stated = line.collective, line.status.value, dossier.registry.members, dossier.registry.equity_ppm
    names = "collective", "status", "members", "equity_ppm"
    require(stated == tuple(latest[name] for name in names), "the registry's line is another")
    owners = {entry["collective"] for entry in shown}
    require(owners == {line.collective}, "the file has another collective's registration")
    reading.facts |= {"currency": opened["currency"], "policy_version": version, "status": line.status.value}


def check_approval(reading: Reading) -> None:
    """Who calculated, approved and posted it, and all else that was done, was somebody who might do it then."""
    said, facts, name = reading.round, reading.facts, reading.facts["pool"]
    policy = reading.dossier.terms.policy
    decisions = of_kind(reading.pool, "decision.v1", subject=said["index"])
    require(len(decisions) <= 1, "the round is decided twice")
    postings = of_kind(reading.pool, "posting.v1", round=said["number"])
    require(len(postings) <= 1, "the round is posted twice")
    acts = judge_pool(reading.leaves[name], reading.hashes[name], reading.acting, policy)
    state = "CALCULATED"
    for decision in decisions:
        state = decision["decision"]
        require(state in ("APPROVED", "REJECTED"), "the decision is none")
        silent = policy.approval is Approval.SILENCE and said["by"] == SCHEDULER
        require(
            decision["by"] != POLICY or not policy.review_seconds or silent, "a policy approves what is to be reviewed"
        )
    facts["aside"] = False
    for posting in postings:
        require(state == "APPROVED" and posting["index"] > decisions[0]["index"], "the round is posted unapproved")
        calculated, posted = (_time_of(reading, index) for index in (said["index"], posting["index"]))
        require(not review_runs(calculated, policy, posted), "the round is posted before its review is over")
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


def _time_of(reading: Reading, index: int) -> datetime:
    return next(leaf.time for leaf in reading.leaves[reading.facts["pool"]] if leaf.index == index)


def check_weight(reading: Reading) -> None:
    """Weights times the policy's factors times the methods' confidences, less the deficit, give the weight."""
    line, policy = reading.dossier.line, reading.dossier.terms.policy
    raw, counted, events = dict.fromkeys(MODES, 0), 0, 0
    mode_ppm = {AI_ONLY: policy.ai_only_ppm, HUMAN_AI: policy.human_ai_ppm}
    seen = set()
    for each in reading.dossier.weights:
        require(each.mode in mode_ppm, "a mode is none")
        seen.add((each.method, each.method_version, each.mode))
        raw[each.mode] += each.weight
        events += each.events
        counted += counted_weight(each.weight, mode_ppm[each.mode], each.confidence_ppm)
    require(len(seen) == len(reading.dossier.weights), "a method and mode is there twice")
    require((raw[AI_ONLY], raw[HUMAN_AI], events) == (line.weight_ai_only, line.weight_human_ai, line.events),
             "the weights are not the line's")  # fmt: skip
    net = counted - line.deficit_before
    require(line.deficit_before >= 0, "a deficit is below zero")
    require((line.weight, line.deficit_after) == (max(0, net), max(0, -net)), "the weight does not follow")
    reading.facts |= {"events": str(events), "counted": str(counted), "weight": str(line.weight)}


def check_amount(reading: Reading) -> None:
    """The amount follows from claim, `k`, bounds and what was carried; under PLACED to within the one unit."""
    line, totals, policy = reading.dossier.line, reading.dossier.totals, reading.dossier.terms.policy
    shares_out = totals.weight + totals.weight_unattributed > 0
    require(totals.fee_minor == (policy.fee(totals.pot_minor) if shares_out else 0), "the fee does not follow")
    unit = part_unit(policy)
    (claim,) = policy.claims([line.weight])
    quota = _clamped(totals.attributed_k, claim, policy.floor_minor * unit, policy.cap_minor, unit)
    name, registry = line.collective, reading.dossier.registry
    collective = Collective(name, name, registry.members, registry.equity_ppm, line.status)
    (part,) = commons_weights(policy.commons_rule, [collective])
    require(totals.commons_k >= 0, "k is below zero")
    require(policy.commons_rule is not CommonsRule.FUND or totals.commons_k == 0, "the fund keeps the commons")
    parts = (
        (quota, line.attributed_minor, line.attributed_before_nano, line.attributed_after_nano),
        (part * totals.commons_k, line.commons_minor, line.commons_before_nano, line.commons_after_nano),
    )
    for exact, amount, before, after in parts:
        require(0 <= before < NANO and 0 <= after < NANO, "a fraction is not below a unit")
        if policy.rounding is Rounding.CARRIED:
            require(floor(exact) + before == amount * NANO + after, "the amount does not follow")
        else:
            require(floor(exact) <= amount <= ceil(exact) and before == after, "the amount does not follow")
    require(line.amount_minor == line.attributed_minor + line.commons_minor, "the amount is not the sum of its parts")
    reading.facts |= {name: str(getattr(line, name)) for name in ("attributed_minor", "commons_minor", "amount_minor")}


def _clamped(k: Fraction | None, claim: int, least: int, cap_minor: int | None, unit: int) -> Fraction:
    """Returns the quota of a claim, before it is rounded down."""
    if k is None:
        require(least > 0, "k is missing, and there is no floor")
        return Fraction(0)
    require(k >= 0, "k is below zero")
    if claim == 0:
        return Fraction(0)
    exact = max(claim * k, Fraction(least))
    return exact if cap_minor is None else min(exact, Fraction(cap_minor * unit))


def check_adjustments(reading: Reading) -> None:
    """Each adjustment in the file is of the round, and its line of the collective goes on from the one before."""
    line, file = reading.dossier.line, reading.file
    is_held = line.status is CollectiveStatus.SUSPENDED or reading.facts["aside"]
    account = (held_account if is_held else collective_account)(line.collective)
    shown = {each.leaf_index: each for each in file.adjusted}
    logged = of_kind(reading.pool, "adjustment.v1", round=reading.round["number"])
    require(len(shown) == len(file.adjusted), "a line of an adjustment is there twice")
    of_round = [entry["index"] for entry in logged] == list(shown)
    require(
        of_round and len(logged) == len(of_kind(reading.pool, "adjustment.v1")), "the adjustments are not the lines'"
    )
    posted = [entry["index"] for entry in of_kind(reading.pool, "posting.v1", round=reading.round["number"])]
    amount, found = line.amount_minor, []
    for entry in logged:
        require(bool(posted) and entry["index"] > posted[0], "a round is adjusted that is not posted")
        own = shown[entry["index"]]
        said = parse_line(own.document)
        leaf = adjusted_leaf(own.salt, own.document)
        verify_inclusion(leaf, own.position, entry["lines"], own.path, bytes.fromhex(entry["lines_root"]))
        require(said.account == account, "an adjustment is of another account")
        require(said.old_minor == amount, "an adjustment does not go on from the amount before it")
        amount = said.new_minor
        found.append({"new_minor": str(amount), "old_minor": str(said.old_minor), "reason": entry["reason"]})
    reading.facts |= {"adjusted": found, "adjusted_minor": str(amount)}


def check_payments(reading: Reading) -> None:
    """All entries about money are the collective's own; what was paid since the round is summed."""
    own, paid, count = reading.dossier.line.collective, 0, 0
    for entry in reading.pool:
        require(entry.get("collective", own) == own, "the file has another collective's entry")
        if entry["type"] == "payment.v1" and entry["index"] > reading.round["index"]:
            paid, count = paid + int(entry["amount_minor"]), count + 1
    seen = set()
    returned = []
    for line in reading.file.booked:
        entry = only(reading.pool, "booking.v1", index=line.leaf_index)
        require(line.leaf_index > reading.round["index"], "the bank booked a line before the round")
        require((line.leaf_index, line.position) not in seen, "a line of the bank's is there twice")
        seen.add((line.leaf_index, line.position))
        said = _booking(line.document)
        require(said.subject == own, "the file has another collective's line of the bank's")
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


def check_member(reading: Reading) -> None:
    """What the collective split is its amount, and a member's line is a leaf of the sum tree; most files have none."""
    name, facts, member = reading.dossier.line.collective, reading.facts, reading.file.member
    splits = of_kind(reading.pool, "split.v1", round=reading.round["number"])
    require(len(splits) <= 1, "the amount is split twice")
    require(member is None or bool(splits), "the file has a member's line, and no split")
    for split in splits:
        require(split["by"] == f"collectives/{name}", "the split is not the collective's own act")
        require(
            split["round_hash"] == reading.hashes[facts["pool"]][reading.round["index"]].hex(),
            "the split is of another round",
        )
        require(split["amount_minor"] == str(reading.dossier.line.amount_minor), "the split is of another amount")
        facts["split_rule"] = split["rule"]
        if member is not None:
            pseudonym, amount = parse_member(member.document)
            leaf = sum_leaf(amount, member.salt + member.document)
            root = SumNode(bytes.fromhex(split["split_root"]), int(split["amount_minor"]))
            verify_sum(leaf, member.position, split["lines"], member.path, root)
            facts |= {"member": pseudonym, "member_minor": str(amount)}
