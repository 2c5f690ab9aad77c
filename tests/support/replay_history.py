"""Pools with a history, to be replayed and tampered with; and the places of their leaves."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Final

from ledger.acts.entries import CollectiveContent, Decision
from ledger.registry import NANO, Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY, HUMAN_AI
from payout.policy import CommonsRule, Policy, Tempering
from tests.support.batches import Event, event_id
from tests.support.pool_log import PoolLog

# The leaves of the history below.
POOL, METHOD, REVENUE, BATCH, REPEATS, POLICY = range(6)
LATE, ROUND_1, APPROVAL_1, POSTING_1 = range(6, 10)
ZEN_REVENUE, METHOD_2, ZEN_BATCH, ROUND_2, REJECTION = range(10, 15)
FOURTH_BATCH, ROUND_3, APPROVAL_3, POSTING_3, PAYMENT, LAST_REVENUE = range(15, 21)
PPM: Final = 10**6
ALONE: Final = Policy(fee_ppm=50_000, commons_ppm=100_000)
REVIEWED: Final = Policy(
    fee_ppm=100_000, tempering=Tempering.SQRT, commons_rule=CommonsRule.PER_CAPITA, review_seconds=3600
)


def history() -> PoolLog:
    """Three rounds: approved by itself, rejected, and approved by a second operator under a later policy."""
    log = PoolLog(
        collectives=[Collective("eire", "Éire", 300), Collective("han", "汉", 100), Collective("quebec", "Q", 50)]
    )
    log.open(ALONE)
    log.method(900_000)
    log.revenue(10_000)
    log.usage(
        [
            Event(event_id(1), "urn:1", 0, 3, AI_ONLY, (("eire", 300_000_000), ("han", 500_000_000))),
            Event(event_id(2), None, 0, 2, HUMAN_AI, (("han", NANO),)),
            Event(event_id(3), None, 0, 7, AI_ONLY, ()),
        ]
    )
    log.usage(
        [
            Event(event_id(2), None, 0, 1000, AI_ONLY, (("eire", NANO),)),
            Event(event_id(4), None, 0, 5, HUMAN_AI, (("eire", 250_000_000),)),
            Event(event_id(4), None, 0, 1000, HUMAN_AI, (("han", NANO),)),
        ]
    )
    log.policy(REVIEWED)
    late = [Event(event_id(5), None, 0, 4, AI_ONLY, (("han", NANO),))]
    log.calculate("operators/olive", meanwhile=lambda: log.usage(late))
    log.decide(Decision.APPROVED, "policy")
    log.post()
    log.revenue(5_000, "zen")
    log.method(500_000)
    log.usage([Event(event_id(1), None, 0, 9, AI_ONLY, (("eire", NANO),))], platform="zen")
    log.collectives[1] = replace(log.collectives[1], status=CollectiveStatus.SUSPENDED)
    log.calculate("operators/olive")
    log.decide(Decision.REJECTED, "operators/oscar")
    log.usage([Event(event_id(6), None, 0, 1, HUMAN_AI, (("han", 1),))])
    log.calculate("operators/olive")
    log.decide(Decision.APPROVED, "operators/oscar")
    log.post()
    log.payment("eire", 100)
    log.revenue(1)
    return log


HISTORY: Final = history()


def with_domains(body: bytes) -> PoolLog:
    """The history, after which a collective says that these are its domains."""
    log = deepcopy(HISTORY)
    log.registry.now = log.now
    log.registry.act(
        CollectiveContent(
            collective="han", display_name="H", members=1, equity_ppm=0, status="ACTIVE",
            domains_sha256=log.registry.put(body),
        )
    )  # fmt: skip
    return log


R_POOL, R_METHOD, R_REVENUE, R_BATCH, R_REPEATS, R_ROUND_1, R_APPROVAL_1, R_POSTING_1 = range(8)
R_NEW, TAKEN, TAKEN_NEW, R_REVENUE_2, R_ROUND_2, R_APPROVAL_2, R_POSTING_2 = range(8, 15)


def corrected_history() -> PoolLog:
    """What a first round paid is taken back in a second, which leaves deficits for a third; han is suspended."""
    log = PoolLog(collectives=[Collective("eire", "É"), Collective("han", "汉", status=CollectiveStatus.SUSPENDED)])
    log.open(Policy(commons_rule=CommonsRule.FUND))
    log.method(PPM)
    log.revenue(1_000)
    log.usage(
        [
            Event(event_id(1), None, 0, 3, AI_ONLY, (("eire", NANO),)),
            Event(event_id(2), None, 0, 5, HUMAN_AI, (("han", NANO // 2),)),
            Event(event_id(3), None, 0, 2, AI_ONLY, (("han", NANO),)),
        ]
    )
    log.usage(
        [
            Event(event_id(1), None, 0, 9, AI_ONLY, (("eire", NANO),)),
            Event(event_id(4), None, 0, 1, AI_ONLY, (("eire", NANO),)),
        ]
    )
    settle(log)
    log.usage(
        [
            Event(event_id(5), None, 0, 4, AI_ONLY, (("eire", NANO // 4), ("han", NANO // 4))),
            Event(event_id(6), None, 0, 10, AI_ONLY),
        ]
    )
    log.retract(R_BATCH, [0, 1])
    log.retract(R_NEW, [0])
    log.revenue(500)
    settle(log)
    log.release("han", 100)
    log.release("han", 50, to_commons=True)
    log.grant("eire", 30)
    log.usage([Event(event_id(7), None, 0, 7, AI_ONLY, (("eire", NANO),))])
    log.revenue(500)
    log.calculate()
    return log


def settle(log: PoolLog) -> None:
    log.calculate()
    log.decide(Decision.APPROVED, "policy")
    log.post()


CORRECTED: Final = corrected_history()
