"""Statement files of a pool that was built in memory, and how Node checks one."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import rfc8785

from audit.statements.file import EntryLine, LogPart, MemberLine, ProvedEntry, StatementFile
from ledger.acts.controls import Controls
from ledger.acts.entries import (
    ControlsContent,
    Decision,
    KeyContent,
    KeyRevocationContent,
    PrincipalContent,
    WitnessesContent,
)
from ledger.entries import BookingContent, PaymentContent
from ledger.log.leaves import EncodedLeaf
from ledger.log.merkle import inclusion_proof, root
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.notes import parse_note
from ledger.payments import PoolBooking, PoolBookings, parse_pool_bookings, render
from ledger.registry import Collective, CollectiveStatus
from ledger.usage.entries import MethodContent
from payout.adjustments import AdjustmentContent, parse_adjusted
from payout.dossiers import Figures, line_salt, render_dossiers, statement_leaf, statement_leaves
from payout.entries import PolicyContent, RoundContent
from payout.objections import Answer
from payout.policy import Policy
from payout.splits import SplitLine, sum_paths
from payout.statement import parse_registry, parse_statement
from tests.support.batches import Event, event_id
from tests.support.exports import PoolSource, RegistrySource
from tests.support.pool_log import PoolLog, salt_at
from tests.support.registry_log import OLIVE, OSCAR, RegistryLog, key_of

MODULE: Final = Path(__file__).parents[2] / "audit/verify.mjs"
NODE: Final = shutil.which("node")
NO_NODE: Final = "node is not installed"


def statement_file(log: PoolLog, number: int, collective: str) -> StatementFile:
    """The file of a collective's line, with what the service would put into it."""
    _, content = next(found for found in log.placed(RoundContent) if found[1].number == number)
    names = [line.collective for line in lines_of(log, content)]
    dossiers, leaves, salt = dossiers_of(log, content)
    return _file_of(log, number, names.index(collective), dossiers, leaves, line_salt(salt, collective))


def _file_of(
    log: PoolLog, number: int, position: int, dossiers: list[bytes], leaves: list[bytes], salt: bytes
) -> StatementFile:
    round_leaf, content = next(found for found in log.placed(RoundContent) if found[1].number == number)
    collective = json.loads(dossiers[position])["line"]["collective"]
    said = [json.loads(leaf.entry) for leaf in log.entries]
    dossier = json.loads(dossiers[position])
    adjusted = {line.leaf_index: line for line in adjusted_in(log, number, collective)}
    used = {(each["method"], each["method_version"]) for each in dossier["weights"]}
    pool = [
        entry for entry in said
        if entry["index"] in (0, content.policy_leaf, round_leaf)
        or (entry["type"] == "method.v1" and (entry["method"], entry["version"]) in used)
        or (entry["type"] == "decision.v1" and entry["subject"] == round_leaf)
        or (entry["type"] == "posting.v1" and entry["round"] == number)
        or entry["type"] == "booking.v1"
        or entry["index"] in adjusted
        or collective == entry.get("collective") or f"collectives/{collective}" == entry.get("by")
    ]  # fmt: skip
    pool = _with_approvals(pool, said)
    judged = max(entry.get("registry_size", 0) for entry in pool)
    logged = [json.loads(leaf.entry) for leaf in log.registry.entries]
    own_key = key_of(f"collectives/{collective}")
    registry = _with_approvals(
        [
            entry for entry in logged
            if (entry["index"] in log.registry.about_operators and entry["index"] < judged)
            or (entry["type"] == "collective.v1" and entry["collective"] == collective)
            or (entry["type"] == "key.v1" and entry["key_id"] == own_key)
            or entry["index"] == pool[0]["opened_at"]
            or entry["type"] == "keychange.v1"
        ],
        logged,
    )  # fmt: skip
    source = PoolSource(log)
    return StatementFile(
        dossiers[position],
        salt,
        tuple(inclusion_proof(position, leaves)),
        part_of(source.checkpoint(), log.entries, pool),
        part_of(RegistrySource(log.registry, source.key).checkpoint(), log.registry.entries, registry),
        booked=booked_in(log, collective),
        adjusted=tuple(adjusted.values()),
    )


def adjusted_in(log: PoolLog, number: int, collective: str) -> tuple[EntryLine, ...]:
    """A collective's lines of a round's adjustments."""
    found = []
    for index, content in log.placed(AdjustmentContent):
        body = parse_adjusted(log.bodies[bytes.fromhex(content.lines_sha256)])
        for position, each in enumerate(body.lines):
            if content.round == number and each.account.partition("/")[2] == collective:
                path = tuple(inclusion_proof(position, body.leaves()))
                found.append(EntryLine(index, each.document(), body.salt_at(position), position, path))
    return tuple(found)


def booked_in(log: PoolLog, collective: str) -> tuple[EntryLine, ...]:
    """A collective's lines of what the bank booked."""
    found = []
    for index, content in log.placed(BookingContent):
        body = parse_pool_bookings(log.bodies[bytes.fromhex(content.bookings_sha256)])
        for position, each in enumerate(body.bookings):
            if each.subject == collective:
                path = tuple(inclusion_proof(position, body.leaves()))
                found.append(EntryLine(index, render(each), body.salt_at(position), position, path))
    return tuple(found)


def _with_approvals(chosen: list[dict[str, Any]], logged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The chosen entries of a log with the proposals and decisions of those that two people did."""
    also = {entry["index"] for entry in chosen}
    for entry in chosen:
        if "proposal" in entry:
            also |= {entry["proposal"], entry["index"] - 1}
    return [entry for entry in logged if entry["index"] in also]


def part_of(checkpoint: bytes, entries: Sequence[EncodedLeaf], chosen: Sequence[dict[str, Any]]) -> LogPart:
    """The chosen entries of a log with their paths."""
    hashes = [leaf.hash for leaf in entries]
    return LogPart(
        checkpoint,
        tuple(
            ProvedEntry(entries[entry["index"]].entry, tuple(inclusion_proof(entry["index"], hashes)))
            for entry in chosen
        ),
    )


def lines_of(log: PoolLog, content: RoundContent) -> Any:
    return parse_statement(log.bodies[bytes.fromhex(content.statement_sha256)])


def dossiers_of(log: PoolLog, content: RoundContent) -> tuple[list[bytes], list[bytes], bytes]:
    """The dossiers of a round, the leaves of its statement tree, and its salt."""
    policy = next(policy for leaf, _, policy in policies_of(log) if leaf == content.policy_leaf)
    weights, registry, salt = (
        log.bodies[bytes.fromhex(digest)]
        for digest in (content.weights_sha256, content.registry_sha256, content.salt_sha256)
    )
    figures = Figures.of(content, policy, log.confidence())
    lines = lines_of(log, content)
    dossiers = list(render_dossiers(figures, lines, parse_registry(registry), weights))
    return dossiers, statement_leaves(salt, lines, dossiers), salt


def policies_of(log: PoolLog) -> list[tuple[int, int, Any]]:
    found = []
    for index, leaf in enumerate(log.entries):
        entry = json.loads(leaf.entry)
        if entry["type"] in ("pool.v1", "policy.v1"):
            found.append((index, entry.get("version", 1), log.content(index).policy))
    return found


def member_files(log: PoolLog, number: int, collective: str, lines: Sequence[SplitLine]) -> list[bytes]:
    """The file of each member of a collective."""
    whole, paths = statement_file(log, number, collective), sum_paths([line.leaf() for line in lines])
    return [
        replace(whole, member=MemberLine(line.document(), line.salt, position, path)).to_bytes()
        for position, (line, path) in enumerate(zip(lines, paths, strict=True))
    ]


def calculated_log(policy: Policy) -> PoolLog:
    """A pool of three collectives with one round, which is calculated."""
    log = PoolLog(
        collectives=[
            Collective("eire", "Éire", 300),
            Collective("han", "汉", 100, 1_500_000),
            Collective("quebec", "Q", 7, status=CollectiveStatus.SUSPENDED),
        ],
    )
    log.open(policy)
    log.method(850_000)
    log.usage(
        [
            Event(event_id(1), units=3, shares=(("eire", 500_000_000), ("han", 400_000_000))),
            Event(event_id(2), mode=2, shares=(("han", 1_000_000_000),)),
        ]
    )
    log.revenue(1_001)
    log.calculate()
    return log


def small_log(policy: Policy, decide: Callable[[PoolLog], object] = lambda _: None) -> PoolLog:
    """The same with the round decided and posted, and two payments; `decide` comes before the decision."""
    log = calculated_log(policy)
    decide(log)
    log.decide(Decision.APPROVED, "operators/oscar")
    log.post()
    log.payment("eire", 100)
    log.payment("han", 50)
    return log


def guarded_log() -> PoolLog:
    """A pool in which all takes two people: an objection that was answered, a round that a third operator approved, a
    payment that was proposed, a member split; and a registry in which keys came and went.
    """
    registry = RegistryLog.founded()
    log = PoolLog(
        collectives=[Collective("eire", "Éire", 300), Collective("han", "汉", 100, 1_500_000)], registry=registry
    )
    log.open(Policy(commons_ppm=100_000, review_seconds=3600))
    registry.key("collectives/eire")
    registry.now = log.now
    registry.together(ControlsContent(controls=Controls.of_two()))
    registry.operator("operators/petra", OLIVE, OSCAR)
    registry.together(KeyContent(key_id="e" * 16, principal=OLIVE, secret_hash="0" * 64, expires_at=LATER))
    registry.act(KeyRevocationContent(key_id="e" * 16), "operators/petra")
    registry.together(PrincipalContent(principal="auditors/ada", status="ACTIVE"))
    log.together(MethodContent(method="ngram", version=1, display_name="N", confidence_ppm=850_000, evidence_uri=""))
    log.usage([Event(event_id(1), units=3, shares=(("eire", 500_000_000), ("han", 400_000_000)))])
    log.revenue(1_001)
    log.calculate()
    log.object_to("eire")
    log.answer("eire", Answer.DISMISSED)
    log.decide(Decision.APPROVED, "operators/petra")
    log.post()
    registry.now = log.now
    registry.together(WitnessesContent(policy=WITNESSES))
    log.together(
        PaymentContent(collective="eire", request_id="p-1", amount_minor=7, reference="SEPA 1", salt=salt_at(1))
    )
    ((_, content),) = log.placed(RoundContent)
    log.split("eire", [SplitLine("m1", lines_of(log, content)[0].amount_minor, bytes(32))])
    return log


def booked_log() -> PoolLog:
    """The guarded log, and what a bank booked: paid to eire and sent back in part, and paid to han.

    Only what a file shows of it is sound: there is no pay run in this log.
    """
    log = guarded_log()
    lines = [("PAID", "eire", "400", ""), ("RETURNED", "eire", "400", "AC04 closed"), ("PAID", "han", "9", "")]
    bookings = [
        PoolBooking(
            kind=kind, subject=name, end_to_end_id=f"march-{at}", amount_minor=int(amount), cost_minor=0,
            day="2026-03-05", reason=reason,
        )
        for at, (kind, name, amount, reason) in enumerate(lines)
    ]  # fmt: skip
    body = PoolBookings(salt=salt_at(7), bookings=bookings)
    log.append(
        BookingContent(
            registry_size=log.registry.size(), bank_file_leaf=1, bookings_sha256=log.put(render(body)),
            lines=len(bookings), lines_root=body.root(),
        )
    )  # fmt: skip
    return log


def adjusted_log() -> PoolLog:
    """The booked log, with the round adjusted twice by two people."""
    log = booked_log()
    for version, commons_ppm in ((2, 500_000), (3, 300_000)):
        policy = Policy(commons_ppm=commons_ppm, review_seconds=3600)
        leaf = log.together(PolicyContent(version=version, policy=policy))
        log.adjust(1, [leaf], together=True)
    return log


WITNESS, STRANGER = (
    SigningKey(name, bytes([number]) * 32, SignatureType.COSIGNATURE) for number, name in ((1, "w1"), (2, "w2"))
)
WITNESSES: Final = f"witness w1 {WITNESS.verifier_key}\nquorum w1\n"
"""The policy that the guarded log names."""


def cosigned(file: StatementFile, *cosigners: SigningKey, only_pool: bool = False) -> bytes:
    """The file with cosignatures on both of its checkpoints, or only on that of the pool's."""

    def signed(part: LogPart) -> LogPart:
        note = parse_note(part.checkpoint)
        return replace(part, checkpoint=note.with_signatures(key.sign(note.text, 77) for key in cosigners).to_bytes())

    registry = file.registry if only_pool else signed(file.registry)
    return replace(file, pool=signed(file.pool), registry=registry).to_bytes()


LATER: Final = "2030-01-01T00:00:00Z"

Said = dict[str, Any]


def forged_file(change: Callable[[Said], object]) -> bytes:
    """The file of a round that commits to another dossier of eire's than follows: its operator lies."""
    forged: list[Any] = []

    def forge(log: PoolLog) -> None:
        ((index, content),) = log.placed(RoundContent)
        dossiers, leaves, salt = dossiers_of(log, content)
        said = json.loads(dossiers[0])
        change(said)
        dossiers[0] = rfc8785.dumps(said)
        leaves[0] = statement_leaf(line_salt(salt, "eire"), dossiers[0])
        log.change(index, statement_root=root(leaves).hex())
        forged.extend([dossiers, leaves, line_salt(salt, "eire")])

    log = small_log(Policy(fee_ppm=50_000), forge)
    return _file_of(log, 1, 0, *forged).to_bytes()


def _more_paid(said: Said) -> None:
    said["line"] |= {"attributed_minor": "9999", "amount_minor": str(9999 + int(said["line"]["commons_minor"]))}


FORGERIES: Final[dict[str, tuple[str, Callable[[Said], object]]]] = {
    "an amount that does not follow": ("amount", _more_paid),
    "an amount that is not the sum of its parts": ("amount", lambda said: said["line"].update(amount_minor="1")),
    "a fraction that was not carried": ("amount", lambda said: said["line"].update(commons_before_nano=1)),
    "a fraction above a unit": ("amount", lambda said: said["line"].update(commons_after_nano=10**9)),
    "another k": ("amount", lambda said: said["totals"].update(attributed_k="1/3")),
    "no k without a floor": ("amount", lambda said: said["totals"].update(attributed_k=None)),
    "a k that is not in lowest terms": ("form", lambda said: said["totals"].update(commons_k="2/4")),
    "a weight that is not counted": ("weight", lambda said: said["line"].update(weight="1")),
    "usage that is left out": ("weight", lambda said: said["weights"].clear()),
    "usage that is there twice": ("weight", lambda said: said["weights"].append(said["weights"][0])),
    "a mode that there is not": ("weight", lambda said: said["weights"][0].update(mode=3)),
    "another confidence": ("terms", lambda said: said["weights"][0].update(confidence_ppm=10**6)),
    "another method": ("terms", lambda said: said["weights"][0].update(method="other")),
    "another policy": ("terms", lambda said: said["terms"]["policy"].update(ai_only_ppm=1)),
    "another version of the policy": ("terms", lambda said: said["terms"].update(policy_version=2)),
    "other members": ("terms", lambda said: said["registry"].update(members=1)),
    "another's name": ("terms", lambda said: said["line"].update(collective="han")),
    "another status": ("terms", lambda said: said["line"].update(status="SUSPENDED")),
    "another pot": ("line", lambda said: said["totals"].update(pot_minor="5")),
    "another round": ("line", lambda said: said["totals"].update(round=2)),
    "another position": ("line", lambda said: said.update(position=1)),
    "a field too many": ("form", lambda said: said["line"].update(bonus="1")),
    "a number where a text should be": ("form", lambda said: said["line"].update(events=1)),
}
"""What an operator may put into a round instead of a line that follows, and the step that refuses it."""


_CHECK_ALL: Final = """
import { readFileSync } from 'node:fs';
const { module, cases } = JSON.parse(readFileSync(0, 'utf8'));
const { check } = await import(module);
const bytes = (text) => Buffer.from(text, 'base64');
const found = [];
for (const { file, vkey, witnesses, policies, changes } of cases) {
  const trust = { witnesses, policies: policies.map(bytes), changes: changes.map(bytes) };
  found.push(await check(bytes(file), vkey, trust));
}
console.log(JSON.stringify(found));
"""


def checked_by_node(files: Sequence[bytes], vkey: str, witnesses: Sequence[str] = ()) -> list[dict[str, Any]]:
    """What `verify.mjs` says of each file."""
    trust = {"vkey": vkey, "witnesses": list(witnesses), "policies": [], "changes": []}
    return node_says([{"file": file, **trust} for file in files])


def node_says(cases: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What `verify.mjs` says of each case: of a `file`, with who is trusted; `policies` and `changes` are files too."""
    assert NODE is not None

    def encoded(data: bytes | str) -> str:
        return b64encode(data if isinstance(data, bytes) else data.encode()).decode()

    asked = [
        {
            **case,
            "file": encoded(case["file"]),
            **{name: [encoded(each) for each in case[name]] for name in ("policies", "changes")},
        }
        for case in cases
    ]
    said = json.dumps({"module": MODULE.as_uri(), "cases": asked})
    command = [NODE, "--input-type=module", "-e", _CHECK_ALL]
    done = subprocess.run(command, input=said, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
