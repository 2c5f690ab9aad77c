"""Streams that callers hold open: they take none of the threads that everyone else needs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import grpc
import pyarrow as pa
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from moiety import Platform
from services.api.streams import StreamLimit
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NOON, POOL, Scene, open_scene
from tests.support.wire import Wire, refused


def usage(count: int) -> pa.Table:
    return pa.table(
        {
            "id": [f"play-{number}" for number in range(count)],
            "occurred_at": [NOON] * count,
            "units": [1] * count,
            "mode": ["AI_ONLY"] * count,
            "collectives": [["irish"]] * count,
            "shares": [[1]] * count,
        }
    )


def hoarder(scene: Scene, name: str) -> Wire:
    """A platform that knows no SDK."""
    scene.operator.create_platform(name, Platform(display_name=name))
    return Wire(scene.deployment.address, scene.deployment.key(f"platforms/{name}"))


def listing(until: threading.Event) -> Iterator[reflection_pb2.ServerReflectionRequest]:
    yield reflection_pb2.ServerReflectionRequest(list_services="")
    until.wait(30)


def test_strangers_who_keep_reflection_open_do_not_keep_others_out(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(threads=8)
    allowed = StreamLimit(8).each
    done = threading.Event()
    with grpc.insecure_channel(deployment.address) as channel:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        held = [reflection.ServerReflectionInfo(listing(done)) for _ in range(allowed)]
        assert all(next(call) for call in held)
        turned_away = [reflection.ServerReflectionInfo(listing(done)) for _ in range(20)]
        for call in turned_away:
            assert refused(partial(next, call)).code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
        assert list(deployment.client().list_pools()) == []
        done.set()
        assert all(list(call) == [] for call in held)
        assert next(reflection.ServerReflectionInfo(listing(done)))


def idle(until: threading.Event) -> Iterator[Message]:
    until.wait(60)
    yield from ()


def test_platforms_that_keep_idle_streams_open_do_not_keep_others_out(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(threads=8)
    limit = StreamLimit(8)
    done = threading.Event()
    scene = open_scene(deployment)
    with ExitStack() as stack:
        hoarders = [stack.enter_context(hoarder(scene, f"hoarder-{number}")) for number in range(4)]
        health: Any = health_pb2_grpc.HealthStub(hoarders[0].channel)
        streams = [wire.open("UsageService/AppendUsage", idle(done)) for wire in hoarders for _ in range(20)]
        refusals = [call for call in streams if settles(call)]
        assert len(streams) - len(refusals) == limit.all
        refusal = refused(partial(next, refusals[0]))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        assert refusal.details["RetryInfo"].retry_delay.seconds == 1
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
        assert list(scene.operator.list_pools())

        # The client waits as it is told, and gets its turn when the others have let go.
        threading.Timer(0.5, done.set).start()
        (receipt,) = scene.platform.submit_usage(POOL, usage(3), METHOD)
        assert receipt.accepted_count == 3


def test_one_platform_has_its_share_of_the_streams_and_no_more(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(threads=8)
    done = threading.Event()
    scene = open_scene(deployment)
    with hoarder(scene, "hoarder") as first, hoarder(scene, "hoarder") as second:
        streams = [wire.open("UsageService/AppendUsage", idle(done)) for wire in (first, second) for _ in range(10)]
        assert sum(not settles(call) for call in streams) == StreamLimit(8).each
        (receipt,) = scene.platform.submit_usage(POOL, usage(3), METHOD)
        assert receipt.accepted_count == 3
        done.set()


def settles(call: Any) -> bool:
    """Whether the call ends by itself, soon."""
    ended = threading.Event()
    if call.add_callback(ended.set):
        ended.wait(1)
    return bool(call.done())
