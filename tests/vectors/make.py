"""Writes the test vectors of docs/verification.md: `python -m tests.vectors.make`. The same bytes every time.

folk.tar       a bundle with an entry of every type, of more leaves than a tile is wide
folk.vkey      the public key that it is to be verified with
older          a checkpoint of the same log at an earlier size
receipt.tlog-proof, batch.arrow   a platform's own receipt
figures.json   what a verifier should find
statements.json   statement files, those of an operator who lies too, and what a verifier should find
signers.json   statement files with who is trusted: witnesses, quorums, changes of the key, forged ones too
canonical.json, checkpoints.json   texts that are, or are not, in the one form of JSON and of a checkpoint
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from audit.statements.check import check_statement
from ledger.acts.controls import Controls
from ledger.acts.entries import (
    BankAccountContent,
    BankFileContent,
    BankMatchContent,
    ContactContent,
    ControlsContent,
    Decision,
    KeyChangeContent,
    KeyContent,
    KeyRevocationContent,
    PayeeContent,
    PayRunContent,
    PrincipalContent,
    RecoveryContent,
    WebhookContent,
    WebhookState,
    WitnessesContent,
)
from ledger.entries import BookingContent, PayingContent
from ledger.income import payment_reference
from ledger.journal import Purpose, Transfer
from ledger.log.key_changes import KeyChange, LastSigned, Reason
from ledger.log.merkle import inclusion_proof
from ledger.log.note_keys import SignatureType, SigningKey
from ledger.log.proof_files import LogProof
from ledger.payments import (
    Booking,
    Bookings,
    Plan,
    PlannedPayment,
    PoolAmount,
    end_to_end_id,
    pool_bookings,
    pool_part,
    render,
)
from ledger.registry import NANO, Collective, CollectiveStatus
from ledger.usage.entries import UsageContent
from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.methods import ScoreKind, ScoreRule
from payout.entries import PolicyContent, RoundContent
from payout.objections import Answer
from payout.policy import (
    CommonsRule,
    Periods,
    Policy,
    Rounding,
    Tempering,
    UnattributedRule,
)
from payout.splits import SplitLine
from tests.support import forms
from tests.support.batches import Event, event_id
from tests.support.exports import KEY, PoolSource, bundle_of
from tests.support.pool_log import PoolLog, salt_at
from tests.support.registry_log import DEPLOYMENT, RegistryLog
from tests.support.signing_cases import signing_cases
from tests.support.statement_files import FORGERIES, forged_file, lines_of, member_files, statement_file

FOLDER: Final = Path(__file__).parent
OLDER_SIZE: Final = 130
RECEIPT_LEAF: Final = 7
ROOT_SIZES: Final = (0, 1, 2, 3, 7, 8, 130, 255, 256, 257)

EARLIER: Final = SigningKey(DEPLOYMENT, bytes(range(2, 34)))
WITNESS: Final = SigningKey("witness.example", bytes(range(1, 33)), SignatureType.COSIGNATURE).verifier_key
"""Of a witness that times reviews for a while."""


def history() -> PoolLog:
    """A pool in which everything happens that can."""
    log = PoolLog(
        registry=registry(),
        collectives=[
            Collective("eire", "Éire", 300),
            Collective("han", "汉", 100, 1_500_000),
            Collective("quebec", "Q"),
        ],
    )
    log.open(Policy(fee_ppm=33_333, fee_cap_minor=4_000, commons_ppm=100_000, human_ai_ppm=700_000), "RECEIVED")
    log.method(900_000)
    log.method(400_001, "embedding")
    log.method(800_000, "influence", rule=RULE, membership="items")
    _paid_in(log, 100_003)
    log.membership({"song-1": "eire", "song-2": "han", "song-3": "quebec", "song-4": "eire"})
    first = log.usage(_events(1, 40))
    log.usage([*_events(30, 45), *_events(44, 50)], "zen", "embedding")
    log.usage(_events(35, 60))
    fired = log.fired()
    log.policy(
        Policy(
            tempering=Tempering.SQRT,
            floor_minor=7,
            cap_minor=9_000,
            commons_rule=CommonsRule.EQUITY,
            review_seconds=60,
            rounding=Rounding.PLACED,
        )
    )
    # Their weights pass 2^63.
    late = [Event(event_id(80 + at), "urn:late", at, 10**9, AI_ONLY, (("han", NANO - at),)) for at in range(12)]
    log.calculate("scheduler", fire_times=fired, meanwhile=lambda: log.usage(late))
    log.decide(Decision.APPROVED, "policy")
    log.post()
    _later(log, first)
    _pay(log)
    _webhooks(log)
    return log


def _key_change(log: RegistryLog) -> KeyChangeContent:
    """The key of all that is signed here came after another one, before there was a pool."""
    last = LastSigned("registry", log.size(), bytes.fromhex(log.root_at(log.size())))
    new = KEY.named(DEPLOYMENT)
    change = KeyChange(Reason.ROTATED, EARLIER.verifier_key, new.verifier_key, (last,)).sign(new, EARLIER)
    return KeyChangeContent(note=change.note.decode(), logs_sha256=log.put(change.listed()))


def registry() -> RegistryLog:
    """A registry in which all happens that can, but for collectives and the pool."""
    log = RegistryLog.founded()
    for platform in ("acme", "zen", "tidy"):
        log.platform(platform)
    log.act(WitnessesContent(policy=f"witness w1 {WITNESS}\nquorum w1\n"))
    log.act(WitnessesContent(policy=""))
    log.append(_key_change(log))
    log.operator("operators/otto")
    log.act(KeyContent(key_id="0" * 16, principal="platforms/acme", secret_hash="0" * 64, pools=["folk"]))
    log.act(KeyRevocationContent(key_id="0" * 16))
    log.act(KeyContent(key_id="2" * 16, principal="platforms/acme", secret_hash="2" * 64, key_kind="CERTIFICATE"))
    log.act(KeyRevocationContent(key_id="2" * 16))
    log.act(KeyContent(key_id="3" * 16, principal="platforms/zen", secret_hash="2" * 64, key_kind="CERTIFICATE"))
    log.act(
        KeyContent(
            key_id="4" * 16,
            principal="operators/otto",
            secret_hash="4" * 64,
            key_kind="IDENTITY",
            issuer="https://accounts.example",
        )
    )
    log.together(ControlsContent(controls=Controls.of_one().model_copy(update={"people": 2})))
    log.together(PrincipalContent(principal="auditors/ada", status="ACTIVE"))
    log.together(PrincipalContent(principal="operators/otto", status="SUSPENDED"))
    log.decide(log.propose(PrincipalContent(principal="auditors/ada", status="SUSPENDED")), decision="REJECTED")
    log.append(RecoveryContent(operator="operators/otto", key_id="1" * 16, secret_hash="1" * 64))
    return log


def _later(log: PoolLog, first: int) -> None:
    """What comes after the first round; `first` is the first batch."""
    log.schedule("0 6 1 * *")
    log.pause()
    log.propose(PolicyContent(version=3, policy=Policy()))
    log.reject_proposal("operators/oscar")
    log.retract(first, [0, 5, 38])
    log.retract(first, [1, 2, 3])
    log.collectives[1] = replace(log.collectives[1], status=CollectiveStatus.SUSPENDED)
    _paid_in(log, 30_017, "zen")
    log.calculate("operators/olive")
    log.decide(Decision.REJECTED, "operators/oscar")
    log.method(1_000_000)
    taken_back = log.usage(_events(100, 130), "zen")
    log.policy(
        Policy(unattributed=UnattributedRule.PRO_RATA, commons_rule=CommonsRule.FUND, commons_ppm=250_000, public=True)
    )
    log.calculate("operators/olive")
    log.object_to("eire")
    log.object_to("quebec", "ours, since 1969")
    log.answer("eire", Answer.DISMISSED)
    log.answer("quebec", Answer.SET_ASIDE)
    log.decide(Decision.APPROVED, "operators/oscar")
    log.post()
    log.split("eire", split_of(log, "eire"))
    log.release("quebec", 1)
    log.payment("eire", 1_000)
    log.release("han", 10)
    log.release("han", 5, to_commons=True)
    log.grant("quebec", 3)
    log.scores(_scored(200, 230), "acme")
    log.admit("tidy")
    log.id_scheme("tidy")
    log.usage(_events(230, 240), "tidy")
    # Everything of a batch is taken back after it was paid for: deficits for the round after.
    log.retract(taken_back)
    _paid_in(log, 9_001)
    settle(log)
    log.usage(_events(130, 150), "zen", "embedding")
    log.usage(_events(150, 190))
    _filled(log)


def _filled(log: PoolLog) -> None:
    """More leaves than a tile is wide."""
    while log.size() < 300:
        log.report(log.size() * 997, ("acme", "zen")[log.size() % 2])
    log.receipt(700_000, "zen")
    better = log.method(700_000, "embedding")
    log.policy(Policy(fee_ppm=10_000, period=Periods.MONTH, period_from="2026-01", recoup_ppm=400_000))
    log.adjust(1, [better])
    settle(log)
    log.adjust(1, [better, 2], source="commons")
    _closed(log)
    _taken_back(log)


def _closed(log: PoolLog) -> None:
    """Two months that rounds close, with usage, money and retractions that come late, and then none any more."""
    log.now = datetime(2026, 3, 2, tzinfo=UTC)
    log.tariff()
    log.tariff("acme", rate_minor=0, rate_units=0)
    log.tariff("acme", 2)
    january = log.usage(_events(300, 310))
    log.usage([*_in_february(_events(310, 320)), *_events(320, 323)], "zen")
    _paid_in(log, 4_003, "zen")
    log.report(2_000, "zen", "2026-02", income_minor=90_000)
    for platform in ("acme", "tidy", "zen"):
        log.waive("2026-01", platform)
    settle(log)
    log.retract(january, [0, 1])
    log.usage([*_events(330, 332), *_in_february(_events(332, 335))])
    log.receipt(1_999, "zen")
    log.reversal(log.report(5, "zen", "2026-02"), 5, platform="zen")
    log.receipt(1, "zen")
    for platform in ("acme", "tidy", "zen"):
        log.waive("2026-02", platform)
    log.policy(Policy(period=Periods.NONE))
    settle(log)


def _in_february(events: list[Event]) -> list[Event]:
    return [replace(event, occurred_at=(event.occurred_at or 0) + 31 * 86_400_000_000) for event in events]


def _paid_in(log: PoolLog, amount_minor: int, platform: str = "acme") -> int:
    """A report and the receipt of it; gives the receipt's leaf."""
    log.report(amount_minor, platform, "2026-01")
    return log.receipt(amount_minor, platform)


def _taken_back(log: PoolLog) -> None:
    """Reports and receipts beyond each other, of an unknown payer, and reversed in every way."""
    log.receipt(700, "zen")
    half_covered = log.report(1_000, "zen", "2026-Q1")
    log.reversal(half_covered, 600, platform="zen")
    unknown = log.receipt(800, "")
    log.reversal(unknown, 100, platform="")
    log.matched(unknown, "acme", 700)
    log.reversal(unknown, 50)
    paid = _paid_in(log, 5_000)
    log.usage(_events(240, 245))
    log.calculate("operators/olive")
    log.reversal(paid, 4_000, chargeback=True)
    log.decide(Decision.REJECTED, "ledger")
    log.reversal(paid, 1_000, chargeback=True)
    log.report(1, "zen", "2026")
    log.close()


def split_of(log: PoolLog, collective: str) -> list[SplitLine]:
    """A collective's amount of round 3, for five members: one of them gets nothing."""
    (content,) = [content for _, content in log.placed(RoundContent) if content.number == 3]
    (line,) = [each for each in lines_of(log, content) if each.collective == collective]
    first = line.amount_minor // 3
    amounts = [first, 0, first, 1, line.amount_minor - 2 * first - 1]
    return [SplitLine(f"member {at} é", amount, bytes([at]) * 32) for at, amount in enumerate(amounts)]


def _webhooks(log: PoolLog) -> None:
    """A webhook of a platform that an operator registers, pauses with another secret, and removes."""
    for number, state in enumerate(WebhookState, 1):
        log.registry.act(
            WebhookContent(
                webhook="hook", owner="platforms/acme", log="pools/folk", origin="https://acme.example:8443",
                types=["posting.v1", "round.v1"], start=3, state=state.value, details_hash=f"{number}" * 64,
            )
        )  # fmt: skip


def _pay(log: PoolLog) -> None:
    """A pay run of two collectives: one payment is rejected and not made, the other is made and comes back."""
    registry, digest = log.registry, "5" * 64
    registry.now = log.now
    for name in ("eire", "quebec"):
        registry.act(PayeeContent(collective=name, details_hash=digest))
        registry.act(ContactContent(principal=f"collectives/{name}", contact_hash=digest))
    registry.act(
        BankAccountContent(
            bank_account="main", display_name="Main", currency="EUR", pools=["folk"], opening_minor=100_000,
            details_hash=digest,
        )
    )  # fmt: skip
    log.now += timedelta(days=3)
    registry.now = log.now
    owed = {name: log.balance(f"collective/{name}") for name in ("eire", "quebec")}
    payments = [
        PlannedPayment(
            end_to_end_id=end_to_end_id("march", place),
            collective=name,
            payee=max(at for at in range(registry.size()) if registry.content(at).key == name),
            pools=[PoolAmount(pool="folk", amount_minor=owed[name])],
        )
        for place, name in enumerate(owed, 1)
    ]
    plan = Plan(salt=salt_at(1), payments=payments, not_paid=[])
    run = registry.act(
        PayRunContent(
            pay_run="march", bank_account="main", currency="EUR", day="2026-03-05", payments=2,
            amount_minor=sum(owed.values()), plan_sha256=registry.put(render(plan)),
        )
    )  # fmt: skip
    part = log.put(render(pool_part(plan, "folk", owed, salt_at(2))))
    paying = PayingContent(registry_size=registry.size(), pay_run="march", pay_run_leaf=run, parts_sha256=part)
    log.append(paying, [Transfer(f"collective/{name}", f"paying/{name}", owed[name], Purpose.PAY_RUN) for name in owed])
    first, second = (
        Booking(
            kind="PAID", amount_minor=planned.amount_minor, end_to_end_id=planned.end_to_end_id,
            subject=planned.collective, day="2026-03-05", reference="B1", reason="", pools=planned.pools,
        )
        for planned in payments
    )  # fmt: skip
    rejected = second.model_copy(update={"kind": "REJECTED", "amount_minor": 0, "reason": "no", "pools": []})
    _bank_file(log, "pain.002.001.10", [rejected], None)
    unpaid = second.model_copy(update={"kind": "UNPAID", "amount_minor": 0})
    back = first.model_copy(update={"kind": "RETURNED", "amount_minor": first.amount_minor - 1})
    fee = Booking(
        kind="CHARGE", amount_minor=7, end_to_end_id="", subject="", day="2026-03-05", reference="B2", reason="",
        pools=[PoolAmount(pool="folk", amount_minor=7)],
    )  # fmt: skip
    statement = _bank_file(log, "camt.053.001.08", [first, back, fee, unpaid], 100_000 - 1 - 7)
    bookings = pool_bookings(Bookings(salt=salt_at(3), bookings=[first, back, fee, unpaid]), "folk", salt_at(4))
    booked = BookingContent(
        registry_size=registry.size(), bank_file_leaf=statement, bookings_sha256=log.put(render(bookings)),
        lines=len(bookings.bookings), lines_root=bookings.root(),
    )  # fmt: skip
    log.append(
        booked,
        [
            Transfer("paying/eire", "paid/eire", owed["eire"], Purpose.PAYMENT),
            Transfer("paid/eire", "collective/eire", owed["eire"], Purpose.RETURNED),
            Transfer("costs", "withdrawn", 1, Purpose.CHARGE),
            Transfer("costs", "withdrawn", 7, Purpose.CHARGE),
            Transfer("paying/quebec", "collective/quebec", owed["quebec"], Purpose.UNPAID),
        ],
    )
    _take_payers_in(log, 100_000 - 1 - 7)


def _take_payers_in(log: PoolLog, opening_minor: int) -> None:
    """A platform pays more than it owes, and some of it is taken back; somebody else pays, and it turns out who."""
    log.report(400, "acme", "2026-02")
    due, credit = log.balance("due/acme"), log.balance("credit/acme")
    paid, back = due + 300, credit + 300 + 50
    acme = _of_payer("RECEIVED", "acme", paid, payment_reference=payment_reference("folk", "acme", "b"))
    told = _of_payer("NOTIFIED", "", paid, payment_reference=acme.payment_reference)
    _bank_file(log, "camt.054.001.08", [told], None)
    lines = [
        acme, _of_payer("UNMATCHED", "", 500), _of_payer("TAKEN_BACK", "acme", back, line="-0"),
        _of_payer("UNKNOWN", "", -9),
    ]  # fmt: skip
    closing = opening_minor + paid + 500 - back - 9
    statement = _bank_file(log, "camt.053.001.08", lines, closing, opening_minor=opening_minor, message_id="M2")
    _book(
        log,
        statement,
        lines,
        Transfer("due/acme", "revenue", due, Purpose.RECEIPT),
        Transfer("outside", "credit/acme", 300, Purpose.CREDIT),
        Transfer("outside", "unmatched", 500, Purpose.RECEIPT),
        Transfer("credit/acme", "outside", credit + 300, Purpose.CHARGEBACK),
        Transfer("revenue", "due/acme", 50, Purpose.CHARGEBACK),
    )
    unknown, zen = f"{statement}-1", min(log.balance("due/zen"), 420)
    split = [
        _of_payer("FREED", "", 500, line=unknown), _of_payer("RECEIVED", "zen", 420, line=unknown),
        _of_payer("UNMATCHED", "", 80, line=unknown),
    ]  # fmt: skip
    _match(
        log,
        unknown,
        split,
        Transfer("unmatched", "outside", 500, Purpose.MATCH),
        *((Transfer("due/zen", "revenue", zen, Purpose.RECEIPT),) if zen else ()),
        *((Transfer("outside", "credit/zen", 420 - zen, Purpose.CREDIT),) if zen < 420 else ()),
        Transfer("outside", "unmatched", 80, Purpose.RECEIPT),
    )
    charge = [_of_payer("CHARGE", "", 9, line=f"{statement}-3")]
    _match(log, f"{statement}-3", charge, Transfer("costs", "withdrawn", 9, Purpose.CHARGE))


def _of_payer(kind: str, subject: str, amount_minor: int, *, line: str = "", payment_reference: str = "") -> Booking:
    pools = [] if kind in ("NOTIFIED", "UNKNOWN") else [PoolAmount(pool="folk", amount_minor=amount_minor)]
    return Booking(
        kind=kind, amount_minor=amount_minor, end_to_end_id="", subject=subject, day="2026-03-06", reference="B3",
        reason="", pools=pools, payment_reference=payment_reference, line=line,
    )  # fmt: skip


def _book(log: PoolLog, leaf_index: int, lines: list[Booking], *moved: Transfer) -> None:
    booked = pool_bookings(Bookings(salt=salt_at(3), bookings=lines), "folk", salt_at(4))
    content = BookingContent(
        registry_size=log.registry.size(), bank_file_leaf=leaf_index, bookings_sha256=log.put(render(booked)),
        lines=len(booked.bookings), lines_root=booked.root(),
    )  # fmt: skip
    log.append(content, list(moved))


def _match(log: PoolLog, line: str, bookings: list[Booking], *moved: Transfer) -> None:
    body = log.registry.put(render(Bookings(salt=salt_at(3), bookings=bookings)))
    leaf = log.registry.act(BankMatchContent(bank_account="main", line=line, bookings_sha256=body))
    _book(log, leaf, bookings, *moved)


def _bank_file(
    log: PoolLog,
    message: str,
    bookings: list[Booking],
    closing_minor: int | None,
    *,
    opening_minor: int = 100_000,
    message_id: str = "M1",
) -> int:
    body = log.registry.put(render(Bookings(salt=salt_at(3), bookings=bookings)))
    return log.registry.act(
        BankFileContent(
            bank_account="main", message=message, message_id=message_id, file_hash="6" * 64, day="2026-03-05",
            opening_minor=None if closing_minor is None else opening_minor, closing_minor=closing_minor,
            bookings_sha256=body,
        )
    )  # fmt: skip


RULE: Final = ScoreRule(ScoreKind.SIGNED_INFLUENCE, coverage_nano=900_000_000)


def _scored(first: int, end: int) -> list[Event]:
    """Events with scores by source; of song-9 nobody knows whose it is."""
    sources = ("song-1", "song-2", "song-3", "song-4", "song-9")
    return [
        Event(
            event_id(number), None, number, number, AI_ONLY,
            tuple((source, ((number * (7 + at)) % 11 - 3) / 7) for at, source in enumerate(sources[: number % 6])),  # type: ignore[misc]
        )
        for number in range(first, end)
    ]  # fmt: skip


def settle(log: PoolLog) -> None:
    """A round that no one reviews."""
    log.calculate("operators/olive")
    log.decide(Decision.APPROVED, "policy")
    log.post()


def _events(first: int, end: int) -> list[Event]:
    """Events of all shapes, by their numbers alone."""
    names = ("eire", "han", "quebec")
    return [
        Event(
            event_id(number),
            None if number % 5 == 0 else f"urn:tune:{number}",
            1_767_225_600_000_000 + number,
            1 + number * number * 7919 % 10**9,
            HUMAN_AI if number % 3 == 0 else AI_ONLY,
            tuple(
                (name, 1 + number * 104_729 * (place + 1) % (NANO // 3))
                for place, name in enumerate(names[: number % 4])
            ),
        )
        for number in range(first, end)
    ]


def figures(log: PoolLog) -> dict[str, Any]:
    """What a verifier should find, as the log was built and not as our verifier finds it."""
    usage = log.placed(UsageContent)
    rounds = log.placed(RoundContent)
    balances = PoolSource(log).balances(log.size())
    return {
        "vkey": str(KEY.verifier_key),
        "size": log.size(),
        "root": log.root_at(log.size()),
        "roots": {str(size): log.root_at(size) for size in ROOT_SIZES},
        "leaf_hashes": {str(index): log.entries[index].hash.hex() for index in (0, 1, log.size() - 1)},
        "registry_root": log.registry.root_at(log.registry.size()),
        "registry_entries_by_type": counted(log.registry),
        "acts_of_one_person": {"registry": 35, "folk": 52},
        "entries_by_type": counted(log),
        "batches": {
            str(index): {
                "accepted": content.accepted,
                **{
                    mode: getattr(content, mode).model_dump(mode="json") for mode in ("ai_only", "human_ai")
                },
            }
            for index, content in usage
        },
        "rounds": {
            str(content.number): {
                "leaf": index,
                "statement": log.bodies[bytes.fromhex(content.statement_sha256)].decode(),
                "weights": log.bodies[bytes.fromhex(content.weights_sha256)].decode(),
                **{name: str(getattr(content, name)) for name in FIGURES},
            }
            for index, content in rounds
        },
        "balances": dict(sorted(balances.items())),
    }  # fmt: skip


def counted(log: PoolLog | RegistryLog) -> dict[str, int]:
    """How many entries there are of each type."""
    return dict(sorted(Counter(log.content(index).type for index in range(log.size())).items()))


FIGURES: Final = (
    "events", "retracted", "weight", "weight_unattributed", "deficit_unattributed", "pot_minor", "fee_minor",
    "attributed_minor", "commons_minor", "commons_kept_minor", "carried_minor",
    "rounding_minor", "kept_after_nano",
)  # fmt: skip


def write(folder: Path) -> None:
    """Write them all."""
    log = history()
    bundle_of(log, folder / "folk.tar")
    (folder / "folk.vkey").write_text(f"{KEY.verifier_key}\n")
    (folder / "older").write_bytes(PoolSource(log, size=OLDER_SIZE).checkpoint())
    hashes = tuple(inclusion_proof(RECEIPT_LEAF, [leaf.hash for leaf in log.entries]))
    proof = LogProof(RECEIPT_LEAF, hashes, PoolSource(log).checkpoint(), log.entries[RECEIPT_LEAF].entry)
    (folder / "receipt.tlog-proof").write_bytes(proof.to_bytes())
    body = log.bodies[bytes.fromhex(log.content(RECEIPT_LEAF).body_sha256)]
    (folder / "batch.arrow").write_bytes(body)
    (folder / "figures.json").write_text(json.dumps(figures(log), indent=1, ensure_ascii=False) + "\n")
    (folder / "statements.json").write_text(json.dumps(statements(log), indent=1, ensure_ascii=False) + "\n")
    (folder / "signers.json").write_text(json.dumps(signers(), indent=1, ensure_ascii=False) + "\n")
    for kind, cases in forms.documents().items():
        (folder / f"{kind}.json").write_text(json.dumps(cases, indent=1) + "\n")


def signers() -> dict[str, Any]:
    """Cases of trust, whose `file` is one of `files`."""
    cases = [case.document() for case in signing_cases()]
    names = {text: f"file {at}" for at, text in enumerate(dict.fromkeys(case["file"] for case in cases))}
    return {
        "files": {name: text for text, name in names.items()},
        "cases": [{**case, "file": names[case["file"]]} for case in cases],
    }


def statements(log: PoolLog) -> list[dict[str, Any]]:
    """Statement files, each with the step that refuses it, or with what it shows."""
    files = {
        f"round {content.number}, {name}": statement_file(log, content.number, name).to_bytes()
        for _, content in log.placed(RoundContent)
        for name in ("eire", "quebec")
    }
    files |= {f"member {at}": file for at, file in enumerate(member_files(log, 3, "eire", split_of(log, "eire")))}
    files |= {name: forged_file(change) for name, (_, change) in FORGERIES.items()}
    found = []
    for name, file in files.items():
        report = check_statement(file, KEY.verifier_key)
        assert report.failed == FORGERIES.get(name, (None,))[0], (name, report)
        found.append({"name": name, "file": file.decode(), "failed": report.failed, "facts": report.facts})
    return found


if __name__ == "__main__":
    write(FOLDER)
