"""Streams that callers hold open: they take none of the threads that everyone else needs."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, Final

import grpc
import pyarrow as pa
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from moiety import Platform
from services.api import contract
from services.api.calls import streams
from services.api.calls.streams import CallLimits, StreamLimit
from services.process.server import FRAME_BYTES
from tests.support.books import wait_until
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NOON, POOL, Scene, open_scene
from tests.support.wire import Wire, refused

_SETTINGS: Final = 4
_MAX_FRAME_SIZE: Final = 5

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
    until.wait(240)


def test_strangers_who_keep_reflection_open_do_not_keep_others_out(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(threads=8)
    allowed = CallLimits(8).reflection.each
    done = threading.Event()
    with grpc.insecure_channel(deployment.address) as channel:
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        held = [reflection.ServerReflectionInfo(listing(done)) for _ in range(allowed)]
        assert all(next(call) for call in held)
        turned_away = [reflection.ServerReflectionInfo(listing(done)) for _ in range(20)]
        for call in turned_away:
            assert refused(partial(next, call)).code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=120).status == 1
        assert list(deployment.client().list_pools()) == []
        done.set()
        assert all(list(call) == [] for call in held)
        assert next(reflection.ServerReflectionInfo(listing(done)))


def idle(until: threading.Event) -> Iterator[Message]:
    until.wait(240)
    yield from ()


def test_platforms_that_keep_idle_streams_open_do_not_keep_others_out(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(threads=8)
    limit = StreamLimit(8)
    done = threading.Event()
    scene = open_scene(deployment)
    with ExitStack() as stack:
        hoarders = [stack.enter_context(hoarder(scene, f"hoarder-{number}")) for number in range(4)]
        health: Any = health_pb2_grpc.HealthStub(hoarders[0].channel)
        for wire in hoarders:
            wire.call("RegistryService/ListPools")  # so that its key is known, and its calls wait in its own queue
        opened = [wire.open("UsageService/AppendUsage", idle(done)) for wire in hoarders for _ in range(20)]
        refusals = [call for call in opened if settles(call)]
        assert len(opened) - len(refusals) == limit.all
        refusal = refused(partial(next, refusals[0]))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_STREAMS")
        assert refusal.details["RetryInfo"].retry_delay.seconds == 1
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=120).status == 1
        assert list(scene.operator.list_pools())

        # The client waits as it is told, and gets its turn when the others have let go.
        threading.Timer(0.5, done.set).start()
        (receipt,) = scene.platform.submit_usage(POOL, usage(3), METHOD)
        assert receipt.accepted_count == 3


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[CallLimits]:
    """What the services count that start from now on."""
    made: list[CallLimits] = []

    def counted(threads: int) -> CallLimits:
        made.append(CallLimits(threads))
        return made[-1]

    monkeypatch.setattr(contract, "CallLimits", counted)
    return made


def test_a_platform_that_holds_idle_streams_does_not_lock_itself_out(
    limits: list[CallLimits], deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SHED_SECONDS", 0.5)
    deployment = deploy(threads=8)
    done = threading.Event()
    scene = open_scene(deployment)
    with Wire(deployment.address, deployment.key("platforms/tunesmith")) as wire:
        opened = [wire.open("UsageService/AppendUsage", idle(done)) for _ in range(StreamLimit(8).each)]
        wait_until_idle(limits, len(opened), streams.SHED_SECONDS)
        assert not any(call.done() for call in opened)
        (receipt,) = scene.platform.submit_usage(POOL, usage(3), METHOD)
        assert receipt.accepted_count == 3
        (shed,) = ended(opened, 1)
        refusal = refused(partial(next, shed))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STREAM_SHED")
        assert "to make room for another stream" in refusal.message
        assert refusal.details["RetryInfo"].retry_delay.seconds == 1
        for number in range(20):  # again and again, each time by another
            (receipt,) = scene.platform.submit_usage(POOL, usage(number + 4), METHOD)
            assert receipt.accepted_count == 1
        done.set()


def test_a_slow_table_goes_on_after_its_stream_was_shed(
    limits: list[CallLimits], deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SHED_SECONDS", 0.3)
    deployment = deploy(threads=8)
    scene = open_scene(deployment)
    shed = threading.Event()

    def slowly() -> Iterator[pa.RecordBatch]:
        whole = usage(4)
        for place in range(4):
            if place == 2:
                assert shed.wait(240)
            yield from whole.slice(place, 1).to_batches()

    with ThreadPoolExecutor(1) as threads, Wire(deployment.address, deployment.key("platforms/tunesmith")) as wire:
        reader = pa.RecordBatchReader.from_batches(usage(1).schema, slowly())
        submitting = threads.submit(scene.platform.submit_usage, POOL, reader, METHOD, events_per_batch=1)
        wait_until(lambda: len(list(scene.platform.list_batches(POOL))) == 2)
        wait_until_idle(limits, 1, streams.SHED_SECONDS)
        done = threading.Event()
        held = [wire.open("UsageService/AppendUsage", idle(done)) for _ in range(StreamLimit(8).each)]
        wait_until_idle(limits, len(held), 0)
        assert not any(call.done() for call in held)
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
        ended.wait(2)
    return bool(call.done())


def ended(calls: Sequence[Any], least: int) -> list[Any]:
    """Those of the calls that have ended, once so many have."""
    wait_until(lambda: sum(call.done() for call in calls) >= least)
    return [call for call in calls if call.done()]


def wait_until_idle(limits: list[CallLimits], count: int, seconds: float) -> None:
    """Until the service counts so many open streams, each of them idle for so long."""
    (limit,) = [each.streams for each in limits]

    def are_idle() -> bool:
        with limit.lock:
            return [stream.idle_seconds() > seconds for stream in limit._open] == [True] * count

    wait_until(are_idle)


def test_a_batch_may_come_in_large_frames(deploy: Callable[..., Deployment]) -> None:
    """The server's settings are the first that it says (RFC 9113 sections 3.4, 4.1 and 6.5.2)."""
    host, _, port = deploy().address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as opened, opened.makefile("rb") as said:
        opened.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">BHBBI", 0, 0, _SETTINGS, 0, 0))
        high, low, kind, _, _ = struct.unpack(">BHBBI", said.read(9))
        settings = dict(struct.iter_unpack(">HI", said.read((high << 16) + low)))
    assert (kind, settings[_MAX_FRAME_SIZE]) == (_SETTINGS, FRAME_BYTES)
