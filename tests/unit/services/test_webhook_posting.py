"""Posting to webhooks: to which addresses, signed how, and what a receiver can do to whoever sends."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

import pytest
from standardwebhooks import Webhook

from ledger.errors import InvalidInputError
from services.settings import load_settings
from services.webhooks import signing
from services.webhooks.addresses import Reach
from services.webhooks.posting import ANSWER_BYTES, Answer, Poster
from tests.support.receiver import Receiver, answer, random_secret, receiving

HERE: Final = Reach((ipaddress.ip_network("127.0.0.0/8"),), plain_http=True)
QUICK: Final = 0.4


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def post(url: str, reach: Reach = HERE, seconds: float = 5.0) -> Answer:
    return Poster(reach, seconds=seconds).post(reach.target(url), {"x": "y"}, b"{}")


REFUSED: Final = (
    "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.1.1",
    "240.0.0.1", "255.255.255.255", "192.0.0.192", "198.18.0.1", "168.63.129.16", "::1", "::", "fe80::1",
    "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:169.254.169.254", "::ffff:168.63.129.16", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1",
    "::127.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:7f00:1::", "2001:db8::1", "5f00::1", "100::1",
)  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_no_address_that_is_not_public_is_reached(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not Reach().allows(address)
    assert Reach((ipaddress.ip_network(text.partition("%")[0]),)).allows(ipaddress.ip_address(text.partition("%")[0]))


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_reached(text: str) -> None:
    assert Reach().allows(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/", "ftp://example.com/", "https:///x", "https://127.0.0.1/", "https://[::1]/",
        "https://[::ffff:10.0.0.1]/", "https://u:p@example.com/", "https://example.com@127.0.0.1/", "https://a.b/#f",
        "https://a.b:0/", "https://a.b:99999/", "https://a.b/\r\nx: y", "https://a.b/ä", "https://a b/", "https://[::1",
        "https://[fe80::1%25eth0]/", "https://a.b\\@127.0.0.1/", "https://" + "a" * 300, "https://a.b/" + "x" * 2_000,
        "",
    ],
)  # fmt: skip
def test_a_url_that_must_not_be_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        Reach().target(url)


def test_the_settings_say_what_else_is_reached() -> None:
    reach = Reach.of(load_settings(webhook_networks="10.0.0.0/8, ::1/128", webhook_http=True))
    assert reach.target("http://10.0.0.1/x?y=z").path == "/x?y=z"
    assert reach.target("https://Example.COM:443").origin == "https://example.com"
    assert reach.target("http://[::1]:8080/").origin == "http://[::1]:8080"
    with pytest.raises(InvalidInputError):
        reach.target("http://10.0.0.1:65536/")
    with pytest.raises(InvalidInputError):
        load_settings(webhook_networks="10.0.0.1/8")


def test_a_name_that_leads_inside_is_not_connected_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: whatever a name led to before, it is each address that is judged, just before it is used."""
    looked = []

    def resolve(host: str, port: int, **_: object) -> list[Any]:
        looked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    outside = Reach(plain_http=True)
    before = len(receiver.received)
    assert post(f"http://hooks.example:{receiver.port}/", outside) == Answer(
        problem="the name leads to no public address"
    )
    assert len(receiver.received) == before
    assert post(f"http://hooks.example:{receiver.port}/").status == 204
    assert looked == ["hooks.example"] * 2  # once for each attempt: no second look could lead elsewhere
    assert receiver.received[-1].headers["host"] == f"hooks.example:{receiver.port}"


def test_of_a_name_s_addresses_only_the_public_ones_are_tried(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = ["127.0.0.2", "127.0.0.1"]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, receiver.port)) for place in places]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    tried = []
    connect = socket.socket.connect

    def watched(self: socket.socket, place: Any) -> None:
        tried.append(place[0])
        connect(self, place)

    monkeypatch.setattr(socket.socket, "connect", watched)
    only = Reach((ipaddress.ip_network("127.0.0.1/32"),), plain_http=True)
    assert post(f"http://hooks.example:{receiver.port}/", only).status == 204
    assert tried == ["127.0.0.1"]


def drips(request: BaseHTTPRequestHandler) -> None:
    """A byte at a time, so that no single read ever takes long."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        request.wfile.write(b"y")
        request.wfile.flush()
        time.sleep(0.02)


def pours(request: BaseHTTPRequestHandler) -> None:
    """A body without an end."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(10_000):
        request.wfile.write(b"x" * ANSWER_BYTES)


def says(text: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    return lambda request: (request.wfile.write(text), None)[1]


def test_a_receiver_that_misbehaves_holds_nobody_up(receiver: Receiver) -> None:
    def hangs(_: BaseHTTPRequestHandler) -> None:
        receiver.stopped.wait(240)

    def met(handle: Callable[[BaseHTTPRequestHandler], None], seconds: float = 5.0) -> Answer:
        receiver.answers = [handle]
        return post(receiver.url, seconds=seconds)

    assert met(hangs, QUICK).problem == "took too long"
    assert met(drips, QUICK).problem == "took too long"
    assert met(says(b"HTTP/1.1 100 Continue\r\n\r\n" * 9)).problem != ""
    assert met(pours) == Answer(200)
    assert met(says(b"")).problem == "the connection broke"
    assert met(says(b"SSH-2.0-x\r\n")).problem == "does not answer with HTTP"
    assert met(says(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n")).problem == "does not answer with HTTP"
    assert met(answer(500)) == Answer(500, "answered 500")
    assert met(answer(503, {"retry-after": "7"})) == Answer(503, "answered 503", 7.0)
    assert met(answer(429, {"retry-after": "9" * 30})).retry_after_seconds == 3_600.0
    assert met(answer(503, {"retry-after": "-1"})).retry_after_seconds == 0.0
    assert met(answer(410)).is_gone


def test_no_redirect_is_followed(receiver: Receiver) -> None:
    for status in (301, 302, 303, 307, 308):
        receiver.answers, receiver.received = [answer(status, {"location": receiver.url})], []
        assert post(receiver.url).problem == f"answered {status}"
        assert len(receiver.received) == 1


def test_what_cannot_be_reached_is_said_without_where_it_lies(receiver: Receiver) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert post(f"http://127.0.0.1:{taken.getsockname()[1]}/").problem == "refuses connections"
    assert post("http://nowhere.invalid/").problem == "its name cannot be resolved"
    assert post(receiver.url.replace("http:", "https:")).problem == "no TLS connection comes about"


def test_a_tls_receiver_that_never_answers_the_handshake_is_cut_off() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert post(f"https://127.0.0.1:{silent.getsockname()[1]}/", seconds=QUICK).problem == "took too long"


def test_signatures_are_those_of_the_specification() -> None:
    """The vector is Standard Webhooks' own, and so is the library that verifies."""
    secret, identity = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    made = signing.signed([secret], identity, 1_614_265_330, b'{"test": 2432232314}')
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    both = [random_secret(1), random_secret(2)]
    headers = signing.signed(both, "msg_1", int(time.time()), b'{"a":"\xc3\xa9"}')
    for each in both:
        assert Webhook(each).verify(b'{"a":"\xc3\xa9"}', headers) == {"a": "é"}


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_ä", random_secret(1)[6:], "whsec_AAAA", random_secret(1) + "\n", "whsec_" + "A" * 120],
)
def test_a_secret_of_another_form_is_refused_and_not_quoted(secret: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        signing.require_secret(secret, "secret")
    assert len(secret) < 10 or secret not in str(refused.value)
    assert signing.require_secret(signing.make_secret(), "secret")
