"""Replay by its rules: from any history it gives what was logged, and from anything else a verdict, never an error."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.replay import Verdict
from ledger.entries import (
    GrantContent,
    PaymentContent,
    ReleaseContent,
)
from ledger.income import ReportContent
from ledger.journal import Purpose, Transfer
from ledger.log.leaves import Content, EncodedLeaf
from ledger.log.merkle import leaf_hash
from ledger.registry import Collective
from ledger.usage.entries import RetractionContent, UsageContent
from ledger.usage.methods import ScoreRule
from payout.entries import RoundContent
from payout.policy import Policy
from payout.statement import parse_statement
from tests.support.batches import Event
from tests.support.entries import contents, values_of
from tests.support.histories import (
    NAMES,
    PPM,
    batches,
    events,
    histories,
    memberships,
    policies,
    registries,
    score_rules,
    scored_events,
)
from tests.support.pool_log import PoolLog


def verdicts(log: PoolLog) -> list[tuple[int, Verdict]]:
    """(leaf, verdict) of every round."""
    return [(index, log.replay(index)) for index, _ in log.placed(RoundContent)]


@settings(max_examples=25)
@given(histories())
def test_every_round_of_any_history_replays_to_a_match(log: PoolLog) -> None:
    """Rule: "Replay is the same pure function that made the round, run over the same bytes"."""
    usage = log.placed(UsageContent)
    for index, verdict in verdicts(log):
        assert verdict.finding is None
        content: RoundContent = log.content(index)
        inside = [batch.accepted for place, batch in usage if content.start <= place < content.end]
        assert verdict.progress.events == sum(inside) == content.events
        taken = [one for at, one in log.placed(RetractionContent) if content.start <= at < content.end]
        assert content.retracted == sum(one.ai_only.events + one.human_ai.events for one in taken)
        parts = (content.fee_minor, content.attributed_minor, content.commons_minor, content.commons_kept_minor)
        assert content.pot_minor == sum(parts) + content.carried_minor + content.rounding_minor
        assert min(*parts, content.carried_minor) >= 0
        assert verdict.progress.leaves == verdict.progress.leaf_total == log.size()


def require_match(log: PoolLog, index: int) -> None:
    """Check that a round replays to a match, but for what is said of one that gives nobody anything."""
    finding = log.replay(index).finding
    if log.content(index).uses_up_usage_for_nothing:
        assert finding is not None
        assert finding.figure == "what the round gives"
    else:
        assert finding is None


def statement_of(log: PoolLog) -> bytes:
    """The statement of a round over all of the log, and its figures."""
    content: RoundContent = log.content(log.calculate())
    require_match(log, log.size() - 1)
    figures = (
        content.events, content.retracted, content.pot_minor, content.weight, content.weight_unattributed,
        content.deficit_unattributed, content.carried_minor, content.weights_sha256,
    )  # fmt: skip
    return log.bodies[bytes.fromhex(content.statement_sha256)] + repr(figures).encode()


@settings(max_examples=25)
@given(policies, registries, st.lists(events, max_size=12, unique_by=lambda event: event.event_id), st.data())
def test_neither_the_order_of_batches_nor_their_cut_reaches_an_amount(
    policy: Policy, registry: list[Collective], some: list[Event], data: st.DataObject
) -> None:
    """Rule: a round is a log interval; what is in it counts, not how it came."""
    statements = set()
    for _ in range(3):
        log = PoolLog(collectives=registry)
        log.open(policy)
        log.method(900_000)
        queue = data.draw(st.permutations(some))
        paid = False
        while queue:
            if not paid and data.draw(st.booleans()):
                log.revenue(10_007)
                paid = True
            size = data.draw(st.integers(1, len(queue)))
            log.usage(queue[:size])
            queue = queue[size:]
        if not paid:
            log.revenue(10_007)
        statements.add(statement_of(log))
    assert len(statements) == 1


@settings(max_examples=25)
@given(
    policies, registries, score_rules, memberships,
    st.lists(scored_events, max_size=12, unique_by=lambda event: event.event_id), st.data(),
)  # fmt: skip
def test_neither_the_order_nor_the_cut_of_batches_of_scores_reaches_an_amount(
    policy: Policy, registry: list[Collective], rule: ScoreRule, whose: dict[str, str], some: list[Event],
    data: st.DataObject,
) -> None:  # fmt: skip
    """Rule: no path leads from raw scores to money through a floating-point sum."""
    statements = set()
    for _ in range(3):
        log = PoolLog(collectives=registry)
        log.open(policy)
        log.membership(whose)
        log.method(900_000, "influence", rule, "items")
        log.revenue(10_007)
        queue = [replace(event, shares=data.draw(st.permutations(event.shares or ()))) for event in some]
        queue = data.draw(st.permutations(queue))
        while queue:
            size = data.draw(st.integers(1, len(queue)))
            log.scores(queue[:size])
            queue = queue[size:]
        statements.add(statement_of(log))
    assert len(statements) == 1


@settings(max_examples=25)
@given(policies, registries, st.lists(events, min_size=1, max_size=12, unique_by=lambda one: one.event_id), st.data())
def test_neither_the_order_nor_the_cut_of_retractions_reaches_an_amount(
    policy: Policy, registry: list[Collective], some: list[Event], data: st.DataObject
) -> None:
    """Rule: "the order of events and batches does not matter", nor that of what takes them back."""
    wrong = data.draw(st.sets(st.sampled_from([event.event_id for event in some])))
    statements = set()
    for _ in range(3):
        log = PoolLog(collectives=registry)
        log.open(policy)
        log.method(900_000)
        log.revenue(10_007)
        queue, taken = data.draw(st.permutations(some)), dict[int, list[int]]()
        while queue:
            size = data.draw(st.integers(1, len(queue)))
            positions = [at for at, event in enumerate(queue[:size]) if event.event_id in wrong]
            taken[log.usage(queue[:size])] = positions
            queue = queue[size:]
            if data.draw(st.booleans()):
                take_back(log, taken, data)
        while any(taken.values()):
            take_back(log, taken, data)
        statements.add(statement_of(log))
    assert len(statements) == 1


def take_back(log: PoolLog, taken: dict[int, list[int]], data: st.DataObject) -> None:
    """Some of what is to be taken back of one batch."""
    if left := [index for index, positions in taken.items() if positions]:
        index = data.draw(st.sampled_from(left))
        size = data.draw(st.integers(1, len(taken[index])))
        log.retract(index, taken[index][:size])
        taken[index] = taken[index][size:]


@settings(max_examples=25)
@given(policies, registries, st.lists(batches, max_size=4), st.data())
def test_retracting_everything_in_the_same_round_distributes_nothing(
    policy: Policy, registry: list[Collective], some: list[list[Event]], data: st.DataObject
) -> None:
    """Rule: "retracting everything leaves every weight at zero"; no usage at all: the pot carries over."""
    log = PoolLog(collectives=registry)
    log.open(policy)
    log.method(data.draw(st.integers(0, PPM)))
    log.revenue(10_007)
    for index in [log.usage(batch) for batch in some]:
        if log.retractable(index):
            log.retract(index)
    index = log.calculate()
    content: RoundContent = log.content(index)
    require_match(log, index)
    assert content.events == content.retracted
    assert (content.weight, content.weight_unattributed, content.deficit_unattributed) == (0, 0, 0)
    assert content.carried_minor == content.pot_minor == 10_007
    for line in parse_statement(log.bodies[bytes.fromhex(content.statement_sha256)]):
        assert (line.events, line.weight_ai_only, line.weight_human_ai, line.deficit_after) == (0, 0, 0, 0)


@settings(max_examples=25)
@given(batches, batches)
def test_a_batch_that_comes_again_under_another_id_changes_nothing(first: list[Event], second: list[Event]) -> None:
    """Rule: exactly once; a duplicate is counted and left out of the weights."""
    statements = set()
    for repeats in ([], [first], [second, first, first]):
        log = PoolLog(collectives=[Collective(name, name, 1) for name in NAMES])
        log.open(Policy())
        log.method(PPM)
        log.revenue(10_007)
        for batch in (first, second, *repeats):
            log.usage(batch)
        statements.add(statement_of(log))
    assert len(statements) == 1


# Tampering.

ACCOUNTS: Final = ["revenue", "fees", "commons", "platform/acme", "collective/eire", "held/eire", "paid/eire"]
transfers = st.builds(
    lambda accounts, amount, purpose: Transfer(accounts[0], accounts[1], amount, purpose),
    st.permutations(ACCOUNTS),
    st.integers(1, 10**6),
    st.sampled_from(Purpose),
)


@settings(max_examples=25)
@given(histories(), st.data())
def test_a_changed_byte_of_an_entry_is_found_at_its_leaf(log: PoolLog, data: st.DataObject) -> None:
    """Rule: the leaf hash covers every byte."""
    rounds = [index for index, _ in log.placed(RoundContent)]
    leaf = data.draw(st.sampled_from(log.entries))
    at, flip = data.draw(st.integers(0, len(leaf.entry) - 1)), data.draw(st.integers(1, 255))
    entry = leaf.entry[:at] + bytes([leaf.entry[at] ^ flip]) + leaf.entry[at + 1 :]
    log.entries[leaf.index] = EncodedLeaf(leaf.index, entry, leaf.hash)
    for index in rounds:
        found = log.replay(index).finding
        assert found is not None
        assert (found.where.leaf_index, found.figure) == (leaf.index, "leaf_hash")


@settings(max_examples=25)
@given(histories(), st.data())
def test_a_leaf_in_a_round_that_was_changed_with_its_hash_is_found_by_the_root(
    log: PoolLog, data: st.DataObject
) -> None:
    """Rule: a round commits to the root at its end, so to every leaf before it."""
    index, content = data.draw(st.sampled_from(log.placed(RoundContent)))
    changed = data.draw(st.integers(0, content.end - 1))
    log.rewrite(changed, log.content(changed), seal=False, late_by=1)
    found = log.replay(index).finding
    assert found is not None
    # A decision names the hash of what it decides, and may come first.
    by_decision = found.figure == "subject_hash" and log.content(found.where.leaf_index).subject == changed
    assert by_decision or (found.where.leaf_index, found.figure) == (index, "root")


MATTERS: Final[dict[type[Content], list[str]]] = {
    ReportContent: ["platform", "amount_minor"],
    PaymentContent: ["collective", "amount_minor"],
    ReleaseContent: ["collective", "amount_minor", "to_commons"],
    GrantContent: ["collective", "amount_minor"],
    # Not the positions: two events of a batch may be alike in all that counts.
    RetractionContent: ["platform", "ai_only", "human_ai"],
    UsageContent: [
        "body_sha256", "body_bytes", "method", "method_version", "membership", "accepted", "ai_only", "human_ai",
    ],
    RoundContent: [
        "number", "previous", "start", "end", "root", "policy_leaf", "policy_version", "registry_sha256",
        "statement_sha256", "weights_sha256", "events", "retracted", "weight", "weight_unattributed",
        "deficit_unattributed", "pot_minor", "fee_minor", "attributed_minor",
        "commons_minor", "commons_kept_minor", "carried_minor",
    ],
}  # fmt: skip
"""What a round cannot replay to a match with, where it is in the round and is not what was logged."""


@settings(max_examples=80)
@given(histories(), st.data())
def test_a_changed_field_that_matters_is_found_though_hashes_and_roots_are_right(
    log: PoolLog, data: st.DataObject
) -> None:
    """Rule: "every figure is the same", or the verdict names the first that is not."""
    subject, round_ = log.placed(RoundContent)[-1]
    moves = ReportContent | PaymentContent | ReleaseContent | GrantContent
    inside = [index for index in range(round_.end) if isinstance(log.content(index), moves)]
    usage = [*log.placed(UsageContent), *log.placed(RetractionContent)]
    inside += [index for index, _ in usage if round_.start <= index < round_.end]
    index = data.draw(st.sampled_from([subject, *inside]))
    kind = type(log.content(index))
    name = data.draw(st.sampled_from(MATTERS[kind]))
    value = data.draw(values_of(kind, name).filter(lambda value: value != getattr(log.content(index), name)))
    log.change(index, **{name: value})
    if (kind, name) == (RoundContent, "root"):  # which sealing would have put right
        log.change(index, seal=False, **{name: value})
    found = log.replay(subject).finding
    assert found is not None
    assert found.where.leaf_index in (index, subject)


@settings(max_examples=80)
@given(histories(), st.data())
def test_whatever_stands_in_a_log_a_replay_ends_with_a_verdict(log: PoolLog, data: st.DataObject) -> None:
    """Rule: a replay ends with a match or a divergence. Contents, journal and bodies here say anything at all."""
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, log.size() - 1))
        content = log.content(index)
        name = data.draw(st.sampled_from(sorted(type(content).model_fields)))
        changed = content.model_copy(update={name: data.draw(values_of(type(content), name))})
        log.rewrite(index, changed if data.draw(st.booleans()) else data.draw(contents))
        if data.draw(st.booleans()):
            log.journal[index] = data.draw(st.lists(transfers, max_size=3))
        if data.draw(st.booleans()):
            digest = data.draw(st.sampled_from(sorted(log.bodies)))
            log.bodies[digest] = data.draw(st.binary(max_size=40) | st.sampled_from(sorted(log.bodies.values())))
    for index in range(log.size() + 1):
        verdict = log.replay(index)
        if not isinstance(log.content(index) if index < log.size() else None, RoundContent):
            assert verdict.finding is not None


@settings(max_examples=25)
@given(st.lists(contents, max_size=6), st.data())
def test_a_log_of_anything_at_all_replays_to_a_verdict(made: list[Content], data: st.DataObject) -> None:
    """Rule: as above."""
    log = PoolLog()
    for content in made:
        log.append(content, data.draw(st.lists(transfers, max_size=2)))
    if data.draw(st.booleans()) and made:
        index = data.draw(st.integers(0, len(made) - 1))
        entry = data.draw(st.binary(max_size=30))
        log.entries[index] = EncodedLeaf(index, entry, leaf_hash(entry))
    for index in range(log.size() + 1):
        assert log.replay(index).finding is not None
