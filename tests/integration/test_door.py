"""What whoever has no key, or sends no message, costs everybody else: nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from moiety import Client
from moiety.v1 import usage_pb2
from services.api import door
from tests.support.deployment import Deployment
from tests.support.scene import POOL, Scene, open_scene

pytestmark = pytest.mark.surface

RAW: Final[dict[str, Any]] = {"request_serializer": bytes, "response_deserializer": bytes}


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@pytest.fixture
def channel(scene: Scene) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(scene.deployment.address) as channel:
        yield channel


def silent(
    channel: grpc.Channel, method: str, calls: int, metadata: Any = None
) -> tuple[list[Any], Callable[[], None]]:
    """So many calls that send no message until they are let go."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(240)
        yield from ()

    make = channel.stream_unary(method, **RAW)
    return [make.future(nothing(), metadata=metadata, timeout=60) for _ in range(calls)], over.set


@pytest.mark.parametrize("method", ["/moiety.v1.RegistryService/GetPool", "/grpc.health.v1.Health/Check"])
def test_silent_calls_without_a_key_hold_up_nobody(scene: Scene, channel: grpc.Channel, method: str) -> None:
    calls, let_go = silent(channel, method, 4 * scene.deployment.settings.threads)
    try:
        assert scene.operator.get_pool(POOL).name == f"pools/{POOL}"
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest(), timeout=120)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        # Of health, one is waited for, and not for long.
        codes = Counter(call.code() for call in calls)
        assert codes.pop(grpc.StatusCode.CANCELLED, 0) <= 2
        assert set(codes) <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK}
    finally:
        let_go()


def test_silent_calls_with_a_key_leave_threads_for_others_and_are_ended(
    scene: Scene, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.interceptor.MESSAGE_SECONDS", 0.5)
    key = scene.deployment.key("platforms/songbird")
    metadata = (("authorization", f"Bearer {key}"),)
    calls, let_go = silent(channel, "/moiety.v1.RegistryService/GetPool", scene.deployment.settings.threads, metadata)
    try:
        assert scene.operator.get_pool(POOL).name == f"pools/{POOL}"
        assert {call.code() for call in calls} <= {grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        with Client(scene.deployment.address, key) as songbird:
            assert songbird.get_pool(POOL).name == f"pools/{POOL}"
    finally:
        let_go()


def test_nothing_is_parsed_before_the_key_is_looked_at(channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("services.api.interceptor.parsed", lambda raw, *_: seen.append(len(raw)))
    call = channel.unary_unary("/moiety.v1.UsageService/SubmitUsage", **RAW)
    with pytest.raises(grpc.RpcError) as refused:
        call(b"\x22\x00" * 1_000_000, compression=grpc.Compression.Gzip, timeout=120)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert seen == []


def test_a_message_is_as_large_as_its_method_takes_and_no_larger(scene: Scene, channel: grpc.Channel) -> None:
    metadata = (("authorization", f"Bearer {scene.deployment.key('operators/olive')}"),)
    call = channel.unary_unary("/moiety.v1.RegistryService/GetPool", **RAW)
    with pytest.raises(grpc.RpcError) as refused:
        call(b"\x0a\x04" + b"a" * (door.SMALL_MESSAGE_BYTES + 1), metadata=metadata, timeout=120)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_bytes_that_are_no_message_are_refused_in_one_line(
    scene: Scene, channel: grpc.Channel, capfd: pytest.CaptureFixture[str]
) -> None:
    metadata = (("authorization", f"Bearer {scene.deployment.key('operators/olive')}"),)
    capfd.readouterr()
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/moiety.v1.RegistryService/GetPool", **RAW)(b"\xff\xff", metadata=metadata, timeout=120)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    printed = "".join(capfd.readouterr())
    assert "Traceback" not in printed


def test_a_stream_ends_with_the_reason_why_a_message_cannot_be_read(scene: Scene, channel: grpc.Channel) -> None:
    metadata = (("authorization", f"Bearer {scene.deployment.key('platforms/songbird')}"),)
    unknown = usage_pb2.AppendUsageRequest(
        parent=f"pools/{POOL}", batch_id="b", method_id="none", arrow_stream=b"x"
    ).SerializeToString()
    stream = channel.stream_stream("/moiety.v1.UsageService/AppendUsage", **RAW)
    answers = stream(iter([unknown, b"\xff\xff"]), metadata=metadata, timeout=120)
    assert usage_pb2.AppendUsageResponse.FromString(next(answers)).batch_id == "b"
    with pytest.raises(grpc.RpcError) as refused:
        next(answers)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_two_keys_are_none(scene: Scene, channel: grpc.Channel) -> None:
    key = scene.deployment.key("operators/olive")
    metadata = (("authorization", f"Bearer {key}"), ("authorization", f"Bearer {key}"))
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary("/moiety.v1.RegistryService/ListPools", **RAW)(b"", metadata=metadata, timeout=120)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
