"""Replay by its rules: from any history it gives what was logged, and from anything else a verdict, never an error."""

from collections.abc import Callable
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.journal import Purpose, Transfer, collective_account
from ledger.leaves import Content, EncodedLeaf, PaymentContent, RevenueContent, UsageContent
from ledger.merkle import leaf_hash
from ledger.registry import Collective, CollectiveStatus
from ledger.usage import AI_ONLY, HUMAN_AI, NANO
from payout.policy import CommonsRule, Policy, Tempering, UnattributedRule
from payout.replay import Verdict
from payout.rounds import Decision, RoundContent
from tests.batches import Event, event_id
from tests.entries import contents, values_of
from tests.pool_log import PoolLog

NAMES: Final = ["eire", "han", "quebec"]
PPM: Final = 10**6

events = st.builds(
    Event,
    event_id=st.integers(0, 30).map(event_id),
    units=st.sampled_from([1, 10**9]) | st.integers(1, 10**9),
    mode=st.sampled_from([AI_ONLY, HUMAN_AI]),
    shares=st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from([1, NANO // 3]) | st.integers(1, NANO // 3)),
        max_size=3,
        unique_by=lambda share: share[0],
    ).map(tuple),
)
batches = st.lists(events, min_size=1, max_size=6)
policies = st.builds(
    Policy,
    fee_ppm=st.integers(0, PPM),
    fee_cap_minor=st.none() | st.integers(0, 1000),
    commons_ppm=st.integers(0, PPM),
    unattributed=st.sampled_from(UnattributedRule),
    commons_rule=st.sampled_from(CommonsRule),
    tempering=st.sampled_from(Tempering),
    floor_minor=st.integers(0, 50),
    cap_minor=st.none() | st.integers(50, 10_000),
    ai_only_ppm=st.sampled_from([0, PPM]) | st.integers(0, 10 * PPM),
    human_ai_ppm=st.sampled_from([0, PPM]) | st.integers(0, 10 * PPM),
    review_seconds=st.sampled_from([0, 60]),
)
registries = st.lists(
    st.tuples(st.integers(0, 100), st.integers(0, 2 * PPM), st.sampled_from(CollectiveStatus)), min_size=3, max_size=3
).map(lambda rows: [Collective(name, name, *row) for name, row in zip(NAMES, rows, strict=True)])


@st.composite
def histories(draw: st.DrawFn) -> PoolLog:
    """A pool with a few things of every kind, in any order, and at least one round at the end."""
    log = PoolLog(collectives=draw(registries))
    log.open(draw(policies))
    log.method(draw(st.integers(0, PPM)))
    happenings: list[Callable[[], object]] = [
        lambda: log.revenue(draw(st.integers(1, 10**6) | st.just(10**15))),
        lambda: log.usage(draw(batches), platform=draw(st.sampled_from(["acme", "zen"]))),
        lambda: log.usage(draw(batches)),
        lambda: log.policy(draw(policies)),
        lambda: log.method(draw(st.integers(0, PPM))),
        lambda: round_of(log, draw),
        lambda: payment_from(log, draw),
        lambda: log.collectives.__setitem__(slice(None), draw(registries)),
    ]
    for happening in draw(st.lists(st.sampled_from(happenings), max_size=9)):
        happening()
    round_of(log, draw)
    return log


def round_of(log: PoolLog, draw: st.DrawFn) -> None:
    """A round that is posted, rejected, or left as it is only where nothing follows."""
    meanwhile: list[Callable[[], object]] = [
        int,
        lambda: log.usage(draw(batches)),
        lambda: log.revenue(5),
        lambda: log.policy(draw(policies)),
        lambda: log.method(draw(st.integers(0, PPM))),
    ]
    index = log.calculate(meanwhile=draw(st.sampled_from(meanwhile)))
    _, _, policy = log.policy_at(log.content(index).start)
    if not policy.review_seconds:
        log.decide(Decision.APPROVED, "policy")
        log.post()
    elif draw(st.booleans()):
        log.decide(Decision.APPROVED, "operators/oscar")
        log.post()
    else:
        log.decide(Decision.REJECTED, "operators/oscar")


def payment_from(log: PoolLog, draw: st.DrawFn) -> None:
    name = draw(st.sampled_from(NAMES))
    if (owed := log.balance(collective_account(name))) > 0:
        log.payment(name, draw(st.integers(1, owed)))


def verdicts(log: PoolLog) -> list[tuple[int, Verdict]]:
    """(leaf, verdict) of every round."""
    return [(index, log.replay(index)) for index, _ in log.placed(RoundContent)]


@settings(max_examples=40)
@given(histories())
def test_every_round_of_any_history_replays_to_a_match(log: PoolLog) -> None:
    """Rule: "Replay is the same pure function that made the round, run over the same bytes"."""
    usage = log.placed(UsageContent)
    for index, verdict in verdicts(log):
        assert verdict.divergence is None
        content: RoundContent = log.content(index)
        inside = [batch.accepted for place, batch in usage if content.start <= place < content.end]
        assert verdict.progress.events == sum(inside) == content.events
        assert verdict.progress.leaves == verdict.progress.leaf_total == log.size()


def statement_of(log: PoolLog) -> bytes:
    """The statement of a round over all of the log, and its figures."""
    content: RoundContent = log.content(log.calculate())
    assert log.replay(log.size() - 1).divergence is None
    figures = (content.events, content.pot_minor, content.weight, content.weight_unattributed, content.carried_minor)
    return log.bodies[bytes.fromhex(content.statement_sha256)] + repr(figures).encode()


@settings(max_examples=40)
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


@settings(max_examples=40)
@given(histories(), st.data())
def test_a_changed_byte_of_an_entry_is_found_at_its_leaf(log: PoolLog, data: st.DataObject) -> None:
    """Rule: the leaf hash covers every byte."""
    rounds = [index for index, _ in log.placed(RoundContent)]
    leaf = data.draw(st.sampled_from(log.entries))
    at, flip = data.draw(st.integers(0, len(leaf.entry) - 1)), data.draw(st.integers(1, 255))
    entry = leaf.entry[:at] + bytes([leaf.entry[at] ^ flip]) + leaf.entry[at + 1 :]
    log.entries[leaf.index] = EncodedLeaf(leaf.index, entry, leaf.hash)
    for index in rounds:
        found = log.replay(index).divergence
        assert found is not None
        assert (found.leaf_index, found.figure) == (leaf.index, "leaf_hash")


@settings(max_examples=40)
@given(histories(), st.data())
def test_a_leaf_in_a_round_that_was_changed_with_its_hash_is_found_by_the_root(
    log: PoolLog, data: st.DataObject
) -> None:
    """Rule: a round commits to the root at its end, so to every leaf before it."""
    index, content = data.draw(st.sampled_from(log.placed(RoundContent)))
    changed = data.draw(st.integers(0, content.end - 1))
    log.rewrite(changed, log.content(changed), seal=False, late_by=1)
    found = log.replay(index).divergence
    assert found is not None
    assert (found.leaf_index, found.figure) == (index, "root")


MATTERS: Final[dict[type[Content], list[str]]] = {
    RevenueContent: ["platform", "amount_minor"],
    PaymentContent: ["collective", "amount_minor"],
    UsageContent: ["body_sha256", "body_bytes", "method", "method_version", "accepted", "ai_only", "human_ai"],
    RoundContent: [
        "number", "previous", "start", "end", "root", "policy_leaf", "policy_version", "registry_sha256",
        "statement_sha256", "events", "weight", "weight_unattributed", "pot_minor", "fee_minor", "attributed_minor",
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
    inside = [index for index in range(round_.end) if isinstance(log.content(index), RevenueContent | PaymentContent)]
    inside += [index for index, _ in log.placed(UsageContent) if round_.start <= index < round_.end]
    index = data.draw(st.sampled_from([subject, *inside]))
    kind = type(log.content(index))
    name = data.draw(st.sampled_from(MATTERS[kind]))
    value = data.draw(values_of(kind, name).filter(lambda value: value != getattr(log.content(index), name)))
    log.change(index, **{name: value})
    if (kind, name) == (RoundContent, "root"):  # which sealing would have put right
        log.change(index, seal=False, **{name: value})
    found = log.replay(subject).divergence
    assert found is not None
    assert found.leaf_index in (index, subject)


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
            assert verdict.divergence is not None


@settings(max_examples=40)
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
        assert log.replay(index).divergence is not None
