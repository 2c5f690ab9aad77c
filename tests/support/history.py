"""A pool with a history of every kind: what exports, analyses and books are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import numpy as np

from moiety import Collective, Method, Mode, Platform, Policy, Pool, UsageEvent
from moiety.attribution import score_batches
from moiety.v1.limits_pb2 import PoolLimits
from moiety.v1.registry_pb2 import (
    COLLECTIVE_STATUS_SUSPENDED,
    COMMONS_RULE_EQUITY,
    COMMONS_RULE_FUND,
    COMMONS_RULE_PER_CAPITA,
    DISTRIBUTE_REPORTED,
    SCORE_KIND_SIGNED_INFLUENCE,
    TEMPERING_EQUAL,
    TEMPERING_SQRT,
    UNATTRIBUTED_RULE_PRO_RATA,
)
from tests.support.deployment import Deployment
from tests.support.scene import NAMED_PLATFORMS, NANO, NOON, PLATFORMS, POOL, Scene

COLLECTIVES: Final = ("a", "breton-1", "irish", "nan", "nobody", "scots-2", "z9")
METHODS: Final = {"ngram": 1_000_000, "influence": 350_000}
SCORED: Final = "scored"
"""A method of raw scores, of items that a membership says the collectives of."""

ITEMS: Final = {f"item-{number}": COLLECTIVES[number % 5] for number in range(9)}

POLICIES: Final = (
    Policy(fee_ppm=50_000, fee_cap_minor=700, review_seconds=60),
    Policy(fee_ppm=33_333, commons_ppm=12_345, commons_rule=COMMONS_RULE_PER_CAPITA, human_ai_ppm=1_500_000),
    Policy(tempering=TEMPERING_SQRT, commons_rule=COMMONS_RULE_EQUITY, ai_only_ppm=1, human_ai_ppm=10_000_000),
    Policy(tempering=TEMPERING_EQUAL, unattributed=UNATTRIBUTED_RULE_PRO_RATA, commons_ppm=100_000),
    Policy(commons_rule=COMMONS_RULE_FUND, fee_ppm=1),
    Policy(floor_minor=100, cap_minor=20_000, fee_ppm=50_000),
)
"""Those of rounds 1, 2, and so on. Only the last has a floor and a cap."""


def some_usage(seed: int, count: int, *, first_id: int, units_max: int = 1000) -> list[UsageEvent]:
    """Events over four months, of both modes, that name none to all of the collectives but `nobody`."""
    draw = np.random.default_rng(seed)
    named = [name for name in COLLECTIVES if name != "nobody"]
    found = []
    for number in range(count):
        chosen = draw.permutation(named)[: draw.integers(0, len(named) + 1)]
        cuts = np.sort(draw.integers(1, NANO, size=len(chosen)))
        shares = {str(name): max(1, int(cut)) for name, cut in zip(chosen, np.diff(cuts, prepend=0), strict=True)}
        occurred = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=int(draw.integers(0, 120 * 86_400)))
        mode = Mode.HUMAN_AI if draw.integers(0, 3) == 0 else Mode.AI_ONLY
        work = f"urn:work:{number}" if number % 3 else None
        units = int(draw.integers(1, units_max + 1))
        found.append(UsageEvent(UUID(int=first_id + number), occurred, units, mode, shares, work_id=work))
    return found


def some_scores(seed: int) -> Any:
    """A batch of eight works with signed scores."""
    return score_batches(
        np.random.default_rng(seed).normal(size=(len(ITEMS), 8)),
        items=list(ITEMS),
        works=[f"urn:scored:{number}" for number in range(8)],
        occurred_at=NOON,
        units=300,
        mode=Mode.AI_ONLY,
        event_ids=[UUID(int=seed * 10**6 + 900_000 + number) for number in range(8)],
    )


def open_history(deployment: Deployment) -> Scene:
    """Everyone registered, the pool open under the first policy, and both methods declared."""
    operator = deployment.client("operators/olive")
    for platform in PLATFORMS:
        operator.create_platform(platform, Platform(display_name=platform))
    for number, name in enumerate(COLLECTIVES):
        body = Collective(display_name=name.upper(), members=7 * number, equity_ppm=1_000_000 + 123_457 * number)
        operator.create_collective(name, body)
    operator.create_pool(
        POOL,
        Pool(
            display_name='Folk "tunes" \\ more',
            currency="EUR",
            policy=POLICIES[0],
            distribute=DISTRIBUTE_REPORTED,
            platforms=NAMED_PLATFORMS,
        ),
    )
    operator.update_pool_limits(POOL, PoolLimits(lead_seconds_max=366 * 86_400))  # usage of the months to come
    for name, confidence in METHODS.items():
        operator.create_method(POOL, name, Method(display_name=name, confidence_ppm=confidence))
    operator.create_membership(POOL, "items", ITEMS)
    scored = Method(
        display_name=SCORED, confidence_ppm=800_000, score_kind=SCORE_KIND_SIGNED_INFLUENCE, membership="items"
    )
    operator.create_method(POOL, SCORED, scored)
    return Scene(deployment, operator, deployment.client("operators/otto"), deployment.client("platforms/tunesmith"))


def live_round(scene: Scene, number: int, *, events: int = 60, units_max: int = 1000) -> None:
    """Usage by both platforms and methods with duplicates, revenue, a retraction, and the cut."""
    deployment, songbird = scene.deployment, scene.deployment.client("platforms/songbird")
    deployment.clock.advance(days=31)
    usage = some_usage(number, events, first_id=number * 10**6, units_max=units_max)
    half = len(usage) // 2
    # The last events of the first batch come again in the second, and one event twice in it.
    for name, part, by in (
        ("ngram", usage[:half], scene.platform),
        ("influence", [*usage[half - 5 :], usage[-1]], scene.platform),
        ("ngram", usage[::2], songbird),
    ):
        by.submit_events(POOL, part, name, batch_id=f"{name}-{number}")
    songbird.submit_scores(POOL, some_scores(number), SCORED)
    scene.platform.report_revenue(POOL, 100_003 + 7 * number, "EUR", request_id=f"r-{number}", note='say "what" ; a:b')
    songbird.report_revenue(POOL, 9_999, "EUR", request_id=f"s-{number}")
    retract(scene, number, usage[:3])
    scene.cut(f"q-{number}")


def retract(scene: Scene, number: int, usage: Sequence[UsageEvent]) -> None:
    ids = [each.event_id for each in usage]
    scene.platform.retract_usage(POOL, request_id=f"t-{number}", reason="wrong", event_ids=ids)


def fill(scene: Scene, number: int) -> None:
    """Usage for one collective and money for it, so that a round is cut whatever was taken back."""
    usage = UsageEvent(UUID(int=10**12 + number), NOON, 10**9, Mode.HUMAN_AI, {"nobody": 10**9})
    scene.platform.submit_events(POOL, [usage], "ngram", batch_id=f"fill-{number}")
    scene.pay_in(10_000, f"fill-{number}")


def live(scene: Scene, *, events: int = 60) -> None:
    """A round under each policy, with one between each two that only takes back; then what operators move by hand."""
    for number, policy in enumerate(POLICIES, 1):
        if number == len(POLICIES):
            suspended = Collective(display_name="Z", members=42, status=COLLECTIVE_STATUS_SUSPENDED)
            scene.operator.update_collective("z9", suspended)
        live_round(scene, number, events=events)
        # So the next round has more taken back than added, and the one after it has deficits to make up for.
        usage = some_usage(number, events, first_id=number * 10**6)
        retract(scene, 100 + number, [each for each in usage[3:] if "irish" in each.shares or not each.shares])
        following = POLICIES[number] if number < len(POLICIES) else policy
        scene.operator.create_policy(POOL, following)
        fill(scene, number)
        scene.cut(f"policy-{number}")  # the policy is in force from the next round that starts after it
    scene.operator.record_payment(POOL, "irish", 1_234, request_id="p-1", reference='bank "x"; y')
    scene.operator.release_held(POOL, "z9", 50, request_id="h-1", reason="settled")
    scene.operator.release_held(POOL, "z9", 25, request_id="h-2", reason="settled", to_commons=True)
    scene.operator.grant_from_commons(POOL, "nobody", 5, request_id="g-1", reason="a school")
    scene.operator.create_policy(POOL, POLICIES[0])
    fill(scene, 98)
    scene.cut("last")
    scene.pay_in(5_000, "late")
    scene.submit(some_usage(99, 5, first_id=99 * 10**6), "late")
    fill(scene, 99)
    open_round = scene.operator.calculate_round(POOL, request_id="open")
    scene.reviewer.reject_round(POOL, open_round.number, "no")
    scene.operator.calculate_round(POOL, request_id="open-2")
