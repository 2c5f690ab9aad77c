"""The contract over HTTP: Connect and gRPC-Web give what gRPC gives, to whom gRPC gives it."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

import pyarrow as pa
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from moiety.v1 import audit_pb2, registry_pb2, rounds_pb2
from services.api.calls.door import SMALL_MESSAGE_BYTES
from services.api.http import exchange, messages
from services.process import http_server
from tests.support.deployment import Deployment
from tests.support.http import ask, call
from tests.support.scene import POOL, Scene, event, open_scene
from tests.support.wire import METHODS, Wire, refused

pytestmark = pytest.mark.surface

PROTO: Final = "application/proto"
STREAM: Final = "application/connect+proto"


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@pytest.fixture
def address(scene: Scene) -> str:
    return scene.deployment.running.http_address


@pytest.fixture
def key(scene: Scene) -> str:
    return scene.deployment.key("operators/olive")


def framed(message: Any, flags: int = 0) -> bytes:
    raw: bytes = message if isinstance(message, bytes) else message.SerializeToString()
    return bytes([flags]) + len(raw).to_bytes(4) + raw


def frames(body: bytes) -> list[tuple[int, bytes]]:
    found = []
    while body:
        size = int.from_bytes(body[1:5])
        found.append((body[0], body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def test_json_and_binary_give_what_grpc_gives(scene: Scene, address: str, key: str) -> None:
    with Wire(scene.deployment.address, key) as wire:
        expected = wire.call("RegistryService/GetPool", name=f"pools/{POOL}")
    asked = call(address, "RegistryService/GetPool", key, name=f"pools/{POOL}")
    assert asked.status == 200
    assert json_format.Parse(asked.text, registry_pb2.Pool()) == expected
    raw = registry_pb2.GetPoolRequest(name=f"pools/{POOL}").SerializeToString()
    zstd = pa.Codec("zstd").compress(raw, asbytes=True)
    for body, headers in (
        (raw, {}),
        (gzip.compress(raw), {"content_encoding": "gzip"}),
        (zstd, {"content_encoding": "zstd"}),
    ):
        binary = ask(address, "/moiety.v1.RegistryService/GetPool", body, key=key, content_type=PROTO, **headers)
        assert binary.headers["content-type"] == PROTO
        assert registry_pb2.Pool.FromString(binary.body) == expected


def test_money_in_and_usage_in_by_http_alone(scene: Scene, address: str) -> None:
    platform = scene.deployment.key("platforms/songbird")
    paid = call(
        address, "RevenueService/ReportRevenue", platform, parent=f"pools/{POOL}", requestId="january",
        report={"amountMinor": "100000", "currency": "EUR"},
    )  # fmt: skip
    assert paid.status == 200, paid.text
    scene.submit([event(1)], "by-grpc")
    round_ = call(
        address, "RoundsService/CalculateRound", scene.deployment.key("operators/olive"), parent=f"pools/{POOL}",
        requestId="r",
    )  # fmt: skip
    assert round_.json()["potMinor"] == "100000"


def test_errors_have_their_details_and_the_request_id(scene: Scene, address: str, key: str) -> None:
    with Wire(scene.deployment.address, key) as wire:
        expected = refused(lambda: wire.call("RegistryService/GetPool", name="pools/none"))
    answer = ask(
        address, "/moiety.v1.RegistryService/GetPool", b'{"name": "pools/none"}', key=key,
        content_type="application/json", x_request_id="mine-7",
    )  # fmt: skip
    assert (answer.status, answer.headers["x-request-id"]) == (404, "mine-7")
    document = answer.json()
    assert (document["code"], document["message"]) == ("not_found", expected.message)
    details = {detail["type"]: base64.b64decode(detail["value"] + "==") for detail in document["details"]}
    info = error_details_pb2.ErrorInfo.FromString(details["google.rpc.ErrorInfo"])
    assert info.reason == expected.reason == "NOT_FOUND"
    assert error_details_pb2.RequestInfo.FromString(details["google.rpc.RequestInfo"]).request_id == "mine-7"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        (b"{", "application/json", 400, "request"),
        (b'{"nome": "pools/folk"}', "application/json", 400, "nome"),
        (b"{}", "application/json", 400, "name"),
        (b"[" * 100_000, "application/json", 400, "request"),
        (b"\xff\xff", PROTO, 400, "request"),
        (b"", PROTO, 400, "name"),
        (b"{}", "text/plain", 415, "application/json"),
        (b"{}", STREAM, 415, "application/json"),
    ],
)
def test_what_is_no_request_is_refused(
    address: str, key: str, body: bytes, content_type: str, status: int, says: str
) -> None:
    answer = ask(address, "/moiety.v1.RegistryService/GetPool", body, key=key, content_type=content_type)
    assert answer.status == status
    assert says in answer.text


def test_a_message_is_as_large_as_its_method_takes_and_no_larger(address: str, key: str) -> None:
    path, large = "/moiety.v1.RegistryService/GetPool", b"\x0a\x04" + b"a" * (SMALL_MESSAGE_BYTES + 4096)
    for body, headers in (
        (large, {}),
        (iter([large]), {}),
        (gzip.compress(b"\x0a" + b"a" * 10**8), {"content_encoding": "gzip"}),
        (pa.Codec("zstd").compress(b"\x0a" + b"a" * 10**8, asbytes=True), {"content_encoding": "zstd"}),
    ):
        answer = ask(address, path, body, key=key, content_type=PROTO, **headers)
        assert (answer.status, answer.json()["code"]) == (429, "resource_exhausted")


def test_each_role_may_do_by_http_what_it_may_by_grpc(scene: Scene, address: str) -> None:
    key = scene.deployment.key("collectives/irish")
    assert call(address, "RegistryService/GetPool", key, name=f"pools/{POOL}").status == 200
    assert call(address, "AuditService/GetLogHead", key, parent=f"pools/{POOL}").status == 403
    for wrong in ("", "moiety_0000000000000000_" + "a" * 43, "nonsense"):
        answer = call(address, "RegistryService/GetPool", wrong, name=f"pools/{POOL}")
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_every_method_of_the_contract_asks_for_a_key(address: str) -> None:
    for name in METHODS:
        answer = ask(address, f"/moiety.v1.{name}", b"", content_type="application/connect+json")
        other = ask(address, f"/moiety.v1.{name}", b"{}", content_type="application/json")
        assert b"unauthenticated" in answer.body + other.body, name
    assert ask(address, "/moiety.v1.RegistryService/Nothing", b"{}", content_type=PROTO).status == 404
    assert ask(address, "/moiety.v1.RegistryService/GetPool").status == 405


def test_streams_come_in_envelopes_with_their_end(scene: Scene, address: str, key: str) -> None:
    scene.pay_in(100_000, "january")
    scene.submit([event(1)], "one")
    scene.cut("r")
    asked = rounds_pb2.GetStatementRequest(name=f"pools/{POOL}/rounds/1")
    with Wire(scene.deployment.address, key) as wire:
        expected = b"".join(part.chunk for part in wire.call("RoundsService/GetStatement", asked))
    path = "/moiety.v1.RoundsService/GetStatement"
    *parts, (flags, end) = frames(ask(address, path, framed(asked), key=key, content_type=STREAM).body)
    assert (flags, json.loads(end)) == (2, {})
    assert b"".join(rounds_pb2.GetStatementResponse.FromString(part).chunk for _, part in parts) == expected
    for kind in ("application/grpc-web+proto", "application/grpc-web-text"):
        is_text = kind.endswith("text")
        body = base64.b64encode(framed(asked)) if is_text else framed(asked)
        got = ask(address, path, body, key=key, content_type=kind).body
        if is_text:
            got = b"".join(base64.b64decode(piece + b"=" * (-len(piece) % 4)) for piece in _quads(got))
        *parts, (flags, end) = frames(got)
        assert (flags, end) == (0x80, b"grpc-status: 0\r\n")
        assert b"".join(rounds_pb2.GetStatementResponse.FromString(part).chunk for _, part in parts) == expected


def _quads(text: bytes) -> Iterator[bytes]:
    yield from (text[place : place + 4] for place in range(0, len(text), 4))


def test_a_stream_says_its_error_at_its_end(address: str, key: str) -> None:
    asked = rounds_pb2.GetStatementRequest(name=f"pools/{POOL}/rounds/9")
    path = "/moiety.v1.RoundsService/GetStatement"
    answer = ask(address, path, framed(asked), key=key, content_type=STREAM)
    ((flags, end),) = frames(answer.body)
    assert (answer.status, flags, json.loads(end)["error"]["code"]) == (200, 2, "not_found")
    ((flags, end),) = frames(ask(address, path, framed(asked), key=key, content_type="application/grpc-web").body)
    trailers = dict(line.split(": ", 1) for line in end.decode().splitlines())
    packed = trailers["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(base64.b64decode(packed + "=" * (-len(packed) % 4)))
    assert (flags, trailers["grpc-status"], status.code) == (0x80, "5", 5)


def test_unary_calls_go_by_grpc_web(address: str, key: str) -> None:
    asked = registry_pb2.GetPoolRequest(name=f"pools/{POOL}")
    path = "/moiety.v1.RegistryService/GetPool"
    answer = ask(address, path, framed(asked), key=key, content_type="application/grpc-web")
    (_, message), (flags, _) = frames(answer.body)
    assert (registry_pb2.Pool.FromString(message).name, flags) == (f"pools/{POOL}", 0x80)


def test_streams_of_requests_are_left_to_grpc(scene: Scene, address: str) -> None:
    platform = scene.deployment.key("platforms/songbird")
    answer = ask(address, "/moiety.v1.UsageService/AppendUsage", framed(b""), key=platform, content_type=STREAM)
    ((_, end),) = frames(answer.body)
    assert json.loads(end)["error"]["code"] == "unimplemented"


def test_a_body_of_the_log_streams_whole(scene: Scene, address: str, key: str) -> None:
    receipt = scene.submit([event(number) for number in range(900)], "many")
    asked = audit_pb2.GetBodyRequest(parent=f"pools/{POOL}", sha256=receipt.body_sha256)
    *parts, _ = frames(
        ask(address, "/moiety.v1.AuditService/GetBody", framed(asked), key=key, content_type=STREAM).body
    )
    body = b"".join(audit_pb2.GetBodyResponse.FromString(part).chunk for _, part in parts)
    assert sha256(body).digest() == receipt.body_sha256


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_a_pool(address: str, key: str) -> None:
    run = subprocess.run(
        ["curl", "--silent", "--fail-with-body", "--header", f"authorization: Bearer {key}", "--json",
         json.dumps({"name": f"pools/{POOL}"}), f"http://{address}/moiety.v1.RegistryService/GetPool"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(run.stdout)["currency"] == "EUR"


def test_pages_of_other_origins_may_call_where_it_is_set(scene: Scene, deploy: Callable[..., Deployment]) -> None:
    closed, open_ = scene.deployment, deploy(http_origins="https://books.example, https://other.example")
    path = "/moiety.v1.RegistryService/GetPool"
    asked: dict[str, Any] = {"origin": "https://books.example", "access_control_request_method": "POST"}
    assert ask(closed.running.http_address, path, method="OPTIONS", **asked).status == 403
    allowed = ask(open_.running.http_address, path, method="OPTIONS", **asked)
    assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (204, "https://books.example")
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    refused_ = ask(open_.running.http_address, path, method="OPTIONS", origin="https://evil.example")
    assert refused_.status == 403
    answer = ask(
        open_.running.http_address, path, b"{}", content_type="application/json", origin="https://evil.example"
    )
    assert "access-control-allow-origin" not in answer.headers


# What strangers and slow callers cost.


def connected(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=120)


def test_silent_and_slow_connections_are_ended_and_hold_up_nobody(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 2.0)
    monkeypatch.setattr(http_server, "connections_allowed", lambda _: 40)
    deployment = open_scene(deploy()).deployment
    address, key = deployment.running.http_address, deployment.key("operators/olive")
    silent = [connected(address) for _ in range(100)]
    slow = connected(address)
    slow.sendall(b"POST /moiety.v1.RegistryService/GetPool HTTP/1.1\r\nhost: x\r\nx-a: ")
    assert call(address, "RegistryService/GetPool", key, name=f"pools/{POOL}").status == 200
    for each in [*silent, slow]:
        with suppress(ConnectionResetError):
            assert each.recv(1) == b""
        each.close()


def test_a_connection_that_has_asked_once_has_no_longer_for_the_next(
    deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 2.0)
    monkeypatch.setattr(http_server, "connections_allowed", lambda _: 40)
    kept = connected(deploy().running.http_address)
    kept.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
    answer = b""
    while not answer.endswith(b"ok\n"):
        answer += kept.recv(4096)
    kept.sendall(b"GET /livez HTTP/1.1\r\nhost")  # and no more
    with suppress(ConnectionResetError):
        assert kept.recv(1) == b""
    kept.close()


def test_nothing_of_a_body_is_read_before_the_key(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = exchange.Exchange.pieces

    def noted(self: exchange.Exchange, *rest: Any) -> Any:
        read.append(self.path)
        return real(self, *rest)

    monkeypatch.setattr(exchange.Exchange, "pieces", noted)
    with connected(address) as stranger:
        stranger.sendall(
            b"POST /moiety.v1.UsageService/SubmitUsage HTTP/1.1\r\nhost: x\r\ncontent-type: application/proto\r\n"
            b"content-length: 30000000\r\n\r\n"
        )
        assert stranger.recv(4096).startswith(b"HTTP/1.1 401")
    assert read == []


def test_a_body_that_does_not_come_is_not_waited_for(
    scene: Scene, address: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MESSAGE_SECONDS", 2.0)
    head = (
        "POST /moiety.v1.RegistryService/GetPool HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: 100\r\n\r\n{{"
    ).encode()
    slow = [connected(address) for _ in range(scene.deployment.settings.threads)]
    for each in slow:
        each.sendall(head)
    other = scene.deployment.key("platforms/songbird")
    assert call(address, "RegistryService/GetPool", other, name=f"pools/{POOL}").status == 200
    statuses = {each.recv(12) for each in slow}
    assert statuses <= {b"HTTP/1.1 400", b"HTTP/1.1 429"}
    for each in slow:
        each.close()


def test_readers_that_read_nothing_hold_no_thread(scene: Scene, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "TAKE_SECONDS", 2.0)
    receipt = scene.submit([event(number) for number in range(1000)], "many")
    key = scene.deployment.key("auditors/kim")
    asked = framed(audit_pb2.GetBodyRequest(parent=f"pools/{POOL}", sha256=receipt.body_sha256))
    head = (
        "POST /moiety.v1.AuditService/GetBody HTTP/1.1\r\nhost: x\r\ncontent-type: application/connect+proto\r\n"
        f"authorization: Bearer {key}\r\ncontent-length: {len(asked)}\r\n\r\n"
    ).encode()
    lazy = [connected(address) for _ in range(scene.deployment.settings.threads)]
    for each in lazy:
        each.sendall(head + asked)
    other = scene.deployment.key("operators/olive")
    for _ in range(5):
        assert call(address, "RegistryService/GetPool", other, name=f"pools/{POOL}").status == 200
    for each in lazy:
        each.close()


def test_bytes_that_are_no_http_are_refused(address: str) -> None:
    for garbage in (b"\x16\x03\x01" + b"x" * 100 + b"\r\n\r\n", b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n"):
        with connected(address) as stranger:
            stranger.sendall(garbage)
            with suppress(ConnectionResetError):
                assert stranger.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"")
    assert ask(address, "/livez").status == 200


def test_the_document_of_openapi_is_valid_and_has_every_unary_call(address: str) -> None:
    document = ask(address, "/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    unary = {
        f"/moiety.v1.{name}"
        for name, method in METHODS.items()
        if not (method.client_streaming or method.server_streaming)
    }
    assert unary == {path for path in document["paths"] if path.startswith("/moiety.v1.")}


def test_every_path_of_the_document_is_served(address: str, key: str) -> None:
    document = ask(address, "/openapi.json").json()
    for path, ways in document["paths"].items():
        for method, said in ways.items():
            filled = path.format(pool=POOL, number=1, form="beancount", state="1-1", path="checkpoint")
            body, kind = (b"{}", "application/json") if method == "post" else (None, "")
            answer = ask(address, filled, body, method=method.upper(), key=key, content_type=kind)
            assert answer.status not in (405, 501), path
            assert b"nothing is here" not in answer.body, path
            assert {str(answer.status), "default"} & said["responses"].keys(), (path, answer.status)
            if answer.status >= 400 and "default" in said["responses"]:
                schema = said["responses"]["default"]["content"]["application/json"]["schema"]
                Draft202012Validator({**schema, "components": document["components"]}).validate(answer.json())


def test_what_is_called_has_the_form_that_the_document_says(address: str, key: str) -> None:
    document = ask(address, "/openapi.json").json()
    for name, fields in (("RegistryService/GetPool", {"name": f"pools/{POOL}"}), ("RegistryService/ListPools", {})):
        said = document["paths"][f"/moiety.v1.{name}"]["post"]["responses"]["200"]["content"]["application/json"]
        schema = {**said["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(call(address, name, key, **fields).json())
