"""Replay by example: a pool with a history, and everything that could be wrong with it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from audit.findings import Finding, Where
from audit.progress import Progress
from audit.replay import replay_round
from audit.steps import Step
from ledger.acts.entries import Decision, DecisionContent
from ledger.errors import LedgerCorruptError
from ledger.journal import Purpose, Transfer
from ledger.log.leaves import EncodedLeaf, Leaf, encode
from ledger.log.merkle import EMPTY_ROOT, leaf_hash
from ledger.registry import NANO, Collective, CollectiveStatus
from ledger.usage.entries import (
    MethodContent,
    ModeTotals,
    decode_positions,
    encode_positions,
)
from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.methods import ScoreKind, ScoreRule
from payout.entries import (
    PolicyContent,
    PoolContent,
    PostingContent,
    RoundContent,
)
from payout.policy import CommonsRule, Policy, Tempering
from payout.statement import parse_statement, render_registry, render_statement
from tests.support.batches import Event, body_of, event_id
from tests.support.pool_log import START, PoolLog
from tests.support.replay_history import (
    ALONE,
    APPROVAL_1,
    APPROVAL_3,
    BATCH,
    CORRECTED,
    HISTORY,
    LAST_REVENUE,
    LATE,
    METHOD,
    PAYMENT,
    POLICY,
    POOL,
    POSTING_1,
    POSTING_3,
    PPM,
    R_BATCH,
    R_REPEATS,
    R_REVENUE,
    R_ROUND_1,
    R_ROUND_2,
    REJECTION,
    REPEATS,
    REVENUE,
    REVIEWED,
    ROUND_1,
    ROUND_2,
    ROUND_3,
    TAKEN,
    TAKEN_NEW,
    ZEN_REVENUE,
)


@pytest.fixture
def log() -> PoolLog:
    """The history, to be tampered with."""
    return deepcopy(HISTORY)


def finding(leaf_index: int, figure: str, claimed: str, expected: str, line: int = 0) -> Finding:
    return Finding(Where(leaf_index, line=line), figure, claimed, expected)


def finding_of(log: PoolLog, round_leaf: int) -> Finding:
    found = log.replay(round_leaf).finding
    assert found is not None, "the replay matched"
    return found


def place(log: PoolLog, round_leaf: int) -> tuple[int, str]:
    found = finding_of(log, round_leaf)
    assert found.where.line == 0
    return found.where.leaf_index, found.figure


# Without tampering.


def test_the_history_has_the_leaves_that_these_tests_name(log: PoolLog) -> None:
    assert [log.content(index).type.removesuffix(".v1") for index in range(log.size())] == [
        "pool", "method", "report", "usage", "usage", "policy", "usage", "round", "decision", "posting", "report",
        "method", "usage", "round", "decision", "usage", "round", "decision", "posting", "payment", "report",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("round_leaf", "events", "shares"),
    # Round 1: of two batches, 4 events accepted and 6 shares in their bodies. Rounds 2 and 3: from where round 1 ended.
    [(ROUND_1, 4, 6), (ROUND_2, 2, 2), (ROUND_3, 3, 3)],
)
def test_every_round_of_a_pool_replays_to_a_match(log: PoolLog, round_leaf: int, events: int, shares: int) -> None:
    verdict = log.replay(round_leaf)
    assert verdict.finding is None
    assert verdict.progress == Progress(leaves=21, leaf_total=21, events=events, shares=shares)


def test_progress_is_told_leaf_by_leaf(log: PoolLog) -> None:
    steps = list(replay_round(log, log.registry, ROUND_1))
    assert [step.leaves for step in steps] == list(range(1, 22))
    assert {step.leaf_total for step in steps} == {21}
    assert [step.events for step in steps[:6]] == [0, 0, 0, 3, 4, 4]


def test_the_amounts_of_the_first_round_are_those_worked_out_by_hand(log: PoolLog) -> None:
    # In units of 0.9 (the confidence): Éire 3 * 0.3 + 5 * 0.25 = 2.15, Han 3 * 0.5 + 2 = 3.5; so 5.085 attributed, and
    # 17 - 5.085 = 11.915 not. Fee 500, commons share 950, and 8550 over 5.085 : 11.915 = 2557.455... and 5992.544...
    # 2557.455 over 2.15 : 3.5 = 973.19 and 1584.26. Commons 950 + 5992.544 = 6942.544 = 3 * 2314.18.
    lines = parse_statement(log.bodies[bytes.fromhex(log.content(ROUND_1).statement_sha256)])
    assert [(line.attributed_minor, line.commons_minor) for line in lines] == [(973, 2314), (1584, 2314), (0, 2314)]
    assert [line.commons_after_nano // 10**6 for line in lines] == [181, 181, 181]
    assert (log.content(ROUND_1).fee_minor, log.content(ROUND_1).rounding_minor) == (500, 1)


def test_a_round_that_is_not_decided_or_not_posted_replays_as_well(log: PoolLog) -> None:
    for size in (ROUND_3 + 1, APPROVAL_3 + 1):
        log.entries, journal = log.entries[:size], log.journal
        log.journal = {index: moved for index, moved in journal.items() if index < size}
        assert log.replay(ROUND_3).finding is None


# An entry, its hash, its place.


@pytest.mark.parametrize("index", range(21))
def test_a_changed_entry_or_hash_is_found_at_its_leaf(log: PoolLog, index: int) -> None:
    leaf = log.entries[index]
    for entry, digest in (
        (leaf.entry.replace(b"folk", b"funk"), leaf.hash),
        (leaf.entry + b" ", leaf.hash),
        (b"", leaf.hash),
        (leaf.entry, bytes(32)),
        (leaf.entry, leaf.hash[:31]),
        (leaf.entry, b""),
    ):
        log.entries[index] = EncodedLeaf(index, entry, digest)
        for round_leaf in (ROUND_1, ROUND_3):
            assert place(log, round_leaf) == (index, "leaf_hash")


@pytest.mark.parametrize("index", range(21))
def test_what_is_no_entry_is_found_at_its_leaf(log: PoolLog, index: int) -> None:
    for entry in (b"", b"{}", b"\xff", log.entries[index].entry + b"\n", log.entries[index].entry[:-1]):
        log.entries[index] = EncodedLeaf(index, entry, leaf_hash(entry))
        assert place(log, ROUND_1) == (index, "entry")


@pytest.mark.parametrize("index", range(21))
def test_the_entry_of_another_pool_or_place_is_found_at_its_leaf(log: PoolLog, index: int) -> None:
    content = log.content(index)
    log.entries[index] = encode(Leaf("other", index, START, content))
    assert place(log, ROUND_1) == (index, "pool")
    other = encode(Leaf("folk", index + 1, START, content))
    log.entries[index] = EncodedLeaf(index, other.entry, other.hash)
    assert place(log, ROUND_1) == (index, "index")


@pytest.mark.parametrize("index", range(20))
def test_a_dropped_leaf_is_found_where_it_stood(log: PoolLog, index: int) -> None:
    """The next one stands where it should not; or there is none before the round's end."""
    del log.entries[index]
    for round_leaf, end in ((ROUND_1, LATE), (ROUND_3, ROUND_3)):
        at_the_end = index in (round_leaf, end - 1)
        assert place(log, round_leaf) == ((index, "leaf") if at_the_end else (index + 1, "index"))


def test_a_dropped_last_leaf_is_found_where_the_log_says_that_it_is_longer(log: PoolLog) -> None:
    size = log.size()
    log.size = lambda: size  # type: ignore[method-assign]  # a head that still counts it
    del log.entries[-1]
    assert place(log, ROUND_3) == (LAST_REVENUE, "leaf")


def test_a_hole_that_the_reader_finds_is_a_divergence(log: PoolLog) -> None:
    intact = log.leaves

    def leaves(start: int, end: int) -> Any:
        for leaf in intact(start, end):
            if leaf.index == BATCH:
                raise LedgerCorruptError("pools/folk/leaves/3", "is missing from the log")
            yield leaf

    log.leaves = leaves  # type: ignore[method-assign]  # as the store does
    assert place(log, ROUND_1) == (BATCH, "leaf")


@pytest.mark.parametrize("first", range(20))
def test_swapped_leaves_are_found(log: PoolLog, first: int) -> None:
    """Handed over in the wrong order, or each under the other's index."""
    one, other = log.entries[first : first + 2]
    round_leaf = ROUND_1 if first > ROUND_1 else ROUND_3
    log.entries[first : first + 2] = [other, one]
    assert place(log, round_leaf) == (first + 1, "index")
    log.entries[first : first + 2] = [replace(other, index=first), replace(one, index=first + 1)]
    assert place(log, round_leaf) == (round_leaf if round_leaf in (first, first + 1) else first, "index")


def test_an_additional_leaf_is_found_by_the_root(log: PoolLog) -> None:
    """Every later leaf renumbered, so that only the root, which the round committed to, tells."""
    contents = [log.content(index) for index in range(log.size())]
    contents.insert(REVENUE + 1, contents[METHOD].model_copy(update={"method": "other", "confidence_ppm": 0}))
    log.entries = [encode(Leaf("folk", index, START, content)) for index, content in enumerate(contents)]
    log.journal = {index + (index > REVENUE): moved for index, moved in log.journal.items()}
    assert place(log, ROUND_1 + 1) == (ROUND_1 + 1, "root")


def test_a_round_leaf_that_is_none_or_is_not_there_is_a_divergence(log: PoolLog) -> None:
    assert place(log, BATCH) == (BATCH, "type")
    assert place(log, 21) == (21, "leaf")
    assert place(log, 10**12) == (10**12, "leaf")
    assert place(PoolLog(), 0) == (0, "leaf")


@pytest.mark.parametrize("index", [METHOD, REVENUE, BATCH, REPEATS, POLICY])
def test_a_leaf_with_another_content_and_the_right_hash_is_found_by_the_root(log: PoolLog, index: int) -> None:
    harmless: dict[int, dict[str, Any]] = {
        METHOD: {"display_name": "M"},
        REVENUE: {"note": "x"},
        BATCH: {"batch_id": "x"},
        REPEATS: {"batch_id": "x"},
        POLICY: {"policy": ALONE},
    }
    log.change(index, seal=False, **harmless[index])
    assert place(log, ROUND_1) == (ROUND_1, "root")


# Usage, sealed: hashes and roots are right, and only what the entry says is not.


@pytest.mark.parametrize(
    ("fields", "figure"),
    [
        ({"accepted": 2}, "accepted"),
        ({"accepted": 4}, "accepted"),
        ({"duplicates": "AQ=="}, "accepted"),
        ({"duplicates": "AQ==", "accepted": 2}, "mode 1 events"),
        ({"duplicates": "CA=="}, "duplicates"),  # position 3 of three events
        ({"duplicates": "AAAAAAAAAAAB"}, "duplicates"),
        ({"duplicates": "not base64"}, "duplicates"),
        ({"duplicates": "AA=="}, "duplicates"),
        ({"body_bytes": 0}, "body_bytes"),
        ({"body_sha256": "0" * 64}, "body_sha256"),
        ({"method": "other"}, "method_version"),
        ({"method_version": 2}, "method_version"),
        ({"method_version": 0}, "method_version"),
        ({"ai_only": ModeTotals(events=1, attributed=2_400_000_000, unattributed=7_600_000_000)}, "mode 1 events"),
        ({"ai_only": ModeTotals(events=2, attributed=2_400_000_001, unattributed=7_600_000_000)}, "mode 1 attributed"),
        (
            {"ai_only": ModeTotals(events=2, attributed=2_400_000_000, unattributed=7_599_999_999)},
            "mode 1 unattributed",
        ),
        ({"human_ai": ModeTotals(events=0, attributed=0, unattributed=0)}, "mode 2 events"),
        ({"human_ai": ModeTotals(events=1, attributed=0, unattributed=2_000_000_000)}, "mode 2 attributed"),
        ({"human_ai": ModeTotals(events=1, attributed=2_000_000_000, unattributed=1)}, "mode 2 unattributed"),
    ],
)
def test_a_batch_that_says_what_its_body_does_not_is_found(log: PoolLog, fields: dict[str, Any], figure: str) -> None:
    assert log.content(BATCH).ai_only == ModeTotals(events=2, attributed=2_400_000_000, unattributed=7_600_000_000)
    log.change(BATCH, **fields)
    assert place(log, ROUND_1) == (BATCH, figure)


def test_a_repeat_that_is_counted_is_found(log: PoolLog) -> None:
    """Position 2 of the second batch has the id of position 1."""
    assert log.content(REPEATS).duplicates == "BQ=="  # positions 0 and 2
    log.change(REPEATS, duplicates="AQ==", accepted=2)
    assert finding_of(log, ROUND_1) == finding(REPEATS, "duplicates", "[]", "[2]")


@pytest.mark.parametrize("index", [BATCH, REPEATS])
def test_a_changed_or_missing_body_is_found_at_its_leaf(log: PoolLog, index: int) -> None:
    digest = bytes.fromhex(log.content(index).body_sha256)
    body = log.bodies[digest]
    for changed in (body + b"\x00", body[:-1] + b"\x01", b"", body_of([Event(event_id(1))])):
        log.bodies[digest] = changed
        assert place(log, ROUND_1) == (index, "body_sha256")
    del log.bodies[digest]
    assert place(log, ROUND_1) == (index, "body_sha256")


def test_a_body_that_is_no_batch_is_found_at_its_leaf(log: PoolLog) -> None:
    for body in (b"", b"\xff" * 100, body_of([Event(event_id(1), units=0)])):
        log.change(BATCH, body_sha256=log.put(body), body_bytes=len(body))
        assert place(log, ROUND_1) == (BATCH, "body")


def test_a_body_with_other_shares_is_found_by_the_totals(log: PoolLog) -> None:
    body = body_of([
        Event(event_id(1), "urn:1", 0, 3, AI_ONLY, (("eire", 500_000_000), ("han", 300_000_001))),
        Event(event_id(2), None, 0, 2, HUMAN_AI, (("han", NANO),)),
        Event(event_id(3), None, 0, 7, AI_ONLY, ()),
    ])  # fmt: skip
    log.change(BATCH, body_sha256=log.put(body), body_bytes=len(body))
    assert place(log, ROUND_1) == (BATCH, "mode 1 attributed")


def test_a_body_with_the_same_totals_and_other_collectives_is_found_in_the_statement(log: PoolLog) -> None:
    body = body_of([
        Event(event_id(1), "urn:1", 0, 3, AI_ONLY, (("eire", 500_000_000), ("han", 300_000_000))),
        Event(event_id(2), None, 0, 2, HUMAN_AI, (("han", NANO),)),
        Event(event_id(3), None, 0, 7, AI_ONLY, ()),
    ])  # fmt: skip
    log.change(BATCH, body_sha256=log.put(body), body_bytes=len(body))
    assert finding_of(log, ROUND_1) == finding(ROUND_1, "weight_ai_only", "900000000", "1500000000", line=2)


def test_usage_of_a_collective_that_the_snapshot_lacks_is_found(log: PoolLog) -> None:
    snapshot = render_registry([Collective("han", "汉", 100), Collective("quebec", "Q", 50)])
    log.change(ROUND_1, registry_sha256=log.put(snapshot))
    assert finding_of(log, ROUND_1) == finding(ROUND_1, "collectives not in the registry", "['eire']", "[]")


def test_late_usage_is_of_the_next_round(log: PoolLog) -> None:
    """It stands before the first round's leaf, and at that round's end."""
    assert log.content(ROUND_1).end == LATE
    log.change(LATE, accepted=0)
    assert log.replay(ROUND_1).finding is None
    assert place(log, ROUND_3) == (LATE, "accepted")


# Policies, methods and money, sealed.


@pytest.mark.parametrize(
    ("fields", "line", "figure"),
    [
        ({"fee_ppm": 51_000}, 2, "attributed_minor"),
        ({"commons_ppm": 200_000}, 2, "attributed_minor"),
        ({"commons_rule": CommonsRule.PER_CAPITA}, 2, "commons_minor"),
        ({"tempering": Tempering.EQUAL}, 2, "attributed_minor"),
        ({"ai_only_ppm": 999_999}, 2, "weight"),
        ({"cap_minor": 1583}, 2, "attributed_minor"),
        ({"floor_minor": 974}, 2, "attributed_minor"),
        ({"fee_cap_minor": 0}, 2, "attributed_minor"),
    ],
)
def test_another_policy_is_found_in_the_statement(log: PoolLog, fields: dict[str, Any], line: int, figure: str) -> None:
    log.change(POOL, policy=ALONE.model_copy(update=fields))
    found = finding_of(log, ROUND_1)
    assert (found.where.leaf_index, found.where.line, found.figure) == (ROUND_1, line, figure)


def test_the_policy_of_a_round_is_the_last_before_its_start(log: PoolLog) -> None:
    assert (log.content(ROUND_1).policy_leaf, log.content(ROUND_3).policy_leaf) == (POOL, POLICY)
    for round_leaf, policy_leaf, version in ((ROUND_1, POLICY, 2), (ROUND_3, POOL, 1)):
        right = log.content(round_leaf)
        log.change(round_leaf, policy_version=version)
        assert place(log, round_leaf) == (round_leaf, "policy_version")
        log.change(round_leaf, policy_leaf=policy_leaf)
        assert place(log, round_leaf) == (round_leaf, "policy_leaf")
        log.rewrite(round_leaf, right)


def test_a_policy_logged_at_the_start_of_a_round_is_in_force_in_the_next() -> None:
    """The rules of a round are in the log before its first event."""
    log = PoolLog(collectives=HISTORY.collectives)
    log.open(ALONE)
    log.method(PPM)
    for number in range(3):
        log.revenue(1_000)
        log.usage([Event(event_id(100 + number), None, 0, 1, AI_ONLY, (("eire", NANO),))])
        log.calculate(meanwhile=lambda: log.policy(ALONE))
        log.decide(Decision.APPROVED, "policy")
        log.post()
    rounds = log.placed(RoundContent)
    policies = [index for index, _ in log.placed(PolicyContent)]
    assert [content.start for _, content in rounds] == [0, policies[0], policies[1]]
    assert [content.policy_leaf for _, content in rounds] == [0, 0, policies[0]]
    assert [log.replay(index).finding for index, _ in rounds] == [None] * 3
    last, content = rounds[-1]
    log.change(last, policy_leaf=policies[1], policy_version=content.policy_version + 1)
    assert place(log, last) == (last, "policy_leaf")


@pytest.mark.parametrize(
    "fields",
    [{"fee_ppm": -1}, {"fee_ppm": 1_000_001}, {"commons_ppm": 1_000_001}, {"floor_minor": 5, "cap_minor": 4},
     {"floor_minor": -1}, {"cap_minor": -1}, {"ai_only_ppm": -1}, {"fee_cap_minor": -1}],
)  # fmt: skip
def test_a_policy_that_the_service_would_not_take_is_found_at_its_leaf(log: PoolLog, fields: dict[str, Any]) -> None:
    log.change(POLICY, policy=REVIEWED.model_copy(update=fields))
    assert place(log, ROUND_3) == (POLICY, "policy.v1")
    log.change(POOL, policy=ALONE.model_copy(update=fields))
    assert place(log, ROUND_1) == (POOL, "pool.v1")


@pytest.mark.parametrize("confidence_ppm", [-1, 1_000_001])
def test_a_confidence_past_its_bounds_is_found_at_its_leaf(log: PoolLog, confidence_ppm: int) -> None:
    log.change(METHOD, confidence_ppm=confidence_ppm)
    assert place(log, ROUND_1) == (METHOD, "method.v1")


def test_another_confidence_is_found_in_the_statement(log: PoolLog) -> None:
    log.change(METHOD, confidence_ppm=900_001)
    found = finding_of(log, ROUND_1)
    assert (found.where.leaf_index, found.where.line, found.figure) == (ROUND_1, 2, "weight")


@pytest.mark.parametrize("index", [REVENUE, ZEN_REVENUE, PAYMENT, LAST_REVENUE, POSTING_1, POSTING_3])
def test_a_changed_dropped_or_additional_transfer_is_found_at_its_leaf(log: PoolLog, index: int) -> None:
    moved = log.journal[index]
    for number, transfer in enumerate(moved):
        for changed in (
            transfer._replace(amount_minor=transfer.amount_minor + 1),
            transfer._replace(to_account="collective/mallory"),
            transfer._replace(from_account="platform/mallory"),
            transfer._replace(purpose=Purpose.FEE if transfer.purpose is not Purpose.FEE else Purpose.COMMONS),
        ):
            log.journal[index] = [*moved[:number], changed, *moved[number + 1 :]]
            assert place(log, ROUND_3) == (index, "transfer")
    for changed_list in (moved[:-1], [*moved, moved[-1]], []):
        log.journal[index] = changed_list
        assert place(log, ROUND_3) == (index, "transfers")
    if len(moved) > 1:
        log.journal[index] = [moved[1], moved[0], *moved[2:]]
        assert place(log, ROUND_3) == (index, "transfer")


@pytest.mark.parametrize("index", [REVENUE, ZEN_REVENUE, PAYMENT, LAST_REVENUE])
def test_another_amount_than_was_moved_is_found_at_its_leaf(log: PoolLog, index: int) -> None:
    amount = log.content(index).amount_minor
    log.change(index, amount_minor=amount + 1)
    assert place(log, ROUND_3) == (index, "transfer")
    for wrong in (0, -amount):
        log.change(index, amount_minor=wrong)
        assert place(log, ROUND_3) == (index, log.content(index).type)


def test_a_payment_of_more_than_there_is_is_found_at_its_leaf(log: PoolLog) -> None:
    held = log.balance("collective/eire") + 100
    log.change(PAYMENT, amount_minor=held)
    log.journal[PAYMENT] = [Transfer("collective/eire", "paid/eire", held, Purpose.PAYMENT)]
    assert log.replay(ROUND_3).finding is None
    log.change(PAYMENT, amount_minor=held + 1)
    log.journal[PAYMENT] = [Transfer("collective/eire", "paid/eire", held + 1, Purpose.PAYMENT)]
    assert finding_of(log, ROUND_3) == finding(PAYMENT, "balance of collective/eire", "-1", "zero or more")


# The round's own entry and statement.


@pytest.mark.parametrize(
    "figure",
    ["events", "retracted", "weight", "weight_unattributed", "deficit_unattributed", "pot_minor", "fee_minor",
     "attributed_minor", "commons_minor", "commons_kept_minor", "carried_minor"],
)  # fmt: skip
@pytest.mark.parametrize("round_leaf", [ROUND_2, ROUND_3])
def test_every_figure_of_a_round_is_held_against_the_replay(log: PoolLog, round_leaf: int, figure: str) -> None:
    right = getattr(log.content(round_leaf), figure)
    for wrong in (right + 1, right - 1, -right - 1, right + 2**52):
        log.change(round_leaf, **{figure: wrong})
        assert finding_of(log, round_leaf) == finding(round_leaf, figure, str(wrong), str(right))


@pytest.mark.parametrize(
    ("fields", "figure"),
    [
        ({"start": 0}, "start"),
        ({"start": LATE + 1}, "start"),
        ({"previous": 0}, "previous"),
        ({"previous": 2}, "previous"),
        ({"root": "0" * 64}, "root"),
        ({"registry_sha256": "0" * 64}, "registry_sha256"),
        ({"statement_sha256": "0" * 64}, "statement_sha256"),
        ({"weights_sha256": "0" * 64}, "weights_sha256"),
        ({"end": ROUND_3 + 1}, "end"),
        ({"end": 10**9}, "end"),
        ({"end": 0}, "end"),
        ({"end": -1}, "end"),
        ({"end": ROUND_3 - 1}, "root"),
    ],
)
def test_what_a_round_follows_from_is_held_against_the_replay(
    log: PoolLog, fields: dict[str, Any], figure: str
) -> None:
    log.change(ROUND_3, seal=False, **fields)
    assert place(log, ROUND_3) == (ROUND_3, figure)


def test_a_round_of_nothing_is_a_divergence(log: PoolLog) -> None:
    log.change(ROUND_1, seal=False, start=0, end=0, root=EMPTY_ROOT.hex())
    assert place(log, ROUND_1) == (ROUND_1, "end")


def test_a_number_out_of_turn_is_found_at_the_next_replay_step(log: PoolLog) -> None:
    for number in (0, 1, 3, 100):
        log.change(ROUND_2, number=number)
        assert place(log, ROUND_3) == (ROUND_2, "number")


@pytest.mark.parametrize(
    ("line", "figure", "at"),
    [(2, "events", 2), (2, "weight_ai_only", 3), (3, "weight_human_ai", 4), (4, "deficit_before", 5), (2, "weight", 6),
     (3, "deficit_after", 7), (4, "attributed_minor", 8), (3, "commons_minor", 9), (2, "amount_minor", 10)],
)  # fmt: skip
def test_a_changed_figure_of_the_statement_is_named_with_its_line(
    log: PoolLog, line: int, figure: str, at: int
) -> None:
    statement = log.bodies[bytes.fromhex(log.content(ROUND_1).statement_sha256)]
    rows = [row.split(b",") for row in statement.split(b"\n")]
    right = rows[line - 1][at].decode()
    rows[line - 1][at] = b"%d" % (int(right) + 1)
    log.restate(ROUND_1, b"\n".join(b",".join(row) for row in rows))
    assert finding_of(log, ROUND_1) == finding(ROUND_1, figure, str(int(right) + 1), right, line)


def test_a_statement_that_says_who_is_held_otherwise_is_named_with_its_line(log: PoolLog) -> None:
    statement = log.bodies[bytes.fromhex(log.content(ROUND_3).statement_sha256)]
    log.restate(ROUND_3, statement.replace(b"SUSPENDED", b"ACTIVE"))
    assert finding_of(log, ROUND_3) == finding(ROUND_3, "status", "ACTIVE", "SUSPENDED", line=3)


def test_any_other_statement_is_a_divergence_of_its_round(log: PoolLog) -> None:
    statement = log.bodies[bytes.fromhex(log.content(ROUND_1).statement_sha256)]
    for changed in (
        statement + b"x",
        statement[:-1],
        statement + b"zz,ACTIVE,0,0,0,0,0,0,0,0,0\n",
        b"".join(statement.splitlines(keepends=True)[:-1]),
        statement.replace(b"\n", b"\r\n"),
        statement.replace(b"quebec", b"qu\xffebec"),
        statement.replace(b"eire,ACTIVE", b"eire,ACTIVE,ACTIVE"),
        b"",
        b"\xff",
        b"\n" * 50,
    ):
        log.restate(ROUND_1, changed)
        assert finding_of(log, ROUND_1).where.leaf_index == ROUND_1


def test_the_statement_of_a_round_before_is_read_where_it_is_posted(log: PoolLog) -> None:
    statement = log.bodies[bytes.fromhex(log.content(ROUND_1).statement_sha256)]
    for changed in (statement + b"x", statement[:-1], statement.replace(b"eire,", b"zz,"), b"", b"\xff"):
        log.restate(ROUND_1, changed)
        assert place(log, ROUND_3) == (POSTING_1, "statement")
    log.restate(ROUND_1, statement.replace(b"eire,", b"dodo,"))
    assert place(log, ROUND_3) == (POSTING_1, "transfer")


def test_a_body_behind_a_round_that_was_changed_or_is_gone_is_found(log: PoolLog) -> None:
    for figure in ("statement_sha256", "registry_sha256"):
        tampered = deepcopy(HISTORY)
        digest = bytes.fromhex(getattr(log.content(ROUND_3), figure))
        tampered.bodies[digest] += b"\n"
        assert place(tampered, ROUND_3) == (ROUND_3, figure)
        del tampered.bodies[digest]
        assert place(tampered, ROUND_3) == (ROUND_3, figure)


@pytest.mark.parametrize(
    ("collectives", "line", "figure"),
    [
        (
            [Collective("eire", "É", 301), Collective("han", "汉", 100), Collective("quebec", "Q", 50)],
            2,
            "commons_minor",
        ),
        (
            [Collective("eire", "É", 300), Collective("han", "汉", 100)],
            0,
            "collectives not in the registry",  # which has an account since round 1
        ),
    ],
)
def test_another_snapshot_of_the_registry_is_found(
    log: PoolLog, collectives: list[Collective], line: int, figure: str
) -> None:
    collectives[1] = replace(collectives[1], status=CollectiveStatus.SUSPENDED)
    log.change(ROUND_3, registry_sha256=log.put(render_registry(collectives)))
    found = finding_of(log, ROUND_3)
    assert found.where.leaf_index == ROUND_3
    assert (found.where.line, found.figure) == (line, figure)


def test_a_snapshot_that_is_not_canonical_is_found(log: PoolLog) -> None:
    for snapshot in (b"", b"\xff", render_registry(log.collectives[::-1]), render_registry(log.collectives)[:-1]):
        log.change(ROUND_3, registry_sha256=log.put(snapshot))
        assert place(log, ROUND_3) == (ROUND_3, "registry")


# Decisions and postings.


@pytest.mark.parametrize("by", ["", "policy", "scheduler", "collectives/eire"])
def test_an_approval_by_nobody_is_found(log: PoolLog, by: str) -> None:
    log.change(APPROVAL_3, by=by)
    assert place(log, ROUND_3) == (APPROVAL_3, "by")


def test_a_round_without_review_may_be_approved_by_an_operator_too(log: PoolLog) -> None:
    log.change(APPROVAL_1, by="operators/oscar")
    assert log.replay(ROUND_1).finding is None


def test_a_rejection_may_be_by_the_one_who_calculated(log: PoolLog) -> None:
    log.change(REJECTION, by="operators/olive")
    assert log.replay(ROUND_2).finding is None


def test_a_posting_of_what_was_not_approved_is_found(log: PoolLog) -> None:
    for decision in ("APPROVE", ""):
        log.change(APPROVAL_3, decision=decision)
        assert place(log, ROUND_3) == (APPROVAL_3, "decision")
    log.change(APPROVAL_3, decision="REJECTED")
    assert finding_of(log, ROUND_3) == finding(POSTING_3, "decision", "REJECTED", "APPROVED")
    log.rewrite(APPROVAL_3, PolicyContent(version=3, policy=ALONE))
    assert finding_of(log, ROUND_3) == finding(POSTING_3, "decision", "", "APPROVED")


def test_a_second_decision_on_a_round_is_found(log: PoolLog) -> None:
    for subject in (ROUND_1, ROUND_2, ROUND_3):
        again = DecisionContent(
            subject=subject, subject_hash=log.entries[subject].hash.hex(), decision="APPROVED", reason=""
        )
        log.rewrite(LAST_REVENUE, again)
        assert place(log, ROUND_3) == (LAST_REVENUE, "subject")


@pytest.mark.parametrize("subject", [-1, 0, BATCH, LAST_REVENUE, 10**9])
def test_a_decision_of_what_is_no_round_is_found(log: PoolLog, subject: int) -> None:
    log.rewrite(LAST_REVENUE, DecisionContent(subject=subject, subject_hash="", decision="APPROVED", reason=""))
    assert place(log, ROUND_3) == (LAST_REVENUE, "subject")


def test_a_decision_that_names_its_round_by_another_hash_is_found(log: PoolLog) -> None:
    log.change(REJECTION, subject_hash="0" * 64)
    assert place(log, ROUND_3) == (REJECTION, "subject_hash")


def test_a_second_posting_of_a_round_is_found(log: PoolLog) -> None:
    for number, posting in ((1, POSTING_1), (3, POSTING_3)):
        log.rewrite(LAST_REVENUE, log.content(posting))
        log.journal[LAST_REVENUE] = log.journal[posting]
        assert finding_of(log, ROUND_3) == finding(
            LAST_REVENUE, "round", str(number), "a round that was not posted before"
        )


def test_a_posting_of_a_round_that_does_not_stand_before_it_is_found(log: PoolLog) -> None:
    for number in (0, 4, -1):
        log.rewrite(LAST_REVENUE, PostingContent(round=number, transfer_count=0, amount_minor=0))
        assert place(log, ROUND_3) == (LAST_REVENUE, "round")


@pytest.mark.parametrize("posting", [POSTING_1, POSTING_3])
def test_a_posting_that_says_another_number_or_amount_is_found(log: PoolLog, posting: int) -> None:
    content = log.content(posting)
    log.change(posting, transfer_count=content.transfer_count + 1)
    assert place(log, ROUND_3) == (posting, "transfer_count")
    log.change(posting, transfer_count=content.transfer_count, amount_minor=content.amount_minor - 1)
    assert place(log, ROUND_3) == (posting, "amount_minor")


def test_a_posting_of_more_than_there_is_is_found_even_if_round_statement_and_journal_agree(log: PoolLog) -> None:
    """An earlier round is not calculated again, but its money must have been there."""
    content = log.content(ROUND_1)
    lines = parse_statement(log.bodies[bytes.fromhex(content.statement_sha256)])
    lines[0] = lines[0]._replace(attributed_minor=lines[0].attributed_minor + 1)
    log.restate(ROUND_1, render_statement(lines))
    moved = log.journal[POSTING_1]
    (first,) = [number for number, transfer in enumerate(moved) if transfer.amount_minor == 973]
    moved[first] = moved[first]._replace(amount_minor=974)
    log.change(POSTING_1, amount_minor=log.content(POSTING_1).amount_minor + 1)
    assert finding_of(log, ROUND_3) == finding(POSTING_1, "balance of revenue", "-1", "0")


def test_a_negative_fee_in_a_round_before_is_found_where_it_is_posted(log: PoolLog) -> None:
    log.change(ROUND_1, fee_minor=-500)
    assert place(log, ROUND_3) == (POSTING_1, "posting.v1")


def test_a_pool_is_opened_first_and_once(log: PoolLog) -> None:
    log.rewrite(
        POLICY,
        PoolContent(
            display_name="Folk", currency="EUR", distribute="REPORTED", policy=REVIEWED, platforms=["acme", "zen"]
        ),
    )
    assert place(log, ROUND_1) == (POLICY, "type")
    log.rewrite(POOL, MethodContent(method="n", version=1, display_name="N", confidence_ppm=1, evidence_uri=""))
    assert place(log, ROUND_1) == (POOL, "type")


# Retractions, releases and grants: a second history.

RELEASE, RETURN, GRANT, R_BATCH_3, R_REPORT_3, R_ROUND_3 = range(15, 21)


@pytest.fixture
def corrected() -> PoolLog:
    """The second history, to be tampered with."""
    return deepcopy(CORRECTED)


def test_the_corrected_history_has_the_leaves_that_these_tests_name(corrected: PoolLog) -> None:
    assert [corrected.content(index).type.removesuffix(".v1") for index in range(corrected.size())] == [
        "pool", "method", "report", "usage", "usage", "round", "decision", "posting", "usage", "retraction",
        "retraction", "report", "round", "decision", "posting", "release", "release", "grant", "usage", "report",
        "round",
    ]  # fmt: skip


def test_rounds_with_retractions_releases_and_grants_replay_to_a_match(corrected: PoolLog) -> None:
    for index, events in ((R_ROUND_1, 4), (R_ROUND_2, 2), (R_ROUND_3, 1)):
        verdict = corrected.replay(index)
        assert verdict.finding is None
        assert (verdict.progress.leaves, verdict.progress.events) == (21, events)


def test_the_deficits_of_a_round_are_those_worked_out_by_hand(corrected: PoolLog) -> None:
    # Taken back from round 1: Éire 3, Han 2.5 and 2.5 of nobody's; the new event is taken back in its own round.
    second, third = (corrected.content(index) for index in (R_ROUND_2, R_ROUND_3))
    unit = NANO * PPM * PPM
    assert (second.events, second.retracted, second.weight) == (2, 3, 0)
    # Nobody's 10 pay for nobody's 2.5 first.
    assert (second.weight_unattributed, second.deficit_unattributed) == (15 * unit // 2, 0)
    lines = parse_statement(corrected.bodies[bytes.fromhex(second.statement_sha256)])
    assert [(line.events, line.deficit_before, line.deficit_after) for line in lines] == [
        (-1, 0, 3 * unit),
        (-1, 0, 5 * unit // 2),
    ]
    assert (second.carried_minor, second.attributed_minor, second.commons_kept_minor) == (0, 0, 500)
    # Éire's 7 of the third round pay for it first; the others still owe.
    lines = parse_statement(corrected.bodies[bytes.fromhex(third.statement_sha256)])
    assert [(line.deficit_before, line.weight, line.deficit_after) for line in lines] == [
        (3 * unit, 4 * unit, 0),
        (5 * unit // 2, 0, 5 * unit // 2),
    ]
    assert third.deficit_unattributed == 0
    assert third.attributed_minor == 500


@pytest.mark.parametrize(
    ("positions", "figure", "replayed"),
    [
        ([0], "mode 2 events", "0"),
        ([0, 2], "mode 1 events", "2"),
        ([], "mode 1 events", "0"),
        ([0, 1, 3], "positions", "positions below 3"),
    ],
)
def test_a_retraction_of_other_events_than_it_says_is_found(
    corrected: PoolLog, positions: list[int], figure: str, replayed: str
) -> None:
    assert decode_positions(corrected.content(TAKEN).positions) == [0, 1]
    corrected.change(TAKEN, positions=encode_positions(positions))
    found = finding_of(corrected, R_ROUND_2)
    assert (found.where.leaf_index, found.figure, found.expected) == (TAKEN, figure, replayed)


@pytest.mark.parametrize("text", ["not base64", "AA==", "/", "AwA="])
def test_positions_that_are_no_canonical_bitmap_are_found(corrected: PoolLog, text: str) -> None:
    corrected.change(TAKEN, positions=text)
    for round_leaf in (R_ROUND_1, R_ROUND_2, R_ROUND_3):
        assert place(corrected, round_leaf) == (TAKEN, "positions")


def test_an_event_that_was_taken_back_twice_is_found_in_any_round(corrected: PoolLog) -> None:
    again = corrected.content(TAKEN)
    corrected.rewrite(TAKEN_NEW, again)
    for round_leaf in (R_ROUND_2, R_ROUND_3):
        found = finding_of(corrected, round_leaf)
        assert found == finding(TAKEN_NEW, "positions retracted before", "[0, 1]", "[]")


def test_a_retraction_of_an_event_that_was_never_accepted_is_found(corrected: PoolLog) -> None:
    """Position 0 of the second batch repeats an event of the first."""
    taken: dict[str, Any] = {
        "batch_leaf": R_REPEATS,
        "ai_only": ModeTotals(events=1, attributed=9 * NANO, unattributed=0),
    }
    nothing = ModeTotals(events=0, attributed=0, unattributed=0)
    corrected.change(TAKEN, positions=encode_positions([0]), human_ai=nothing, **taken)
    assert finding_of(corrected, R_ROUND_2) == finding(TAKEN, "positions never accepted", "[0]", "[]")


@pytest.mark.parametrize(
    ("batch_leaf", "logged", "replayed"),
    [
        (R_REVENUE, "report.v1", "usage.v1"),
        (R_ROUND_1, "round.v1", "usage.v1"),
        (TAKEN, str(TAKEN), "a leaf before this one"),
        (R_BATCH_3, str(R_BATCH_3), "a leaf before this one"),
        (10**9, str(10**9), "a leaf before this one"),
        (-1, "-1", "a leaf before this one"),
    ],
)
def test_a_retraction_of_what_is_no_batch_before_it_is_found(
    corrected: PoolLog, batch_leaf: int, logged: str, replayed: str
) -> None:
    corrected.change(TAKEN, batch_leaf=batch_leaf)
    for round_leaf in (R_ROUND_2, R_ROUND_3):
        assert finding_of(corrected, round_leaf) == finding(TAKEN, "batch_leaf", logged, replayed)


def test_a_retraction_by_another_platform_is_found(corrected: PoolLog) -> None:
    corrected.change(TAKEN, platform="zen")
    assert finding_of(corrected, R_ROUND_2) == finding(TAKEN, "platform", "zen", "acme")


@pytest.mark.parametrize(
    ("mode", "figure"), [("ai_only", "events"), ("ai_only", "attributed"), ("human_ai", "unattributed")]
)
def test_totals_of_a_retraction_that_are_not_its_events_are_found(corrected: PoolLog, mode: str, figure: str) -> None:
    right = getattr(corrected.content(TAKEN), mode)
    corrected.change(TAKEN, **{mode: right.model_copy(update={figure: getattr(right, figure) + 1})})
    assert place(corrected, R_ROUND_2) == (TAKEN, f"mode {1 if mode == 'ai_only' else 2} {figure}")


def test_the_body_of_a_batch_of_an_earlier_round_is_checked_where_it_is_taken_back(corrected: PoolLog) -> None:
    del corrected.bodies[bytes.fromhex(corrected.content(R_BATCH).body_sha256)]
    assert place(corrected, R_ROUND_2) == (R_BATCH, "body_sha256")
    assert corrected.replay(R_ROUND_3).finding is None


def test_a_batch_of_an_earlier_round_by_an_undeclared_method_is_found_where_it_is_taken_back(
    corrected: PoolLog,
) -> None:
    corrected.change(R_BATCH, method_version=9)
    assert place(corrected, R_ROUND_2) == (R_BATCH, "method_version")


def test_deficits_that_a_posted_round_did_not_leave_are_found(corrected: PoolLog) -> None:
    statement = corrected.bodies[bytes.fromhex(corrected.content(R_ROUND_3).statement_sha256)]
    lines = parse_statement(statement)
    lines[0] = lines[0]._replace(deficit_before=0)
    corrected.restate(R_ROUND_3, render_statement(lines))
    found = finding_of(corrected, R_ROUND_3)
    assert (found.where.leaf_index, found.figure, found.claimed, found.where.line) == (
        R_ROUND_3,
        "deficit_before",
        "0",
        2,
    )


@pytest.mark.parametrize("leaf", [RELEASE, RETURN, GRANT])
def test_another_movement_than_was_made_is_found_at_its_leaf(corrected: PoolLog, leaf: int) -> None:
    amount = corrected.content(leaf).amount_minor
    corrected.change(leaf, amount_minor=amount - 1)
    assert place(corrected, R_ROUND_3) == (leaf, "transfer")
    corrected.change(leaf, amount_minor=-amount)
    assert place(corrected, R_ROUND_3) == (leaf, corrected.content(leaf).type)


def test_a_release_to_the_other_side_is_found_at_its_leaf(corrected: PoolLog) -> None:
    corrected.change(RELEASE, to_commons=True)
    assert place(corrected, R_ROUND_1) == (RELEASE, "transfer")


@pytest.mark.parametrize(("leaf", "account"), [(RELEASE, "held/han"), (RETURN, "held/han"), (GRANT, "commons")])
def test_a_movement_of_more_than_there_is_is_found_at_its_leaf(corrected: PoolLog, leaf: int, account: str) -> None:
    corrected.change(leaf, amount_minor=10**6)
    corrected.journal[leaf] = [corrected.journal[leaf][0]._replace(amount_minor=10**6)]
    found = finding_of(corrected, R_ROUND_3)
    assert (found.where.leaf_index, found.figure) == (leaf, f"balance of {account}")


# Scores: a third history.

S_POOL, S_ITEMS, S_INFLUENCE, S_CITATIONS, S_REVENUE, S_SCORES, S_ITEMS_2, S_SCORES_2, S_COUNTS, S_ROUND = range(10)


@pytest.fixture
def scored_log() -> PoolLog:
    log = PoolLog(collectives=[Collective(name, name, 1) for name in ("eire", "han")])
    log.open(Policy())
    log.membership({"i1": "eire", "i2": "han"})
    log.method(900_000, "influence", ScoreRule(ScoreKind.SIGNED_INFLUENCE), "items")
    log.method(900_000, "citations", ScoreRule(ScoreKind.COUNT, coverage_nano=NANO // 2))
    log.revenue(1_000)
    scores = (("i1", 3.0), ("i2", 1.0), ("i3", -2.0))
    log.scores([Event(event_id(1), shares=scores)])  # type: ignore[arg-type]
    log.membership({"i1": "han", "i3": "eire"})
    log.scores([Event(event_id(2), shares=scores)])  # type: ignore[arg-type]
    log.scores([Event(event_id(3), shares=(("eire", 2.0),))], method="citations")  # type: ignore[arg-type]
    log.calculate()
    return log


def test_each_batch_of_scores_is_weighed_by_the_rule_and_the_membership_that_it_names(scored_log: PoolLog) -> None:
    assert scored_log.replay(S_ROUND).finding is None
    statement = parse_statement(scored_log.bodies[bytes.fromhex(scored_log.content(S_ROUND).statement_sha256)])
    assert {line.collective: line.weight_ai_only for line in statement} == {"eire": NANO * 5 // 4, "han": NANO}


@pytest.mark.parametrize(
    ("index", "fields", "figure"),
    [
        (S_SCORES, {"membership_version": 2}, "membership_version"),  # declared later
        (S_SCORES_2, {"membership_version": 3}, "membership_version"),
        (S_SCORES_2, {"membership_version": None}, "membership_version"),
        (S_SCORES_2, {"membership_version": 1}, "membership_version"),
        (S_SCORES, {"membership": "others"}, "membership"),
        (S_SCORES, {"membership": ""}, "membership"),
        (S_COUNTS, {"membership": "items", "membership_version": 1}, "membership"),
        (S_COUNTS, {"membership_version": 1}, "membership_version"),
        (S_COUNTS, {"method_version": 2}, "method_version"),
        (S_ITEMS, {"version": 2}, "version"),
        (S_ITEMS, {"sources": 3}, "sources"),
        (S_ITEMS, {"collectives": 3}, "collectives"),
        (S_ITEMS, {"body_bytes": 3}, "body_bytes"),
        (S_INFLUENCE, {"score_kind": "LUCK"}, "method.v1"),
        (S_INFLUENCE, {"coverage_nano": 0}, "method.v1"),
        (S_CITATIONS, {"score_order": None}, "method.v1"),
    ],
)
def test_a_leaf_about_scores_that_says_something_else_is_named(
    scored_log: PoolLog, index: int, fields: dict[str, Any], figure: str
) -> None:
    scored_log.change(index, **fields)
    assert place(scored_log, S_ROUND) == (index, figure)


def test_a_method_s_rule_decides_what_its_batches_come_to(scored_log: PoolLog) -> None:
    scored_log.change(S_CITATIONS, coverage_nano=NANO)
    assert place(scored_log, S_ROUND) == (S_COUNTS, "mode 1 attributed")


@pytest.mark.parametrize("rule", [{"score_kind": None, "score_order": None, "coverage_nano": None}])
def test_a_body_of_scores_under_a_method_of_shares_is_no_valid_batch(scored_log: PoolLog, rule: dict[str, Any]) -> None:
    scored_log.change(S_CITATIONS, **rule)
    assert place(scored_log, S_ROUND) == (S_COUNTS, "body")


def test_a_membership_s_body_is_held_against_its_hash_and_its_form(scored_log: PoolLog) -> None:
    digest = bytes.fromhex(scored_log.content(S_ITEMS).body_sha256)
    kept = scored_log.bodies[digest]
    scored_log.bodies[digest] = kept.replace(b"i1,eire", b"i1,han")
    assert place(scored_log, S_ROUND) == (S_ITEMS, "body_sha256")
    del scored_log.bodies[digest]
    assert place(scored_log, S_ROUND) == (S_ITEMS, "body_sha256")
    unsorted = b"source,collective\ni2,han\ni1,eire\n"
    scored_log.change(S_ITEMS, body_sha256=scored_log.put(unsorted), body_bytes=len(unsorted))
    assert place(scored_log, S_ROUND) == (S_ITEMS, "body")


def test_a_membership_that_no_batch_needs_is_not_read(scored_log: PoolLog) -> None:
    """As no batch before the round is: its leaf is covered by the root, and nothing is paid by it."""
    scored_log.membership({"i9": "eire"})
    index = scored_log.calculate()
    del scored_log.bodies[bytes.fromhex(scored_log.content(index - 1).body_sha256)]
    assert scored_log.replay(index).finding is None


# How ids are made.


def id_log(*steps: str) -> PoolLog:
    """A pool in which a platform says how its ids are made (OWN, ORDERED), and sends batches that say so (usage)."""
    log = PoolLog(collectives=[Collective("eire", "Éire", 1)])
    log.open(Policy())
    log.method(900_000)
    log.revenue(1_000)
    for number, step in enumerate(steps):
        if step == "usage":
            log.usage([Event(event_id(number + 1))])
        else:
            log.id_scheme("acme", step)
    log.calculate()
    return log


@pytest.mark.parametrize("steps", [("ORDERED", "usage", "usage"), ("OWN", "usage"), ("usage",), ("usage", "usage")])
def test_batches_that_say_how_their_ids_are_made_replay(steps: tuple[str, ...]) -> None:
    log = id_log(*steps)
    assert log.replay(log.size() - 1).finding is None


@pytest.mark.parametrize(
    ("steps", "leaf", "figure"),
    [
        (("usage", "ORDERED"), 4, "platform"),
        (("usage", "OWN"), 4, "platform"),
        (("ORDERED", "ORDERED"), 4, "platform"),
        (("OWN", "ORDERED"), 4, "platform"),
        (("SORTED", "usage"), 3, "scheme"),
    ],
)
def test_how_ids_are_made_is_said_once_and_first(steps: tuple[str, ...], leaf: int, figure: str) -> None:
    log = id_log(*steps)
    assert place(log, log.size() - 1) == (leaf, figure)


@pytest.mark.parametrize(("fixed", "named"), [("ORDERED", "OWN"), ("OWN", "ORDERED"), ("", "ORDERED")])
def test_a_batch_whose_ids_are_made_otherwise_is_found(fixed: str, named: str) -> None:
    log = id_log(*[fixed] * bool(fixed), "usage")
    batch = log.size() - 2
    log.rewrite(batch, log.content(batch).model_copy(update={"id_scheme": named}))
    assert place(log, log.size() - 1) == (batch, "id_scheme")


def test_a_round_over_nothing_is_found() -> None:
    """The service cuts none, so a log that has one was forged: it would use up the usage, and give nobody anything."""
    log = PoolLog(collectives=[Collective("eire", "Eire", 1)])
    log.open(Policy())
    log.method(1_000_000)
    log.usage([Event(event_id(1), None, 1, 1, AI_ONLY, (("eire", NANO),))])
    cut = log.calculate()
    assert finding_of(log, cut) == replace(
        finding(cut, "what the round gives", "nothing", "something"), step=Step.ROUNDS
    )
