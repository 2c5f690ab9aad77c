"""A pool with people around it, and usage for it: what most tests begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from moiety import Client, Collective, Method, Mode, Platform, Policy, Pool, Receipt, Round, UsageEvent
from moiety.v1.registry_pb2 import DISTRIBUTE_REPORTED, Distribute
from tests.support.deployment import Deployment

POOL: Final = "folk"
METHOD: Final = "ngram"
COLLECTIVES: Final = ("breton", "irish", "scottish")
PLATFORMS: Final = ("songbird", "tunesmith")
NAMED_PLATFORMS: Final = tuple(f"platforms/{name}" for name in PLATFORMS)
"""As pools name those that they admit."""
NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
NANO: Final = 10**9


def event(
    number: int, *, shares: Mapping[str, int] | None = None, units: int = 1, mode: Mode = Mode.AI_ONLY
) -> UsageEvent:
    """The event with this number, always with the same id; 6/10 Irish unless told otherwise."""
    shares = {"irish": 600_000_000} if shares is None else shares
    return UsageEvent(UUID(int=number + 1), NOON, units, mode, shares, work_id=f"urn:tune:{number}")


def events(numbers: Iterable[int]) -> list[UsageEvent]:
    return [event(number) for number in numbers]


@dataclass(frozen=True)
class Scene:
    """A deployment with a pool, and a client for each who has to do with it."""

    deployment: Deployment
    operator: Client
    reviewer: Client
    platform: Client

    def submit(self, usage: Iterable[UsageEvent], batch_id: str, *, by: Client | None = None) -> Receipt:
        return (by or self.platform).submit_events(POOL, usage, METHOD, batch_id=batch_id)

    def pay_in(self, amount_minor: int, request_id: str) -> None:
        self.platform.report_revenue(POOL, amount_minor, "EUR", request_id=request_id)

    def fill(self, pool: str = POOL) -> None:
        """A unit of money, and usage that nobody claims: just enough for a round to be cut."""
        fresh = UsageEvent(uuid4(), NOON, 1, Mode.AI_ONLY, {})
        self.platform.submit_events(pool, [fresh], METHOD, batch_id=f"filling-{fresh.event_id}")
        self.platform.report_revenue(pool, 1, "EUR", request_id=f"filling-{fresh.event_id}")

    def cut(self, request_id: str) -> Round:
        """The next round, calculated by one operator and, where it needs it, approved by the other."""
        calculated = self.operator.calculate_round(POOL, request_id=request_id)
        if calculated.policy.review_seconds:
            return self.approve(calculated.number)
        return calculated

    def approve(self, number: int, *, by: Client | None = None) -> Round:
        """Have a round approved, by the other operator, once its review is over."""
        self.after_review(number)
        return (by or self.reviewer).approve_round(POOL, number)

    def after_review(self, number: int) -> None:
        """Let the time for a round's review pass."""
        self.deployment.clock.advance(seconds=self.operator.get_round(POOL, number).policy.review_seconds)

    def balances(self, *, log_size: int | None = None) -> dict[str, int]:
        return {
            balance.name.removeprefix(f"pools/{POOL}/accounts/"): balance.amount_minor
            for balance in self.operator.list_balances(POOL, log_size=log_size)
        }

    def allocations(self, number: int) -> dict[str, int]:
        return {
            allocation.collective.removeprefix("collectives/"): allocation.amount_minor
            for allocation in self.operator.list_allocations(POOL, number)
        }


def open_scene(
    deployment: Deployment, *, policy: Policy | None = None, distribute: Distribute.ValueType = DISTRIBUTE_REPORTED
) -> Scene:
    """Register everyone, open the pool and declare its method, which it trusts in full."""
    operator = deployment.client("operators/olive")
    for platform in PLATFORMS:
        operator.create_platform(platform, Platform(display_name=platform))
    for collective in COLLECTIVES:
        operator.create_collective(collective, Collective(display_name=collective, members=10))
    operator.create_pool(
        POOL,
        Pool(
            display_name="Folk tunes",
            currency="EUR",
            policy=policy or Policy(),
            distribute=distribute,
            platforms=NAMED_PLATFORMS,
        ),
    )
    operator.create_method(POOL, METHOD, Method(display_name="n-gram votes", confidence_ppm=1_000_000))
    return Scene(
        deployment,
        operator,
        deployment.client("operators/otto"),
        deployment.client("platforms/tunesmith"),
    )
