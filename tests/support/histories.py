"""Strategies for whole histories of a pool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from hypothesis import assume
from hypothesis import strategies as st

from ledger.acts.entries import Decision
from ledger.journal import COMMONS, collective_account, held_account
from ledger.registry import NANO, Collective, CollectiveStatus
from ledger.usage.entries import UsageContent
from ledger.usage.format import AI_ONLY, HUMAN_AI
from ledger.usage.methods import ScoreKind, ScoreOrder, ScoreRule
from payout.entries import RoundContent
from payout.policy import (
    CommonsRule,
    Policy,
    Tempering,
    UnattributedRule,
)
from tests.support.batches import Event, event_id
from tests.support.pool_log import PoolLog

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
ITEMS: Final = ["i1", "i2", "i3", "i4", "i5"]
scored_events = st.builds(
    Event,
    event_id=st.integers(0, 30).map(event_id),
    units=st.sampled_from([1, 10**9]) | st.integers(1, 10**9),
    mode=st.sampled_from([AI_ONLY, HUMAN_AI]),
    shares=st.dictionaries(
        st.sampled_from([*ITEMS, *NAMES]), st.floats(-1e3, 1e3) | st.integers(-3, 3).map(float), max_size=5
    ).map(lambda scores: tuple(scores.items())),
)
score_batches = st.lists(scored_events, min_size=1, max_size=6)
score_rules = st.builds(
    ScoreRule, st.just(ScoreKind.SIGNED_INFLUENCE), st.sampled_from(ScoreOrder), st.sampled_from([NANO, NANO // 3])
)
memberships = st.dictionaries(st.sampled_from(ITEMS), st.sampled_from(NAMES))
memberships_named = st.sampled_from(["", "items"])
"""What a method of scores may name: none, where the sources are collectives."""
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
    log.membership(draw(memberships))
    log.method(draw(st.integers(0, PPM)), "influence", draw(score_rules), "items")
    happenings: list[Callable[[], object]] = [
        lambda: log.revenue(draw(st.integers(1, 10**6) | st.just(10**15))),
        lambda: log.usage(draw(batches), platform=draw(st.sampled_from(["acme", "zen"]))),
        lambda: log.usage(draw(batches)),
        lambda: scores_of(log, draw),
        lambda: scores_of(log, draw),
        lambda: log.membership(draw(memberships)),
        lambda: log.method(
            draw(st.integers(0, PPM)), "influence", draw(score_rules), draw(st.sampled_from(["", "items"]))
        ),
        lambda: log.policy(draw(policies)),
        lambda: log.method(draw(st.integers(0, PPM))),
        lambda: round_of(log, draw),
        lambda: payment_from(log, draw),
        lambda: release_from(log, draw),
        lambda: grant_from(log, draw),
        lambda: retraction_of(log, draw),
        lambda: retraction_of(log, draw),
        lambda: log.collectives.__setitem__(slice(None), draw(registries)),
    ]
    for happening in draw(st.lists(st.sampled_from(happenings), max_size=12)):
        happening()
    round_of(log, draw)
    if not log.placed(RoundContent):
        log.revenue(draw(st.integers(1, 10**6)))
        log.usage(draw(batches.filter(bool)))
        round_of(log, draw)
    assume(log.placed(RoundContent))
    return log


def scores_of(log: PoolLog, draw: st.DrawFn) -> None:
    """A batch of scores: of items and of what nobody knows, or where the sources are collectives of these alone."""
    some = draw(score_batches)
    if not log.versions("influence")[-1].membership:
        some = [replace(one, shares=[pair for pair in one.shares or () if pair[0] in NAMES]) for one in some]
    log.scores(some)


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
    if log.content(index).nothing:
        del log.entries[index:]  # the service cuts none that gives nobody anything
        return
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


def release_from(log: PoolLog, draw: st.DrawFn) -> None:
    name = draw(st.sampled_from(NAMES))
    if (held := log.balance(held_account(name))) > 0:
        log.release(name, draw(st.integers(1, held)), to_commons=draw(st.booleans()))


def grant_from(log: PoolLog, draw: st.DrawFn) -> None:
    if (fund := log.balance(COMMONS)) > 0:
        log.grant(draw(st.sampled_from(NAMES)), draw(st.integers(1, fund)))


def retraction_of(log: PoolLog, draw: st.DrawFn) -> None:
    """Events of any batch, of this round or of one long paid; nothing where all were taken back."""
    left = {index: at for index, _ in log.placed(UsageContent) if (at := log.retractable(index))}
    if left:
        index = draw(st.sampled_from(sorted(left)))
        log.retract(index, sorted(draw(st.sets(st.sampled_from(left[index]), min_size=1))))
