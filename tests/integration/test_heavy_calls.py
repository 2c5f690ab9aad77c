"""Calls that read something whole, such as a batch or the tables of a round: a few at a time, in turn by principal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import grpc
import pytest

from ledger.store.postgres.gates import HEAVY_WAITING, Gate
from moiety import batch_of
from services.api.usage.service import LISTED_FREELY
from tests.support.books import wait_until
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, POOL, Scene, event, events, open_scene
from tests.support.wire import Wire, refused, request_of

pytestmark = pytest.mark.surface

PARENT: Final = f"pools/{POOL}"
ROUND: Final = f"{PARENT}/rounds/1"
EVENT: Final = str(event(1).event_id)

HEAVY: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "UsageService/FindEvent": ("platforms/tunesmith", {"parent": PARENT, "event_id": EVENT}),
    "UsageService/GetBatch": ("platforms/tunesmith", {"name": f"{PARENT}/batches/tunesmith~again-0"}),
    "UsageService/RetractUsage": (
        "platforms/tunesmith",
        {"parent": PARENT, "request_id": "t", "batch_id": "b", "reason": "wrong"},
    ),
    "RevenueService/ListDues": ("platforms/tunesmith", {"parent": PARENT, "period": "2026-01"}),
    "RoundsService/GetFairness": ("operators/olive", {"name": ROUND}),
    "RoundsService/CalculateRound": ("operators/olive", {"parent": PARENT, "request_id": "q"}),
    "RoundsService/PreviewRound": ("operators/olive", {"parent": PARENT}),
    "AccountsService/PreviewAdjustment": ("operators/olive", {"name": ROUND}),
    "AccountsService/ListAdjustments": ("operators/olive", {"parent": PARENT}),
}
"""Who calls each method, and how."""


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    """A pool with a posted round, and a batch of more duplicates than are listed freely."""
    scene = open_scene(shared_deployment)
    scene.submit(events(range(5)), "b")
    for batch_id in ("many", "again"):
        usage = batch_of([event(number) for number in range(10, 11 + LISTED_FREELY)])
        scene.platform.submit_usage(POOL, usage, METHOD, batch_id=batch_id)
    scene.pay_in(100, "r")
    scene.cut("q")
    return scene


@pytest.fixture(scope="module")
def wire_of(scene: Scene) -> Iterator[Callable[[str], Wire]]:
    with ExitStack() as stack:

        def make(principal: str) -> Wire:
            return stack.enter_context(Wire(scene.deployment.address, scene.deployment.key(principal)))

        yield make


@pytest.fixture
def gate(scene: Scene) -> Gate:
    return scene.deployment.running.parts.heavy


@pytest.mark.parametrize("method", HEAVY)
def test_one_call_of_a_principal_is_let_in_at_a_time(gate: Gate, wire_of: Callable[[str], Wire], method: str) -> None:
    principal, fields = HEAVY[method]
    wire = wire_of(principal)
    with ThreadPoolExecutor(1) as threads:
        with gate.passed(principal):
            waits = threads.submit(wire.call, method, **fields)
            wait_until(lambda: gate.waiting(principal) == 1 or waits.done())
            assert not waits.done()
        waits.result(60)


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        # Nothing is signed here, and the round is posted.
        ("RoundsService/GetStatementFile", {"collective": "collectives/irish"}, grpc.StatusCode.NOT_FOUND),
        ("RoundsService/ApproveRound", {}, grpc.StatusCode.FAILED_PRECONDITION),
    ],
)
def test_what_is_refused_in_the_end_waits_too(
    gate: Gate, wire_of: Callable[[str], Wire], method: str, fields: dict[str, str], code: grpc.StatusCode
) -> None:
    wire = wire_of("operators/olive")
    with ThreadPoolExecutor(1) as threads:
        with gate.passed("operators/olive"):
            waits = threads.submit(lambda: refused(lambda: wire.call(method, name=ROUND, **fields)))
            wait_until(lambda: gate.waiting("operators/olive") == 1)
        assert waits.result(60).code == code


def test_others_are_let_in_while_a_principal_waits_for_its_turn(gate: Gate, wire_of: Callable[[str], Wire]) -> None:
    fields = HEAVY["UsageService/FindEvent"][1]
    wire, ada = wire_of("platforms/tunesmith"), wire_of("auditors/ada")
    with ThreadPoolExecutor(4) as threads:
        with gate.passed("platforms/tunesmith"):
            waits = [threads.submit(wire.call, "UsageService/FindEvent", **fields) for _ in range(4)]
            wait_until(lambda: gate.waiting("platforms/tunesmith") == 4)
            found = ada.call("UsageService/FindEvent", **fields, platform="platforms/tunesmith")
            assert found.event.event_id == EVENT
            assert not any(each.done() for each in waits)
        assert {each.result(60).event.event_id for each in waits} == {EVENT}


def test_a_call_that_was_given_up_leaves_the_queue_and_one_too_many_is_told_when_to_come_again(
    gate: Gate, wire_of: Callable[[str], Wire]
) -> None:
    wire, principal = wire_of("platforms/tunesmith"), "platforms/tunesmith"
    fields = HEAVY["UsageService/FindEvent"][1]
    asked = request_of("UsageService/FindEvent", **fields)
    with gate.passed(principal):
        waits = [wire.open("UsageService/FindEvent", asked) for _ in range(HEAVY_WAITING)]
        wait_until(lambda: gate.waiting(principal) == HEAVY_WAITING)
        told = refused(wire.open("UsageService/FindEvent", asked).result)
        assert (told.code, told.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_USED_UP")
        assert told.details["RetryInfo"].retry_delay.seconds >= 1
        for each in waits:
            each.cancel()
        wait_until(lambda: gate.waiting(principal) == 0)
    assert wire.call("UsageService/FindEvent", **fields).position == 1
