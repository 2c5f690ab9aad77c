"""Log entries by example: their exact bytes, and everything that is not one of them."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, Final

import pytest

from ledger.acts.entries import DecisionContent, ProposalContent
from ledger.entries import (
    BookingContent,
    GrantContent,
    PayingContent,
    PaymentContent,
    ReleaseContent,
)
from ledger.errors import LedgerCorruptError
from ledger.income import MatchContent, ReceiptContent, ReportContent, ReversalContent, WaiverContent
from ledger.log.leaves import (
    MAX_ENTRY_BYTES,
    Content,
    Leaf,
    decode,
    encode,
)
from ledger.usage.entries import (
    AdmissionContent,
    ClosingContent,
    IdSchemeContent,
    MembershipContent,
    MethodContent,
    ModeTotals,
    RetractionContent,
    UsageContent,
    decode_positions,
    encode_positions,
)
from payout.adjustments import AdjustmentContent
from payout.entries import (
    CONTENTS,
    FireTimes,
    PauseContent,
    PolicyContent,
    PoolContent,
    PostingContent,
    RoundContent,
    ScheduleContent,
)
from payout.objections import AnswerContent, ObjectionContent
from payout.policy import (
    CommonsRule,
    Policy,
    Rounding,
    Tempering,
    UnattributedRule,
)
from payout.splits import SplitContent
from payout.tariffs import TariffContent

TIME: Final = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
DIGEST: Final = "0123456789abcdef" * 4

# One of each type with its canonical entry, written out by hand: keys in order, no spaces, and amounts and weights as
# strings. These bytes are hashed into every log; a change here is a change of the format.
POOL: Final = (
    PoolContent(
        display_name="Folk, é",
        currency="EUR",
        distribute="RECEIVED",
        policy=Policy(
            fee_ppm=50_000,
            fee_cap_minor=10_000,
            commons_ppm=100_000,
            unattributed=UnattributedRule.PRO_RATA,
            commons_rule=CommonsRule.PER_CAPITA,
            tempering=Tempering.SQRT,
            floor_minor=5,
            cap_minor=10**15,
            ai_only_ppm=900_000,
            human_ai_ppm=1_100_000,
            review_seconds=3600,
            rounding=Rounding.PLACED,
        ),
        platforms=["acme"],
    ),
    (
        '{"by":"","by_key":"","currency":"EUR","display_name":"Folk, é",'
        '"distribute":"RECEIVED","index":7,"opened_at":0,'
        '"platforms":["acme"],"policy":{"ai_only_ppm":900000,"cap_minor":"1000000000000000","commons_ppm":100000,'
        '"commons_rule":"PER_CAPITA","fee_cap_minor":"10000","fee_ppm":50000,"floor_minor":"5",'
        '"human_ai_ppm":1100000,"review_seconds":3600,"rounding":"PLACED","tempering":"SQRT","unattributed":"PRO_RATA"},'
        '"pool":"folk","registry_size":0,"time":"2026-01-02T03:04:05.000006Z","type":"pool.v1"}'
    ),
)
POLICY: Final = (
    PolicyContent(version=2, policy=Policy()),
    (
        '{"by":"","by_key":"","index":7,"policy":{"ai_only_ppm":1000000,"cap_minor":null,"commons_ppm":0,'
        '"commons_rule":"EQUAL","fee_cap_minor":null,"fee_ppm":0,"floor_minor":"0","human_ai_ppm":1000000,'
        '"review_seconds":0,"rounding":"CARRIED","tempering":"PROPORTIONAL","unattributed":"COMMONS"},"pool":"folk",'
        '"registry_size":0,"time":"2026-01-02T03:04:05.000006Z","type":"policy.v1","version":2}'
    ),
)
METHOD: Final = (
    MethodContent(
        method="melody-ngram", version=1, display_name="Melody", confidence_ppm=850_000, evidence_uri="https://x.org"
    ),
    (
        '{"by":"","by_key":"","confidence_ppm":850000,"display_name":"Melody","evidence_uri":"https://x.org",'
        '"index":7,"method":"melody-ngram","pool":"folk","registry_size":0,'
        '"time":"2026-01-02T03:04:05.000006Z","type":"method.v1","version":1}'
    ),
)
USAGE: Final = (
    UsageContent(
        platform="acme",
        batch_id="b-1",
        body_sha256=DIGEST,
        body_bytes=1_536,
        method="melody-ngram",
        method_version=1,
        accepted=3,
        duplicates="BA==",
        ai_only=ModeTotals(events=2, attributed=2**70, unattributed=0),
        human_ai=ModeTotals(events=1, attributed=0, unattributed=10**9),
    ),
    (
        '{"accepted":3,"ai_only":{"attributed":"1180591620717411303424","events":2,"unattributed":"0"},"batch_id":"b-1",'
        f'"body_bytes":1536,"body_sha256":"{DIGEST}","duplicates":"BA==",'
        '"human_ai":{"attributed":"0","events":1,"unattributed":"1000000000"},"index":7,"method":"melody-ngram",'
        '"method_version":1,"platform":"acme","pool":"folk","time":"2026-01-02T03:04:05.000006Z","type":"usage.v1"}'
    ),
)
ID_SCHEME: Final = (
    IdSchemeContent(platform="acme", scheme="ORDERED"),
    (
        '{"index":7,"platform":"acme","pool":"folk","scheme":"ORDERED","time":"2026-01-02T03:04:05.000006Z",'
        '"type":"id_scheme.v1"}'
    ),
)
REVENUE: Final = (
    ReportContent(
        platform="acme",
        request_id="r-1",
        period="2026-05",
        amount_minor=10**15,
        currency="EUR",
        distribute="REPORTED",
        payment_reference="RF1",
        note='May, "net"',
    ),
    (
        '{"amount_minor":"1000000000000000","currency":"EUR","distribute":"REPORTED","index":7,"note":"May, \\"net\\"",'
        '"payment_reference":"RF1","period":"2026-05","platform":"acme","pool":"folk","request_id":"r-1","time":"2026-01-02T03:04:05.000006Z","type":"report.v1"}'
    ),
)
RECEIPT: Final = (
    ReceiptContent(
        platform="acme", request_id="m-1", amount_minor=10**15, payment_reference="RF1", received_on="2026-01-31",
        note="", by="operators/olive", salt=DIGEST,
    ),
    (
        '{"amount_minor":"1000000000000000","by":"operators/olive","by_key":"","index":7,"note":"",'
        '"payment_reference":"RF1","platform":"acme","pool":"folk","received_on":"2026-01-31","registry_size":0,'
        f'"request_id":"m-1","salt":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","type":"receipt.v1"}'
    ),
)  # fmt: skip
MATCH: Final = (
    MatchContent(receipt=5, platform="acme", request_id="m-2", amount_minor=12, by="operators/olive", salt=DIGEST),
    (
        '{"amount_minor":"12","by":"operators/olive","by_key":"","index":7,"platform":"acme","pool":"folk","receipt":5,'
        f'"registry_size":0,"request_id":"m-2","salt":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","type":"match.v1"}'
    ),
)
REVERSAL: Final = (
    ReversalContent(
        reverses=5, of="receipt.v1", platform="acme", distribute="RECEIVED", chargeback=True, request_id="v-1",
        amount_minor=12, reason="no cover", by="operators/olive", salt=DIGEST,
    ),
    (
        '{"amount_minor":"12","by":"operators/olive","by_key":"","chargeback":true,"distribute":"RECEIVED","index":7,'
        '"of":"receipt.v1","platform":"acme","pool":"folk","reason":"no cover","registry_size":0,"request_id":"v-1",'
        f'"reverses":5,"salt":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","type":"reversal.v1"}'
    ),
)  # fmt: skip
PAYMENT: Final = (
    PaymentContent(
        collective="eire", request_id="p-1", amount_minor=12, reference="", by="operators/olive", salt=DIGEST
    ),
    (
        '{"amount_minor":"12","by":"operators/olive","by_key":"","collective":"eire","index":7,"pool":"folk",'
        f'"reference":"","registry_size":0,"request_id":"p-1","salt":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","type":"payment.v1"}'
    ),
)
SCORED: Final = (
    MethodContent(
        method="influence",
        version=2,
        display_name="Influence",
        confidence_ppm=850_000,
        evidence_uri="",
        covers="works of 2026",
        score_kind="SIGNED_INFLUENCE",
        score_order="SUM_THEN_CLIP",
        coverage_nano=900_000_000,
        membership="items",
    ),
    (
        '{"by":"","by_key":"","confidence_ppm":850000,"coverage_nano":900000000,"covers":"works of 2026",'
        '"display_name":"Influence","evidence_uri":"","index":7,"membership":"items","method":"influence",'
        '"pool":"folk","registry_size":0,"score_kind":"SIGNED_INFLUENCE","score_order":"SUM_THEN_CLIP",'
        '"time":"2026-01-02T03:04:05.000006Z","type":"method.v1","version":2}'
    ),
)
MEMBERSHIP: Final = (
    MembershipContent(membership="items", version=3, body_sha256=DIGEST, body_bytes=1_000, sources=50, collectives=4),
    (
        f'{{"body_bytes":1000,"body_sha256":"{DIGEST}'
        '","by":"","by_key":"","collectives":4,"index":7,"membership":"items","pool":"folk",'
        '"registry_size":0,"sources":50,"time":"2026-01-02T03:04:05.000006Z","type":"membership.v1",'
        '"version":3}'
    ),
)
RETRACTION: Final = (
    RetractionContent(
        platform="acme",
        request_id="t-1",
        batch_leaf=3,
        positions="BQ==",
        reason="counted twice",
        ai_only=ModeTotals(events=2, attributed=2**70, unattributed=0),
        human_ai=ModeTotals(events=0, attributed=0, unattributed=0),
    ),
    (
        '{"ai_only":{"attributed":"1180591620717411303424","events":2,"unattributed":"0"},"batch_leaf":3,'
        '"human_ai":{"attributed":"0","events":0,"unattributed":"0"},"index":7,"platform":"acme","pool":"folk",'
        '"positions":"BQ==","reason":"counted twice","request_id":"t-1","time":"2026-01-02T03:04:05.000006Z",'
        '"type":"retraction.v1"}'
    ),
)
RELEASE: Final = (
    ReleaseContent(
        collective="eire", request_id="p-2", amount_minor=12, to_commons=True, reason="claimed by nobody",
        by="operators/olive", salt=DIGEST,
    ),
    (
        '{"amount_minor":"12","by":"operators/olive","by_key":"","collective":"eire","index":7,"pool":"folk",'
        f'"reason":"claimed by nobody","registry_size":0,"request_id":"p-2","salt":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","to_commons":true,"type":"release.v1"}'
    ),
)  # fmt: skip
GRANT: Final = (
    GrantContent(
        collective="eire", request_id="p-3", amount_minor=10**15, reason="a school", by="operators/olive", salt=DIGEST
    ),
    (
        '{"amount_minor":"1000000000000000","by":"operators/olive","by_key":"","collective":"eire","index":7,'
        f'"pool":"folk","reason":"a school","registry_size":0,"request_id":"p-3","salt":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","type":"grant.v1"}'
    ),
)
ROUND: Final = (
    RoundContent(
        number=2,
        previous=1,
        start=3,
        end=7,
        root=DIGEST,
        policy_leaf=0,
        policy_version=1,
        registry_root=DIGEST,
        registry_sha256=DIGEST,
        statement_sha256=DIGEST,
        weights_sha256=DIGEST,
        salt_sha256=DIGEST,
        statement_root=DIGEST,
        statement_lines=9,
        events=4,
        retracted=3,
        weight=2**90,
        weight_unattributed=0,
        deficit_unattributed=2**70,
        pot_minor=100,
        fee_minor=5,
        attributed_minor=80,
        commons_minor=10,
        commons_kept_minor=0,
        carried_minor=8,
        rounding_minor=-3,
        kept_after_nano=999_999_999,
        by="scheduler",
        request_id="fire:2026-01-01T00:00:00Z",
        fire_times=FireTimes(first="2025-12-01T00:00:00Z", last="2026-01-01T00:00:00Z", count=2),
    ),
    (
        '{"attributed_minor":"80","by":"scheduler","by_key":"","carried_minor":"8","commons_kept_minor":"0",'
        '"commons_minor":"10","deficit_unattributed":"1180591620717411303424","end":7,"events":4,'
        '"fee_minor":"5","fire_times":{"count":2,"first":"2025-12-01T00:00:00Z",'
        '"last":"2026-01-01T00:00:00Z"},"index":7,"kept_after_nano":999999999,"number":2,"policy_leaf":0,"policy_version":1,'
        f'"pool":"folk","pot_minor":"100","previous":1,"registry_root":"{DIGEST}","registry_sha256":"{DIGEST}'
        f'","registry_size":0,"request_id":"fire:2026-01-01T00:00:00Z","retracted":3,"root":"{DIGEST}'
        f'","rounding_minor":"-3","salt_sha256":"{DIGEST}","start":3,"statement_lines":9,"statement_root":"{DIGEST}'
        f'","statement_sha256":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","type":"round.v1","weight":"1237940039285380274899124224",'
        f'"weight_unattributed":"0","weights_sha256":"{DIGEST}'
        '"}'
    ),
)
DECISION: Final = (
    DecisionContent(subject=5, subject_hash=DIGEST, decision="REJECTED", by="operators/olive", reason="late"),
    (
        '{"by":"operators/olive","by_key":"","decision":"REJECTED","index":7,"pool":"folk","reason":"late",'
        f'"registry_size":0,"subject":5,"subject_hash":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","type":"decision.v1"}'
    ),
)
POSTING: Final = (
    PostingContent(round=2, transfer_count=5, amount_minor=95),
    (
        '{"amount_minor":"95","index":7,"pool":"folk","round":2,"time":"2026-01-02T03:04:05.000006Z","transfer_count":5,'
        '"type":"posting.v1"}'
    ),
)
POSTING_SET_ASIDE: Final = (
    PostingContent(round=2, transfer_count=5, amount_minor=95, set_aside=["eire"]),
    (
        '{"amount_minor":"95","index":7,"pool":"folk","round":2,"set_aside":["eire"],'
        '"time":"2026-01-02T03:04:05.000006Z","transfer_count":5,"type":"posting.v1"}'
    ),
)
OBJECTION: Final = (
    ObjectionContent(
        by="collectives/eire", by_key="k", registry_size=3, round=2, round_hash=DIGEST, reason="too little"
    ),
    (
        '{"by":"collectives/eire","by_key":"k","index":7,"pool":"folk","reason":"too little","registry_size":3,'
        f'"round":2,"round_hash":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","type":"objection.v1"}'
    ),
)
SPLIT: Final = (
    SplitContent(
        by="collectives/eire", by_key="k", registry_size=3, round=2, round_hash=DIGEST, collective="eire",
        amount_minor=10**15, lines=4, split_root=DIGEST, rule="by plays", salt=DIGEST,
    ),
    (
        '{"amount_minor":"1000000000000000","by":"collectives/eire","by_key":"k","collective":"eire","index":7,'
        '"lines":4,"pool":"folk","registry_size":3,"round":2,'
        f'"round_hash":"{DIGEST}","rule":"by plays","salt":"{DIGEST}","split_root":"{DIGEST}'
        '","time":"2026-01-02T03:04:05.000006Z","type":"split.v1"}'
    ),
)  # fmt: skip
ADJUSTMENT: Final = (
    AdjustmentContent(
        by="operators/olive", by_key="k", registry_size=3, request_id="a-1", round=2, amount_minor=10**15,
        lines_sha256=DIGEST, lines=2, lines_root=DIGEST, pool_leaves=[5], registry_leaves=[1, 2],
        source="fees", reason="members", salt=DIGEST,
    ),
    (
        f'{{"amount_minor":"1000000000000000","by":"operators/olive","by_key":"k","index":7,"lines":2,'
        f'"lines_root":"{DIGEST}","lines_sha256":"{DIGEST}",'
        '"pool":"folk","pool_leaves":[5],"reason":"members","registry_leaves":[1,2],"registry_size":3,'
        f'"request_id":"a-1","round":2,"salt":"{DIGEST}","source":"fees",'
        '"time":"2026-01-02T03:04:05.000006Z","type":"adjustment.v1"}'
    ),
)  # fmt: skip
ANSWER: Final = (
    AnswerContent(
        by="operators/olive", by_key="k", registry_size=3, round=2, collective="eire", objection_hash=DIGEST,
        answer="SET_ASIDE", reason="to be looked at",
    ),
    (
        '{"answer":"SET_ASIDE","by":"operators/olive","by_key":"k","collective":"eire","index":7,'
        f'"objection_hash":"{DIGEST}'
        '","pool":"folk","reason":"to be looked at","registry_size":3,"round":2,"time":"2026-01-02T03:04:05.000006Z",'
        '"type":"answer.v1"}'
    ),
)  # fmt: skip
SCHEDULE: Final = (
    ScheduleContent(by="operators/olive", by_key="k", registry_size=3, cron="0 6 1 * *", time_zone="UTC", paused=False),
    (
        '{"by":"operators/olive","by_key":"k","cron":"0 6 1 * *","index":7,"paused":false,"pool":"folk",'
        '"registry_size":3,"time":"2026-01-02T03:04:05.000006Z","time_zone":"UTC","type":"schedule.v1"}'
    ),
)
PAUSE: Final = (
    PauseContent(by="operators/olive", by_key="k", registry_size=3),
    (
        '{"by":"operators/olive","by_key":"k","index":7,"pool":"folk","registry_size":3,'
        '"time":"2026-01-02T03:04:05.000006Z","type":"pause.v1"}'
    ),
)
CLOSING: Final = (
    ClosingContent(by="operators/olive", by_key="k", registry_size=3),
    (
        '{"by":"operators/olive","by_key":"k","index":7,"pool":"folk","registry_size":3,'
        '"time":"2026-01-02T03:04:05.000006Z","type":"closing.v1"}'
    ),
)
ADMISSION: Final = (
    AdmissionContent(platform="acme", admitted=False, by="operators/olive", by_key="k", registry_size=3),
    (
        '{"admitted":false,"by":"operators/olive","by_key":"k","index":7,"platform":"acme","pool":"folk",'
        '"registry_size":3,"time":"2026-01-02T03:04:05.000006Z","type":"admission.v1"}'
    ),
)
WAIVER: Final = (
    WaiverContent(
        platform="acme", period="2026-01", reason="insolvent", by="operators/olive", by_key="k", registry_size=3
    ),
    (
        '{"by":"operators/olive","by_key":"k","index":7,"period":"2026-01","platform":"acme","pool":"folk",'
        '"reason":"insolvent","registry_size":3,"time":"2026-01-02T03:04:05.000006Z","type":"waiver.v1"}'
    ),
)
TARIFF: Final = (
    TariffContent(
        platform="",
        version=2,
        period_from="2026-Q1",
        share_ppm=20_000,
        rate_minor=5,
        rate_units=1_000,
        minimum_minor=10_000,
        by="operators/olive",
        by_key="k",
        registry_size=3,
    ),
    (
        '{"by":"operators/olive","by_key":"k","index":7,"minimum_minor":"10000","period_from":"2026-Q1",'
        '"platform":"","pool":"folk","rate_minor":"5","rate_units":1000,"registry_size":3,"share_ppm":20000,'
        '"time":"2026-01-02T03:04:05.000006Z","type":"tariff.v1","version":2}'
    ),
)
PROPOSAL: Final = (
    ProposalContent(
        by="operators/olive",
        by_key="k",
        registry_size=3,
        effect="grant.v1",
        content={"collective": "eire", "amount_minor": "7"},
        rests_on={"accounts/commons": "9"},
        reason="a school",
    ),
    (
        '{"by":"operators/olive","by_key":"k","content":{"amount_minor":"7","collective":"eire"},'
        '"effect":"grant.v1","index":7,"pool":"folk","reason":"a school","registry_size":3,'
        '"rests_on":{"accounts/commons":"9"},"time":"2026-01-02T03:04:05.000006Z","type":"proposal.v1"}'
    ),
)
PAYING: Final = (
    PayingContent(registry_size=9, pay_run="march", pay_run_leaf=8, parts_sha256=DIGEST),
    (
        f'{{"index":7,"parts_sha256":"{DIGEST}","pay_run":"march","pay_run_leaf":8,"pool":"folk","registry_size":9,'
        '"time":"2026-01-02T03:04:05.000006Z","type":"paying.v1"}'
    ),
)
BOOKING: Final = (
    BookingContent(registry_size=9, bank_file_leaf=8, bookings_sha256=DIGEST, lines=2, lines_root=DIGEST),
    (
        f'{{"bank_file_leaf":8,"bookings_sha256":"{DIGEST}","index":7,"lines":2,"lines_root":"{DIGEST}",'
        '"pool":"folk","registry_size":9,'
        '"time":"2026-01-02T03:04:05.000006Z","type":"booking.v1"}'
    ),
)
ALL: Final = [
    PAYING,
    BOOKING,
    POOL,
    POLICY,
    METHOD,
    MEMBERSHIP,
    ID_SCHEME,
    USAGE,
    RETRACTION,
    REVENUE,
    RECEIPT,
    MATCH,
    REVERSAL,
    PAYMENT,
    RELEASE,
    GRANT,
    ROUND,
    DECISION,
    POSTING,
    OBJECTION,
    SPLIT,
    ADJUSTMENT,
    ANSWER,
    SCHEDULE,
    PAUSE,
    CLOSING,
    ADMISSION,
    WAIVER,
    TARIFF,
    PROPOSAL,
]
TYPES: Final = [content.type for content, _ in ALL]
by_type = pytest.mark.parametrize(("content", "entry"), ALL, ids=TYPES)
each_entry = pytest.mark.parametrize("entry", [entry for _, entry in ALL], ids=TYPES)


def rewritten(entry: str, **changes: Any) -> bytes:
    """The entry with other fields, in canonical form; a change to `...` leaves the field out."""
    document = {**json.loads(entry), **changes}
    kept = {name: value for name, value in document.items() if value is not ...}
    return json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def refused(entry: bytes) -> LedgerCorruptError:
    with pytest.raises(LedgerCorruptError) as error:
        decode(entry, CONTENTS)
    return error.value


def test_a_method_of_scores_has_fields_that_one_of_shares_does_not() -> None:
    content, entry = SCORED
    assert encode(Leaf("folk", 7, TIME, content)).entry.decode() == entry
    assert decode(entry.encode(), CONTENTS).content == content


@pytest.mark.parametrize("spelt", [{"covers": ""}, {"score_kind": None}, {"coverage_nano": None}, {"membership": ""}])
def test_what_is_absent_is_left_out_and_not_spelt(spelt: dict[str, Any]) -> None:
    """So that a content has one entry, and entries from before these fields are still canonical."""
    refused(rewritten(METHOD[1], **spelt))


@pytest.mark.parametrize("spelt", [{"membership_version": None}, {"membership": ""}, {"id_scheme": "OWN"}])
def test_a_batch_of_shares_leaves_out_a_membership_and_the_scheme_of_own_ids(
    spelt: dict[str, Any],
) -> None:
    refused(rewritten(USAGE[1], **spelt))


def test_every_type_is_here() -> None:
    assert {content.type for content, _ in ALL} == set(CONTENTS)


@by_type
def test_an_entry_is_its_canonical_bytes_and_their_leaf_hash(content: Content, entry: str) -> None:
    encoded = encode(Leaf("folk", 7, TIME, content))
    assert encoded.index == 7
    assert encoded.entry.decode() == entry
    assert encoded.hash == sha256(b"\x00" + entry.encode()).digest()
    assert decode(encoded.entry, CONTENTS) == Leaf("folk", 7, TIME, content)


@by_type
def test_a_field_too_many_or_too_few_is_refused(content: Content, entry: str) -> None:
    assert decode(rewritten(entry), CONTENTS).content == content
    refused(rewritten(entry, another=1))
    for name in json.loads(entry):
        refused(rewritten(entry, **{name: ...}))


@each_entry
def test_a_field_too_many_or_too_few_inside_is_refused(entry: str) -> None:
    for name, value in json.loads(entry).items():
        if isinstance(value, dict) and name not in ("content", "rests_on"):  # any effect's, and any resource's
            refused(rewritten(entry, **{name: {**value, "another": 1}}))
            for inner in value:
                less = {key: kept for key, kept in value.items() if key != inner}
                refused(rewritten(entry, **{name: less}))
                refused(rewritten(entry, **{name: {**value, inner: 1.5}}))


@each_entry
def test_a_field_of_another_type_is_refused(entry: str) -> None:
    for name, value in json.loads(entry).items():
        for wrong in (None, True, 1, 1.5, "x", [], {}, [value], {"value": value}):
            if type(wrong) is not type(value) and (name, wrong) != ("fire_times", None):
                refused(rewritten(entry, **{name: wrong}))


@each_entry
def test_any_other_spelling_is_refused(entry: str) -> None:
    document = json.loads(entry)
    backwards = dict(sorted(document.items(), reverse=True))
    for spelling in (
        entry + "\n",
        " " + entry,
        "\ufeff" + entry,
        entry.replace(":", ": ", 1),
        entry.replace(",", ", ", 1),
        json.dumps(document),
        json.dumps(backwards, separators=(",", ":"), ensure_ascii=False),
        entry.replace("2026-", "\\u0032026-", 1),
        entry.replace('"index":7', '"index":7.0'),
        entry.replace('"index":7', '"index":7e0'),
        entry.replace('"index":7', '"index":"7"'),
        entry.replace('"index":7', '"index":07'),
        entry.replace('"index":7', '"index":-7.0'),
        entry.replace(":04:05.000006Z", ":04:05.6Z"),
        entry.replace("05.000006Z", "5.000006Z"),
    ):
        assert spelling != entry
        refused(spelling.encode())
    refused(entry.encode("utf-16"))
    refused(entry.encode("utf-32-le"))


@each_entry
def test_a_field_that_stands_twice_is_refused(entry: str) -> None:
    for name, value in json.loads(entry).items():
        twice = json.dumps({name: value}, separators=(",", ":"), ensure_ascii=False)[1:-1]
        refused(("{" + twice + "," + entry[1:]).encode())
        other = json.dumps({name: "other"}, separators=(",", ":"))[1:-1]
        refused(("{" + other + "," + entry[1:]).encode())


@pytest.mark.parametrize(
    "text", ["-0", "01", "+1", "1e3", "1.0", " 1", "1 ", "1_000", "", "x", "0x1", "\u0661", "²", "--1"]
)
def test_an_amount_that_is_not_in_plain_decimal_is_refused(text: str) -> None:
    for (_, entry), field in ((REVENUE, "amount_minor"), (ROUND, "weight"), (POSTING, "amount_minor")):
        refused(rewritten(entry, **{field: text}))
    document = json.loads(USAGE[1])
    refused(rewritten(USAGE[1], ai_only={**document["ai_only"], "attributed": text}))
    refused(rewritten(POOL[1], policy={**json.loads(POOL[1])["policy"], "cap_minor": text}))


def test_an_amount_is_what_an_account_may_have_or_lack() -> None:
    for amount in (0, -1, 2**53, 2**63 - 1, 1 - 2**63):
        entry = rewritten(POSTING[1], amount_minor=str(amount))
        content = decode(entry, CONTENTS).content
        assert isinstance(content, PostingContent)
        assert content.amount_minor == amount
    for amount in (2**63, -(2**63), 10**4299):
        refused(rewritten(POSTING[1], amount_minor=str(amount)))


def test_a_weight_may_be_of_any_size_and_has_at_most_4300_digits() -> None:
    for weight in (2**64, 10**4299, -(10**4299)):
        entry = rewritten(ROUND[1], weight=str(weight))
        content = decode(entry, CONTENTS).content
        assert isinstance(content, RoundContent)
        assert content.weight == weight
    for digits in ("1" * 4301, "-" + "1" * 4301):
        assert "4,300 digits" in refused(rewritten(ROUND[1], weight=digits)).detail


def test_the_most_digits_do_not_depend_on_how_python_was_started() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        refused(rewritten(ROUND[1], weight="1" * 4301))
    finally:
        sys.set_int_max_str_digits(before)


def nested(depth: int) -> Any:
    return 0 if depth == 0 else [nested(depth - 1)]


def test_an_entry_is_nested_at_most_100_deep() -> None:
    """The entry is the first level, and `content` the second."""
    said = ProposalContent(
        effect="policy.v1", content={"x": nested(98)}, rests_on={}, reason='[{"[', by="o", by_key="k"
    )
    leaf = Leaf("folk", 7, datetime(2026, 1, 2, tzinfo=UTC), said)
    assert decode(encode(leaf).entry, CONTENTS) == leaf
    deeper = said.model_copy(update={"content": {"x": nested(99)}})
    with pytest.raises(ValueError, match="100 deep"):
        encode(Leaf("folk", 7, datetime(2026, 1, 2, tzinfo=UTC), deeper))
    refused(encode(leaf).entry.replace(b"[0]", b"[[0]]"))
    for entry in (
        b"[" * 60_000,
        b'{"a":' * 5_000,
        b'"' + b'\\"' * 30_000,
    ):
        refused(entry)


def test_an_amount_as_a_number_is_refused_even_where_it_would_fit() -> None:
    assert b'"amount_minor":95' in rewritten(POSTING[1], amount_minor=95)
    refused(rewritten(POSTING[1], amount_minor=95))


@pytest.mark.parametrize("digest", ["", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), DIGEST[:-1] + "g", DIGEST + "\n"])
def test_a_digest_that_is_not_64_small_hexadecimal_digits_is_refused(digest: str) -> None:
    refused(rewritten(USAGE[1], body_sha256=digest))
    for field in ("root", "registry_sha256", "statement_sha256"):
        refused(rewritten(ROUND[1], **{field: digest}))


def test_an_unknown_rule_or_type_is_refused() -> None:
    for rule in ("unattributed", "commons_rule", "tempering"):
        refused(rewritten(POOL[1], policy={**json.loads(POOL[1])["policy"], rule: "OTHER"}))
    assert refused(rewritten(POSTING[1], type="posting.v2")).detail == "unknown type 'posting.v2'"
    assert refused(rewritten(POSTING[1], type="")).detail == "unknown type ''"
    with pytest.raises(LedgerCorruptError):
        decode(POSTING[1].encode(), {DecisionContent.type: DecisionContent})


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e999", "9007199254740993", "1" + "0" * 400, "1" + "0" * 5000, "-1.5"]
)
def test_a_number_that_no_reader_of_json_can_trust_is_refused(number: str) -> None:
    """RFC 8785 has the numbers of IEEE 754: beyond 2^53 an integer may change on its way."""
    refused(POSTING[1].replace('"index":7', f'"index":{number}').encode())
    refused(POSTING[1].replace('"round":2', f'"round":{number}').encode())


def test_the_last_safe_integer_is_taken() -> None:
    entry = POSTING[1].replace('"round":2', f'"round":{2**53 - 1}').encode()
    assert decode(entry, CONTENTS).content == PostingContent(round=2**53 - 1, transfer_count=5, amount_minor=95)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"posting.v1"',
        b"{}",
        b'{"type":"posting.v1"}',
        b"\xff",
        b"{" * 100_000,
        b"[" * 100_000,
        POSTING[1].encode()[:-1],
        POSTING[1].replace("folk", "\ud800").encode("utf-8", "surrogatepass"),
        POSTING[1].replace("folk", "\\ud800").encode(),
        DECISION[1].replace("late", "\\udfff").encode(),
        DECISION[1].replace('"late"', "[" * 900 + "]" * 900).encode(),
        DECISION[1].replace('"subject"', '"\\ud800":1,"subject"').encode(),
    ],
)
def test_what_is_no_entry_at_all_is_refused(entry: bytes) -> None:
    str(refused(entry)).encode()  # what is said of it can be sent to whoever asked


def test_an_entry_of_more_than_65535_bytes_is_neither_made_nor_read() -> None:
    def rejection(reason: str) -> Leaf[DecisionContent]:
        return Leaf(
            "folk", 7, TIME, DecisionContent(subject=1, subject_hash="", decision="REJECTED", by="x", reason=reason)
        )

    most = "r" * (MAX_ENTRY_BYTES - len(encode(rejection("")).entry))
    encoded = encode(rejection(most))
    assert len(encoded.entry) == 65_535
    assert decode(encoded.entry, CONTENTS) == rejection(most)
    with pytest.raises(ValueError, match=r"^a decision\.v1 entry has 65,536 bytes, more than 65,535$"):
        encode(rejection(most + "r"))
    refused(encoded.entry.replace(b"rrr", b"rrrr", 1))


def test_a_time_is_logged_in_utc_to_the_microsecond() -> None:
    lisbon_summer = datetime(2026, 7, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    entry = encode(Leaf("folk", 0, lisbon_summer, POSTING[0])).entry
    assert json.loads(entry)["time"] == "2026-06-30T23:30:00.000000Z"
    assert decode(entry, CONTENTS).time == lisbon_summer


def test_a_refusal_names_the_leaf() -> None:
    assert refused(rewritten(POSTING[1], another=1)).subject == "leaf 7 of 'folk'"


def test_positions_are_a_bitmap_that_ends_with_the_last_one() -> None:
    assert encode_positions([]) == ""
    assert encode_positions([0]) == "AQ=="
    assert encode_positions([7]) == "gA=="
    assert encode_positions([8]) == "AAE="
    assert encode_positions([9, 0, 1]) == "AwI="  # 0b011, 0b10
    assert decode_positions("AwI=") == [0, 1, 9]
    assert decode_positions("") == []


def test_every_position_of_the_largest_batch_fits_an_entry_with_room_to_spare() -> None:
    everywhere = list(range(65_536))
    text = encode_positions(everywhere)
    assert len(text) == 10_924
    assert decode_positions(text) == everywhere


@pytest.mark.parametrize(
    "text",
    [
        "AQ",
        "AQ=",
        "AQ===",
        "A",
        "=",
        "AQ==\n",
        " AQ==",
        "AQ==AQ==",
        "AR==",
        "AQA=",
        "AA==",
        "AwI=AA==",
        "é",
        "-_==",
        "A Q==",
    ],
)
def test_another_spelling_of_positions_is_refused(text: str) -> None:
    with pytest.raises(LedgerCorruptError) as error:
        decode_positions(text)
    assert error.value.subject == "duplicates"


def test_a_posting_names_those_set_aside_only_where_there_are_some() -> None:
    content, entry = POSTING_SET_ASIDE
    assert encode(Leaf("folk", 7, TIME, content)).entry.decode() == entry
    assert decode(entry.encode(), CONTENTS).content == content
    refused(rewritten(POSTING[1], set_aside=[]))
