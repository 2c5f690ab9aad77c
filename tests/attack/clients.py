"""Hostile clients: what somebody without a key, or a platform, may send to cost others something."""

from __future__ import annotations

import gzip
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import cycle
from threading import Event
from typing import Any, Final
from uuid import UUID, uuid4

import grpc
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest

from ledger.usage.format import MAX_EVENTS
from moiety.v1 import registry_pb2, usage_pb2_grpc
from moiety.v1 import usage_pb2 as pb
from tests.faults.world import METHOD, POOL
from tests.support import batches
from tests.support.http import ask
from tests.support.http import call as http_call
from tests.support.http2 import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    RESET,
    SETTINGS,
    Untaking,
    call_headers,
    frame,
    literal,
)  # fmt: skip

GET_POOL: Final = "/moiety.v1.RegistryService/GetPool"
SUBMIT: Final = "/moiety.v1.UsageService/SubmitUsage"
APPEND: Final = "/moiety.v1.UsageService/AppendUsage"
REFLECTION: Final = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
PLATFORM: Final = "tunesmith"
"""Whose key it is."""
GET_FOLK: Final = registry_pb2.GetPoolRequest(name=f"pools/{POOL}").SerializeToString()
RAW: Final[dict[str, Any]] = {"request_serializer": bytes, "response_deserializer": bytes}
_LARGE: Final = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


@dataclass(frozen=True)
class Target:
    """Where the service is, and a platform's key that somebody has."""

    grpc: str
    http: str
    key: str
    other_key: str
    """A collective's, which somebody has too."""
    seconds: float
    """How long an attack lasts."""

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The header with that key."""
        return (("authorization", f"Bearer {self.key}"),)

    def until(self) -> Iterator[None]:
        """Goes on for as long as an attack lasts."""
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            yield


def silent_calls(target: Target) -> None:
    """Calls without a key that send no message."""
    _silent(target, GET_POOL, 512, None)


def silent_checks_of_health(target: Target) -> None:
    """Checks of health that send no message."""
    _silent(target, "/grpc.health.v1.Health/Check", 256, None)


def silent_calls_with_a_key(target: Target) -> None:
    """A platform's calls that send no message."""
    _silent(target, GET_POOL, 256, target.metadata)


def silent_calls_with_two_keys(target: Target) -> None:
    """A platform's and a collective's calls that send no message: each alone may have three quarters of the threads."""
    with ThreadPoolExecutor(2) as threads:
        for key in (target.key, target.other_key):
            threads.submit(_silent, target, GET_POOL, 256, (("authorization", f"Bearer {key}"),))


def _silent(target: Target, method: str, count: int, metadata: Any) -> None:
    over = Event()

    def nothing() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    with grpc.insecure_channel(target.grpc) as channel:
        make = channel.stream_unary(method, **RAW)
        calls = [make.future(nothing(), metadata=metadata, timeout=60) for _ in range(count)]
        for _ in target.until():
            time.sleep(0.05)
        over.set()
        for each in calls:
            each.cancel()


def silent_streams(target: Target) -> None:
    """Streams of reflection without a key, and a platform's streams, which say nothing."""
    over = Event()

    def nothing() -> Iterator[bytes]:
        over.wait(60)
        yield from ()

    with grpc.insecure_channel(target.grpc) as channel:
        calls = [
            channel.stream_stream(method, **RAW)(nothing(), metadata=metadata, timeout=60)
            for method, metadata in ((REFLECTION, None), (APPEND, target.metadata))
            for _ in range(64)
        ]
        for _ in target.until():
            time.sleep(0.05)
        over.set()
        for each in calls:
            each.cancel()


def untaken_streams(target: Target) -> None:
    """Streams whose answers are never taken: of reflection without a key, and a platform's."""
    services = ServerReflectionRequest(list_services="").SerializeToString()
    body = pb.AppendUsageRequest(parent=f"pools/{POOL}", batch_id="x", method_id=METHOD, arrow_stream=b"x")
    with Untaking(target.grpc) as untaking:
        for _ in target.until():
            untaking.call(REFLECTION, [services], times=4)
            untaking.call(APPEND, [body.SerializeToString()], target.key, times=4)
            time.sleep(0.25)


def untaken_answers(target: Target) -> None:
    """Checks of health and a platform's calls whose answers are never taken: some 20 KB each, were they kept."""
    for _ in target.until():
        with suppress(OSError), Untaking(target.grpc) as untaking:
            for _ in target.until():
                untaking.call("/grpc.health.v1.Health/Check", [b""], times=50)
                untaking.call(GET_POOL, [GET_FOLK], target.key, times=5)
                time.sleep(0.02)


def bombs(target: Target) -> None:
    """Messages that are small on the wire and large when they are unpacked, without a key."""
    body = b"\x22\x00" * 16_000_000
    with grpc.insecure_channel(target.grpc, options=_LARGE, compression=grpc.Compression.Gzip) as channel:
        _often(target, 4, lambda: channel.unary_unary(SUBMIT, **RAW)(body, timeout=60))


def bombs_with_a_key(target: Target) -> None:
    """A platform's messages that are 45 times as large once they are parsed: in the usual form, and in others."""
    named = pb.SubmitUsageRequest(parent=f"pools/{POOL}", batch_id="x", method_id=METHOD).SerializeToString()
    bomb = b"\x22\x00" * (2 * 2**20 - 100)
    event = pb.UsageEvent(work_id="x").SerializeToString() + b"\x32\x00" * (2 * 2**20 - 100)
    nested = named + b"\x22" + _varint(len(event)) + event
    bodies = cycle([named + bomb, bomb + named, nested])
    with grpc.insecure_channel(target.grpc, options=_LARGE, compression=grpc.Compression.Gzip) as channel:
        submit = channel.unary_unary(SUBMIT, **RAW)
        _often(target, 12, lambda: submit(next(bodies), metadata=target.metadata, timeout=60))


def _varint(number: int) -> bytes:
    parts = [number >> shift & 127 for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(part | 128 for part in parts[:-1]), parts[-1]])


def undecodable(target: Target) -> None:
    """Bytes that are no message, with a key."""
    with grpc.insecure_channel(target.grpc) as channel:
        _often(
            target, 4, lambda: channel.unary_unary(GET_POOL, **RAW)(b"\xff" * 64, metadata=target.metadata, timeout=60)
        )


def two_keys(target: Target) -> None:
    """Calls with two keys, of which nobody can say which is meant."""
    with grpc.insecure_channel(target.grpc) as channel:
        _often(target, 4, lambda: channel.unary_unary(GET_POOL, **RAW)(b"", metadata=target.metadata * 2, timeout=60))


def unused_names(target: Target) -> None:
    """A platform's batches with names of megabytes that no event uses."""
    with grpc.insecure_channel(target.grpc, options=_LARGE) as channel:
        append = usage_pb2_grpc.UsageServiceStub(channel).AppendUsage

        def send() -> None:
            list(append(iter([_bloated()]), metadata=target.metadata, timeout=60))

        _often(target, 4, send)


def _bloated() -> pb.AppendUsageRequest:
    event = batches.Event(uuid4().bytes, occurred_at=int(time.time() * 1e6), shares=[("irish", 1000)])
    body = batches.stream(batches.record_batch([event], dictionary=["irish", "a" * 20_000_000]), compression="zstd")
    return pb.AppendUsageRequest(parent=f"pools/{POOL}", batch_id=f"x-{uuid4()}", method_id=METHOD, arrow_stream=body)


def finding_events(target: Target) -> None:
    """A platform's questions where an event of its largest batch is, as many as 24 at a time."""
    sent = _largest(target)
    asked = pb.FindEventRequest(parent=f"pools/{POOL}", event_id=str(sent.last_event))
    with grpc.insecure_channel(target.grpc) as channel:
        find = usage_pb2_grpc.UsageServiceStub(channel).FindEvent
        _often(target, 24, lambda: find(asked, metadata=target.metadata, timeout=60))


def retracting_nothing(target: Target) -> None:
    """A platform's retractions of its largest batch, of which nothing is left after the first."""
    sent = _largest(target)
    with grpc.insecure_channel(target.grpc) as channel:
        retract = usage_pb2_grpc.UsageServiceStub(channel).RetractUsage

        def ask() -> None:
            asked = pb.RetractUsageRequest(
                parent=f"pools/{POOL}", request_id=f"x-{uuid4()}", batch_id=sent.batch_id, reason="none"
            )
            retract(asked, metadata=target.metadata, timeout=60)

        _often(target, 24, ask)


def long_receipts(target: Target) -> None:
    """A platform's questions for the receipt of a batch of 65,536 duplicates."""
    first = _largest(target)
    again = _send(target, first.body)
    asked = pb.GetBatchRequest(name=f"pools/{POOL}/batches/{PLATFORM}~{again}")
    with grpc.insecure_channel(target.grpc) as channel:
        get = usage_pb2_grpc.UsageServiceStub(channel).GetBatch
        _often(target, 24, lambda: get(asked, metadata=target.metadata, timeout=60))


@dataclass(frozen=True)
class _Sent:
    batch_id: str
    body: bytes
    last_event: UUID


def _largest(target: Target) -> _Sent:
    """Have a batch recorded of as many events as may be, with works of as many bytes."""
    count, at = MAX_EVENTS, int(time.time() * 1e6) - 10**6
    ids = [uuid4() for _ in range(count)]
    shares = [("breton", 250), ("irish", 250), ("scottish", 250)]
    rows = [batches.Event(each.bytes, work_id="w" * 256, occurred_at=at, shares=shares) for each in ids]
    body = batches.stream(batches.record_batch(rows), compression="zstd")
    return _Sent(_send(target, body), body, ids[-1])


def _send(target: Target, body: bytes) -> str:
    batch_id = f"x-{uuid4()}"
    asked = pb.AppendUsageRequest(parent=f"pools/{POOL}", batch_id=batch_id, method_id=METHOD, arrow_stream=body)
    with grpc.insecure_channel(target.grpc, options=_LARGE) as channel:
        append = usage_pb2_grpc.UsageServiceStub(channel).AppendUsage
        (answer,) = append(iter([asked]), metadata=target.metadata, timeout=60)
    if not answer.HasField("receipt"):
        raise RuntimeError(f"the batch was refused: {answer.error.message}")
    return batch_id


def flood(target: Target) -> None:
    """One platform's calls, as many as a hundred at a time."""
    with grpc.insecure_channel(target.grpc) as channel:
        submit = usage_pb2_grpc.UsageServiceStub(channel).SubmitUsage
        _often(target, 100, lambda: submit(_batch_of_one(), metadata=target.metadata, timeout=30))


def flood_over_http(target: Target) -> None:
    """The same over HTTP, on a connection each."""
    _often(target, 60, lambda: http_call(target.http, "RegistryService/GetPool", target.key, name=f"pools/{POOL}"))


def _batch_of_one() -> pb.SubmitUsageRequest:
    event = pb.UsageEvent(event_id=str(uuid4()), units=1, mode=pb.MODE_AI_ONLY)
    event.occurred_at.GetCurrentTime()
    return pb.SubmitUsageRequest(parent=f"pools/{POOL}", batch_id=f"x-{uuid4()}", method_id=METHOD, events=[event])


def _often(target: Target, callers: int, make: Callable[[], object]) -> None:
    def go_on() -> None:
        for _ in target.until():
            with suppress(grpc.RpcError, OSError):
                make()

    with ThreadPoolExecutor(callers) as threads:
        for each in [threads.submit(go_on) for _ in range(callers)]:
            each.result()


def slow_headers(target: Target) -> None:
    """Connections over HTTP whose header comes byte by byte."""
    host, _, port = target.http.rpartition(":")
    with ExitStack() as stack:
        open_ = [stack.enter_context(socket.create_connection((host, int(port)), 10)) for _ in range(300)]
        for _ in target.until():
            for each in open_:
                with suppress(OSError):
                    each.sendall(b"G")
            time.sleep(0.5)


def large_forms(target: Target) -> None:
    """Forms of 4 MiB to the console, without a session, whose last byte does not come."""
    host, _, port = target.http.rpartition(":")
    body = b"a=b&" * 2**20
    head = f"POST /bank/main HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body) + 1}\r\n\r\n".encode()
    with ExitStack() as stack:
        open_ = [stack.enter_context(socket.create_connection((host, int(port)), 10)) for _ in range(200)]
        for each in open_:
            with suppress(OSError):
                each.sendall(head + body)
        for _ in target.until():
            time.sleep(0.05)


def tiny_chunks(target: Target) -> None:
    """Bodies over HTTP without a key, in chunks of one byte."""
    head = (
        f"POST {GET_POOL} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    _requests(target, head.encode() + b"1\r\nx\r\n" * 10_000)


def pipelined(target: Target) -> None:
    """Thousands of requests over HTTP, one behind another, whose answers are not waited for."""
    _requests(target, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" * 10_000)


def many_headers(target: Target) -> None:
    """Requests over HTTP with thousands of headers."""
    _requests(target, b"GET /livez HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 4_000 + b"\r\n")


def _requests(target: Target, sent: bytes) -> None:
    host, _, port = target.http.rpartition(":")

    def send() -> None:
        with socket.create_connection((host, int(port)), 5) as connection:
            connection.sendall(sent)
            connection.recv(65_536)

    _often(target, 30, send)


def bombs_in_json(target: Target) -> None:
    """A platform's JSON over HTTP that is small on the wire: millions of elements, and as many as are read."""
    bodies = [
        gzip.compress(b'{"events":[' + each + b"{}]}")
        for each in (b"{}," * 3_000_000, (b'{"shares":[' + b"{}," * 128 + b"{}]},") * 900, b"[" * 8_000_000)
    ]
    headers = {"content_type": "application/json", "content_encoding": "gzip"}
    _often(target, 8, lambda: [ask(target.http, SUBMIT, each, key=target.key, **headers) for each in bodies])


def silent_connections(target: Target) -> None:
    """Connections to both ports that say nothing, more than a process may have files by default."""
    with ExitStack() as stack:
        for address in (target.grpc, target.http):
            host, _, port = address.rpartition(":")
            for _ in range(700):
                with suppress(OSError):
                    stack.enter_context(socket.create_connection((host, int(port)), 10))
        for _ in target.until():
            time.sleep(0.05)


_CALL: Final = call_headers(GET_POOL)


def rapid_reset(target: Target) -> None:
    """Calls that are reset at once, thousands on one connection."""
    reset = struct.pack(">I", 8)
    _frames(target, lambda s: frame(HEADERS, END_HEADERS, s, _CALL) + frame(RESET, 0, s, reset))


def headers_alone(target: Target) -> None:
    """Calls of which nothing but the headers comes."""
    _frames(target, lambda s: frame(HEADERS, END_HEADERS, s, _CALL))


def pings(target: Target) -> None:
    """Pings and settings without end."""
    _frames(target, lambda _: frame(PING, 0, 0, b"12345678") + frame(SETTINGS, 0, 0))


def endless_headers(target: Target) -> None:
    """A header that goes on and on."""
    more = frame(CONTINUATION, 0, 1, literal(b"x-a", b"v" * 100))
    _frames(target, lambda s: frame(HEADERS, 0, 1, _CALL) if s == 1 else more)


def _frames(target: Target, of: Callable[[int], bytes]) -> None:
    host, _, port = target.grpc.rpartition(":")
    for _ in target.until():
        with suppress(OSError), socket.create_connection((host, int(port)), 5) as sent:
            sent.sendall(PREFACE + frame(SETTINGS, 0, 0))
            sent.settimeout(0.001)
            stream = 1
            for _ in target.until():
                sent.sendall(b"".join(of(each) for each in range(stream, stream + 400, 2)))
                stream += 400
                with suppress(TimeoutError):
                    if not sent.recv(65_536):
                        break


ATTACKS: Final[tuple[Callable[[Target], None], ...]] = (
    silent_calls, silent_checks_of_health, silent_calls_with_a_key, silent_calls_with_two_keys, silent_streams,
    untaken_streams, untaken_answers, bombs, bombs_with_a_key, bombs_in_json, undecodable, two_keys,
    unused_names, finding_events, retracting_nothing, long_receipts, flood, flood_over_http, slow_headers, large_forms,
    tiny_chunks, pipelined, many_headers, silent_connections, rapid_reset, headers_alone, pings, endless_headers,
)  # fmt: skip
