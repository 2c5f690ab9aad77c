"""What whoever has no key, or sends no message, costs everybody else: nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from moiety import Client
from moiety.v1 import registry_pb2, usage_pb2
from services.api.calls import door
from services.api.calls.large import AT_ONCE, FREE_BYTES
from services.api.grpc import carried
from services.api.usage import submissions
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, NAMED_PLATFORMS, POOL, Scene, open_scene

pytestmark = pytest.mark.surface

GET_POOL: Final = "/moiety.v1.RegistryService/GetPool"
GET_FOLK: Final = registry_pb2.GetPoolRequest(name=f"pools/{POOL}").SerializeToString()
SUBMIT: Final = "/moiety.v1.UsageService/SubmitUsage"
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
    monkeypatch.setattr("services.api.grpc.carried.MESSAGE_SECONDS", 0.5)
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


def test_silent_calls_of_two_principals_do_not_hold_all_threads(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy(threads=8)
    scene = open_scene(deployment)
    held: list[Any] = []
    with ExitStack() as stack:
        for name in ("platforms/songbird", "collectives/irish"):
            channel = stack.enter_context(grpc.insecure_channel(deployment.address))
            metadata = (("authorization", f"Bearer {deployment.key(name)}"),)
            channel.unary_unary(GET_POOL, **RAW)(GET_FOLK, metadata=metadata, timeout=120)  # so that its key is known
            calls, let_go = silent(channel, GET_POOL, 20, metadata)
            stack.callback(let_go)
            held += calls
        slow = stack.enter_context(grpc.insecure_channel(deployment.address)).stream_unary(GET_POOL, **RAW)
        metadata = (("authorization", f"Bearer {deployment.key('platforms/tunesmith')}"),)
        honest = slow.future(after(1.0, GET_FOLK), metadata=metadata, timeout=120)
        time.sleep(1.0)  # by then the silent ones have the threads that they get
        began = time.monotonic()
        for _ in range(5):
            assert scene.operator.get_pool(POOL).name == f"pools/{POOL}"
        assert honest.result()
        assert not all(call.done() for call in held)
        assert time.monotonic() - began < door.MESSAGE_SECONDS / 2


def after(seconds: float, raw: bytes) -> Iterator[bytes]:
    """A message that takes its time."""
    time.sleep(seconds)
    yield raw


def test_events_beyond_all_bounds_are_refused_without_being_parsed(
    scene: Scene, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = scene.deployment.key("platforms/songbird")
    with Client(scene.deployment.address, key) as songbird:
        songbird.get_pool(POOL)  # so that its key is known
    seen: list[int] = []
    for room in (carried, submissions):
        monkeypatch.setattr(room, "parsed", lambda raw, *_: seen.append(len(raw)))
    named = usage_pb2.SubmitUsageRequest(parent=f"pools/{POOL}", batch_id="b", method_id=METHOD).SerializeToString()
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(SUBMIT, **RAW)(
            named + b"\x22\x00" * 1_000_000, metadata=(("authorization", f"Bearer {key}"),), timeout=120
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "events: must be 1 to 1000, got more than 10000" in str(refused.value.details())
    assert seen == []


def test_large_messages_in_another_form_are_parsed_one_at_a_time(
    scene: Scene, channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def slowly(raw: bytes, method: str, deserialize: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.1)
        with lock:
            now -= 1
        return door.parsed(raw, method, deserialize)

    monkeypatch.setattr(carried, "parsed", slowly)
    named = usage_pb2.SubmitUsageRequest(parent=f"pools/{POOL}", batch_id="b", method_id=METHOD).SerializeToString()
    later = usage_pb2.SubmitUsageRequest(batch_id="b" * FREE_BYTES).SerializeToString()
    submit, raw = channel.unary_unary(SUBMIT, **RAW), later + named
    calls = [
        submit.future(raw, metadata=(("authorization", f"Bearer {key}"),), timeout=120)
        for key in map(scene.deployment.key, NAMED_PLATFORMS)
        for _ in range(3)
    ]
    assert {call.code() for call in calls} <= {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert most == AT_ONCE


def test_nothing_is_parsed_before_the_key_is_looked_at(channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("services.api.grpc.carried.parsed", lambda raw, *_: seen.append(len(raw)))
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
