"""What callers cost who never take an answer: a place and some memory, and not for long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from moiety import Platform
from moiety.v1 import registry_pb2, usage_pb2
from services.api.calls import streams
from services.api.calls.streams import CallLimits
from services.api.grpc import answers, carried
from tests.support.books import wait_until
from tests.support.deployment import Deployment
from tests.support.http2 import Untaking
from tests.support.scene import METHOD, POOL, event, open_scene

pytestmark = pytest.mark.surface

HEALTH: Final = "/grpc.health.v1.Health/Check"
GET_POOL: Final = "/moiety.v1.RegistryService/GetPool"
APPEND: Final = "/moiety.v1.UsageService/AppendUsage"
REFLECTION: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
LISTING: Final = reflection_pb2.ServerReflectionRequest(list_services="")
BATCH: Final = usage_pb2.AppendUsageRequest(
    parent=f"pools/{POOL}", batch_id="b", method_id=METHOD, arrow_stream=b"x"
).SerializeToString()

SECONDS: Final = 20
"""How long anything here may take that takes a second by itself."""


@pytest.fixture
def untaking(deployment: Deployment) -> Iterator[Untaking]:
    with Untaking(deployment.address) as opened:
        yield opened


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes its time otherwise is over soon."""
    monkeypatch.setattr(answers, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(carried, "TAKE_SECONDS", 0.3)
    monkeypatch.setattr(streams, "SHED_SECONDS", 0.3)


def serves(deployment: Deployment) -> bool:
    with grpc.insecure_channel(deployment.address) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        return bool(health.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS).status == 1)


@pytest.mark.usefixtures("soon")
def test_answers_that_nobody_takes_are_cancelled(deployment: Deployment, untaking: Untaking) -> None:
    asked = registry_pb2.GetPoolRequest(name="pools/none").SerializeToString()
    untaking.call(HEALTH, [b""], times=3)
    untaking.call("/moiety.v1.RegistryService/ListPools", [b""], deployment.key("operators/olive"), times=3)
    untaking.call(GET_POOL, [asked], times=3)  # refused, which needs no window
    wait_until(lambda: len(untaking.reset) == 9, seconds=SECONDS)
    assert serves(deployment)


def test_of_too_many_answers_the_oldest_are_cancelled(
    deployment: Deployment, untaking: Untaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "CALLS_MAX", 5)
    for _ in range(12):
        untaking.call(HEALTH, [b""])
        assert serves(deployment)  # which is taken, and counts no more
    wait_until(lambda: len(untaking.reset) >= 6, seconds=SECONDS)
    assert untaking.reset >= set(range(6))
    assert untaking.reset.isdisjoint(range(8, 12))


def test_of_too_many_bytes_the_oldest_are_cancelled_and_the_newest_never(
    deployment: Deployment, untaking: Untaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "BYTES_MAX", 1)
    untaking.call(HEALTH, [b""])

    def is_newest_served() -> bool:
        with suppress(grpc.RpcError):  # while it is older than the one that is not taken
            return serves(deployment) and untaking.reset == {0}
        return False

    wait_until(is_newest_served, seconds=SECONDS)


@pytest.mark.usefixtures("soon")
def test_streams_whose_answers_nobody_takes_are_cancelled(deployment: Deployment, untaking: Untaking) -> None:
    open_scene(deployment)
    untaking.call(REFLECTION, [LISTING.SerializeToString()])
    untaking.call(APPEND, [BATCH], deployment.key("platforms/tunesmith"))
    wait_until(lambda: untaking.reset == {0, 1}, seconds=SECONDS)


def test_streams_whose_answers_nobody_takes_make_room_for_others(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SHED_SECONDS", 0.3)
    deployment = deploy(threads=8)
    scene, limits = open_scene(deployment), CallLimits(8)
    with ExitStack() as stack:
        untaking = stack.enter_context(Untaking(deployment.address))
        for number in range(limits.streams.all // limits.streams.each):
            scene.operator.create_platform(f"hoarder-{number}", Platform(display_name="Hoarder"))
            key = deployment.key(f"platforms/hoarder-{number}")
            untaking.call(APPEND, [BATCH], key, times=limits.streams.each)
        untaking.call(REFLECTION, [LISTING.SerializeToString()], times=limits.reflection.each)
        (shed,) = wait_until(lambda: told(deployment) and untaking.reset, seconds=SECONDS)
        receipt = scene.submit([event(1)], "b")
        assert receipt.accepted_count == 1
        assert shed >= limits.streams.all


def told(deployment: Deployment) -> bool:
    """Whether somebody else is told what services there are."""
    with grpc.insecure_channel(deployment.address) as channel:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        try:
            return bool(list(reflection.ServerReflectionInfo(iter([LISTING]), timeout=SECONDS)))
        except grpc.RpcError:
            return False
