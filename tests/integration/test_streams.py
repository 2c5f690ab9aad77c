"""Streams that callers hold open: they take none of the threads that everyone else needs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any

import grpc
import pyarrow as pa
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from moiety import Platform
from services.api import streams
from services.api.streams import StreamLimit
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NOON, POOL, Scene, open_scene
from tests.support.wire import Wire, refused

pytestmark = pytest.mark.surface


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
        opened = [wire.open("UsageService/AppendUsage", idle(done)) for wire in hoarders for _ in range(20)]
        refusals = [call for call in opened if settles(call)]
        assert len(opened) - len(refusals) == limit.all
        refusal = refused(partial(next, refusals[0]))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        assert refusal.details["RetryInfo"].retry_delay.seconds == 1
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=10).status == 1
        assert list(scene.operator.list_pools())

        # The client waits as it is told, and gets its turn when the others have let go.
        threading.Timer(0.5, done.set).start()
        (receipt,) = scene.platform.submit_usage(POOL, usage(3), METHOD)
        assert receipt.accepted_count == 3


def test_a_platform_that_holds_idle_streams_does_not_lock_itself_out(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SHED_SECONDS", 0.5)
    deployment = deploy(threads=8)
    done = threading.Event()
    scene = open_scene(deployment)
    with Wire(deployment.address, deployment.key("platforms/tunesmith")) as wire:
        first, second = [wire.open("UsageService/AppendUsage", idle(done)) for _ in range(StreamLimit(8).each)]
        assert not any(settles(call) for call in (first, second))
        (receipt,) = scene.platform.submit_usage(POOL, usage(3), METHOD)
        assert receipt.accepted_count == 3
        (shed,) = [call for call in (first, second) if settles(call)]
        refusal = refused(partial(next, shed))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_SHED")
        assert "to make room for another stream" in refusal.message
        assert refusal.details["RetryInfo"].retry_delay.seconds == 1
        for number in range(20):  # again and again, each time by another
            (receipt,) = scene.platform.submit_usage(POOL, usage(number + 4), METHOD)
            assert receipt.accepted_count == 1
        done.set()


def test_a_slow_table_goes_on_after_its_stream_was_shed(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SHED_SECONDS", 0.3)
    deployment = deploy(threads=8)
    scene = open_scene(deployment)
    shed = threading.Event()

    def slowly() -> Iterator[pa.RecordBatch]:
        whole = usage(4)
        for place in range(4):
            if place == 2:
                assert shed.wait(60)
            yield from whole.slice(place, 1).to_batches()

    with ThreadPoolExecutor(1) as threads, Wire(deployment.address, deployment.key("platforms/tunesmith")) as wire:
        reader = pa.RecordBatchReader.from_batches(usage(1).schema, slowly())
        submitting = threads.submit(scene.platform.submit_usage, POOL, reader, METHOD, events_per_batch=1)
        while len(list(scene.platform.list_batches(POOL))) < 2:
            time.sleep(0.02)
        time.sleep(0.5)
        done = threading.Event()
        held = [wire.open("UsageService/AppendUsage", idle(done)) for _ in range(StreamLimit(8).each)]
        assert not any(settles(call) for call in held)
        shed.set()
        done.set()
        assert [receipt.accepted_count for receipt in submitting.result()] == [1] * 4


def test_one_platform_has_its_share_of_the_streams_and_no_more(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(threads=8)
    done = threading.Event()
    scene = open_scene(deployment)
    with hoarder(scene, "hoarder") as first, hoarder(scene, "hoarder") as second:
        opened = [wire.open("UsageService/AppendUsage", idle(done)) for wire in (first, second) for _ in range(10)]
        assert sum(not settles(call) for call in opened) == StreamLimit(8).each
        (receipt,) = scene.platform.submit_usage(POOL, usage(3), METHOD)
        assert receipt.accepted_count == 3
        done.set()


def settles(call: Any) -> bool:
    """Whether the call ends by itself, soon."""
    ended = threading.Event()
    if call.add_callback(ended.set):
        ended.wait(1)
    return bool(call.done())
