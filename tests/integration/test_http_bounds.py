"""What a request over HTTP may cost: odd framing, tiny pieces and small bodies that say much hold up nobody."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import pytest

from services.api.http.doorway import AROUND_BYTES_MAX, BEHIND_MAX, HEADERS_MAX
from tests.support.browsing import signed_in
from tests.support.deployment import Deployment
from tests.support.http import ask, call
from tests.support.scene import POOL, Scene, open_scene

pytestmark = pytest.mark.surface

GET: Final = b"GET /livez HTTP/1.1\r\nhost: x\r\n"
POST: Final = b"POST /moiety.v1.RegistryService/GetPool HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
CHUNKED: Final = POST + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    return open_scene(shared_deployment)


@pytest.fixture
def address(scene: Scene) -> str:
    return scene.deployment.running.http_address


def answers(address: str, sent: bytes, seconds: float = 5.0) -> bytes:
    """What comes back until the connection ends, or for so long."""
    host, _, port = address.rpartition(":")
    found = b""
    with socket.create_connection((host, int(port)), timeout=seconds) as connection, suppress(OSError):
        with suppress(OSError):
            connection.sendall(sent)
        while piece := connection.recv(65_536):
            found += piece
    return found


REFUSED: Final = {
    "more headers than any client sends": (GET + b"a: b\r\n" * HEADERS_MAX + b"\r\n", b"431"),
    "a header without an end": (GET + b"a: " + b"b" * 3 * AROUND_BYTES_MAX, b"431"),
    "a long address": (b"GET /" + b"a" * 3 * AROUND_BYTES_MAX, b"431"),
    "empty lines before a request": (b"\r\n" * 2 * AROUND_BYTES_MAX, b"431"),
    "a header on two lines": (GET + b"a: b\r\n c\r\n\r\n", b"400"),
    "a header with a space in its name": (GET + b"a b: c\r\n\r\n", b"400"),
    "lines that end in a line feed alone": (b"GET /livez HTTP/1.1\nhost: x\n\n", b"400"),
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", b"400"),
    "two hosts": (GET + b"host: y\r\n\r\n", b"400"),
    "another version": (b"GET /livez HTTP/2.0\r\nhost: x\r\n\r\n", b"400"),
    "HTTP/2 known before": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"400"),
    "a tunnel": (b"CONNECT x:443 HTTP/1.1\r\nhost: x\r\n\r\n", b"400"),
    "a length and chunks": (POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    "chunks and a length": (POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n", b"400"),
    "two lengths": (POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", b"400"),
    "a length that is no number": (POST + b"content-length: +2\r\n\r\n{}", b"400"),
    "a size that is no number": (CHUNKED + b"0x1\r\n", b"400"),
    "a size of 41 digits": (CHUNKED + b"f" * 41 + b"\r\n", b"400"),
    "chunks of one byte": (CHUNKED + b"1\r\n{\r\n" * 10_000, b"400"),
    "an extension without an end": (CHUNKED + b"1;" + b"a" * 3 * AROUND_BYTES_MAX, b"400"),
    "a size without an end": (CHUNKED + b"0" * 3 * AROUND_BYTES_MAX, b"400"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_client_sends_is_refused_and_ends_the_connection(address: str, name: str) -> None:
    sent, status = REFUSED[name]
    found = answers(address, sent)
    assert found[9:12] in (status, b"")  # nothing, where the end came before the answer was read
    assert found.count(b"HTTP/1.1 ") <= 1
    assert ask(address, "/livez").status == 200


def test_a_header_behind_a_body_says_nothing(scene: Scene, address: str) -> None:
    key = scene.deployment.key("operators/olive")
    found = answers(address, CHUNKED + f"2\r\n{{}}\r\n0\r\nauthorization: Bearer {key}\r\n\r\n".encode(), 1)
    assert found.startswith(b"HTTP/1.1 401")


def test_another_protocol_is_not_spoken_and_what_follows_is_left(address: str) -> None:
    asked = GET + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n" + (GET + b"\r\n") * 3
    found = answers(address, asked)
    assert (found[9:12], found.count(b"HTTP/1.1 ")) == (b"200", 1)


def test_who_waits_for_leave_to_send_gets_it_with_a_key_alone(scene: Scene, address: str) -> None:
    waits = POST + b"expect: 100-continue\r\ncontent-length: 2\r\n"
    assert answers(address, waits + b"\r\n", 1).startswith(b"HTTP/1.1 401")
    key = scene.deployment.key("operators/olive").encode()
    assert answers(address, waits + b"authorization: Bearer " + key + b"\r\n\r\n", 1).startswith(b"HTTP/1.1 100")


def test_old_and_absolute_requests_are_answered(address: str) -> None:
    assert answers(address, b"GET /livez HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert answers(address, b"GET http://x/livez HTTP/1.1\r\nhost: x\r\n\r\n", 1).startswith(b"HTTP/1.1 200")


def test_a_few_requests_may_wait_for_an_answer_and_no_more(address: str) -> None:
    assert answers(address, (GET + b"\r\n") * BEHIND_MAX, 1).count(b"HTTP/1.1 200") == BEHIND_MAX
    assert answers(address, (GET + b"\r\n") * 10_000) == b""


def test_a_body_that_nobody_reads_ends_the_connection(address: str) -> None:
    found = answers(address, GET + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", 20)
    assert (found[9:12], found.count(b"HTTP/1.1 ")) == (b"200", 1)


def test_a_stranger_s_chunks_cost_little_more_than_their_refusal(address: str) -> None:
    sent = CHUNKED + b"1\r\nx\r\n" * 10_000
    answers(address, sent)
    began = time.process_time()  # the server's, which is in this process
    for _ in range(20):
        answers(address, sent)
    assert time.process_time() - began < 0.6  # 2 s where each chunk is read in Python


def test_a_body_may_come_in_many_small_pieces(scene: Scene, address: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"name": "pools/'
        yield from (bytes([each]) for each in POOL.encode())
        yield from [b'"' + b" " * 15, b"}" + b" " * 15]
        yield from [b" " * 20] * 2_000

    key = scene.deployment.key("operators/olive")
    path = "/moiety.v1.RegistryService/GetPool"
    assert ask(address, path, pieces(), key=key, content_type="application/json").status == 200


# JSON that says much in few bytes.

MANY: Final = 3_000_000


@pytest.mark.parametrize(
    "bomb",
    [
        b'{"events":[' + b"{}," * MANY + b"{}]}",
        b'{"a":[' + b"[]," * MANY + b"[]]}",
        b'{"a":[' + b"1," * MANY + b"1]}",
        b'{"events":[' + b"{}," * 100_000 + b"{}]}",
        b'{"parent":"' + b"a" * 8_000_000 + b'"}',
        b'{"a":' * 200_000,
        b'{"a":1.' + b"1" * 8_000_000 + b"}",
    ],
    ids=["events", "lists", "numbers", "many events", "text", "nested", "digits"],
)
def test_small_bodies_that_say_much_are_refused_at_once(scene: Scene, address: str, bomb: bytes) -> None:
    key = scene.deployment.key("platforms/songbird")
    path, packed = "/moiety.v1.UsageService/SubmitUsage", gzip.compress(bomb)
    began = time.process_time()
    answer = ask(address, path, packed, key=key, content_type="application/json", content_encoding="gzip")
    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument")
    assert time.process_time() - began < 0.5


def test_large_messages_are_read_in_turn_and_small_ones_wait_for_none(scene: Scene, address: str) -> None:
    rows: list[list[dict[str, str]]] = [[{}] * 9_000] * 14  # as much as may be read
    large = gzip.compress(json.dumps({"name": f"pools/{POOL}", "a": rows}, separators=(",", ":")).encode())
    keys = {who: scene.deployment.key(who) for who in ("platforms/songbird", "operators/olive")}
    finished: list[str] = []

    def send(who: str) -> None:
        path = "/moiety.v1.RegistryService/GetPool"
        answer = ask(address, path, large, key=keys[who], content_type="application/json", content_encoding="gzip")
        assert answer.status == 400
        finished.append(who)

    with ThreadPoolExecutor(9) as threads:
        sent = [threads.submit(send, "platforms/songbird") for _ in range(8)]
        time.sleep(0.05)
        sent.append(threads.submit(send, "operators/olive"))
        answered = 0
        while not all(each.done() for each in sent):
            assert call(address, "RegistryService/GetPool", keys["operators/olive"], name=f"pools/{POOL}").status == 200
            answered += len(finished) < len(sent)
        for each in sent:
            each.result()
    assert answered  # before the last of the large ones
    assert finished[-1] == "platforms/songbird"


def test_an_address_has_few_parameters(address: str) -> None:
    for path in (f"/v1/pools/{POOL}/bundle", f"/v1/pools/{POOL}/log/checkpoint"):
        assert ask(address, f"{path}?{'a&' * 100}").status == 400


# The console.


def test_a_form_without_a_file_is_small_whoever_sends_it(scene: Scene, address: str) -> None:
    olive = signed_in(scene.deployment, "operators/olive")
    session = f"moiety_session={olive.session}"
    for kind in ("application/x-www-form-urlencoded", "text/plain", ""):
        escapes = b"a=" + b"%41" * 1_000_000
        answer = ask(address, "/bank/main", escapes, content_type=kind, cookie=session)
        assert answer.status == 400
        assert "What was sent is too large." in answer.text


def test_the_console_bounds_what_strangers_send(address: str) -> None:
    for path in ("/sign-in", "/sign-in/openid/return", "/nothing"):
        for sent in (b"a=b&" * 2_000, b"%" * 8_000, b"\xff" * 8_000):
            assert ask(address, path, sent, content_type="application/x-www-form-urlencoded").status in (
                400,
                403,
                404,
                303,
            )
    assert ask(address, "/sign-in?" + "a=b&" * 3_000).status == 200
    assert ask(address, "/sign-in", cookie="a=b; " * 2_500).status == 200
    assert ask(address, "/sign-in", accept_language="de;q=0.1," * 1_500).status == 200
