"""TLS by certificate files, and no way around it off the loopback."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import pytest
from typer.testing import CliRunner

from ledger.errors import InvalidInputError
from moiety import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    FailedPreconditionError,
    Platform,
    ServiceError,
    UnavailableError,
    make_key,
)
from moiety.v1.registry_pb2 import KEY_KIND_CERTIFICATE
from services.access.certificates import certificate_hash
from services.cli.app import app
from services.settings import load_settings
from tests.support.deployment import Deployment
from tests.support.ports import free_port
from tests.support.programs import listening, require
from tests.support.wire import Wire, refused

pytestmark = [
    pytest.mark.surface,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl"),
]

NGINX_STREAM: Final = Path(__file__).parents[2] / "docs" / "examples" / "proxies" / "nginx-stream.conf"


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


def make_pair(folder: Path, name: str) -> Pair:
    """A self-signed certificate for this machine itself."""
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-out", str(pair.certificate), "-keyout", str(pair.key)],
        check=True, capture_output=True,
    )  # fmt: skip
    return pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("tls"), "server")


@pytest.fixture
def secured(deploy: Callable[..., Deployment], pair: Pair) -> Deployment:
    return deploy(listen="0.0.0.0:0", tls_certificate_file=pair.certificate, tls_key_file=pair.key)


def port_of(deployment: Deployment) -> str:
    return deployment.address.rpartition(":")[2]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_client_that_trusts_the_certificate_is_served(secured: Deployment, pair: Pair, host: str) -> None:
    trusted = pair.certificate.read_bytes()
    with Client(f"{host}:{port_of(secured)}", secured.key("operators/olive"), ca_certificate=trusted) as client:
        assert list(client.list_pools()) == []


def test_a_client_that_does_not_trust_it_sends_no_key(secured: Deployment, tmp_path: Path) -> None:
    other = make_pair(tmp_path, "other").certificate.read_bytes()
    address, key = f"localhost:{port_of(secured)}", secured.key("operators/olive")
    client = Client(address, key, ca_certificate=other, timeout_seconds=2)
    # Whichever comes first: the last refusal to connect, or the end of the time.
    with client, pytest.raises((UnavailableError, DeadlineExceededError)):
        list(client.list_pools())


def test_http_has_the_same_certificate(secured: Deployment, pair: Pair) -> None:
    assert ready(secured, pair) == 200


def ready(secured: Deployment, pair: Pair) -> int:
    """What a client that trusts the certificate is answered."""
    host, port = "localhost", int(secured.running.http_address.rpartition(":")[2])
    trusted = ssl.create_default_context(cafile=str(pair.certificate))
    connection = http.client.HTTPSConnection(host, port, timeout=120, context=trusted)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status
    finally:
        connection.close()


def test_connections_that_say_nothing_end_and_leave_room(
    deploy: Callable[..., Deployment], pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may open so many files and no more; strangers could take all of them before TLS is agreed on."""
    monkeypatch.setattr("services.process.http_server.HEADER_SECONDS", 0.5)
    monkeypatch.setattr("services.process.server.HANDSHAKE_SECONDS", 0.5)
    secured = deploy(tls_certificate_file=pair.certificate, tls_key_file=pair.key)
    for address in (secured.address, secured.running.http_address):
        with connected(address) as silent:
            assert ended(silent)


def test_too_many_connections_that_say_nothing_make_room(
    deploy: Callable[..., Deployment], pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.process.http_server.connections_allowed", lambda _: 3)
    monkeypatch.setattr("services.process.server.connections_allowed", lambda _: 3)
    secured = deploy(tls_certificate_file=pair.certificate, tls_key_file=pair.key)
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(secured.running.http_address)) for _ in range(4)]
        assert ended(silent[0])
        assert ready(secured, pair) == 200
        by_grpc = [stack.enter_context(connected(secured.address)) for _ in range(8)]
        assert any(map(ended, by_grpc[3:]))


def connected(address: str) -> socket.socket:
    """A connection on which nothing was said yet."""
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def ended(connection: socket.socket) -> bool:
    """Wait until the other end has closed it."""
    try:
        while connection.recv(1024):
            pass
    except ConnectionResetError:
        pass
    return True


def test_plain_text_is_not_understood_where_there_is_tls(secured: Deployment) -> None:
    with Wire(f"127.0.0.1:{port_of(secured)}", secured.key("operators/olive")) as wire:
        assert refused(lambda: wire.call("RegistryService/ListPools")).code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "10.0.0.1", "moiety.example", "127.0.0.1.example"])
def test_off_the_loopback_there_is_no_listening_without_tls(host: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_settings(listen=f"{host}:0")
    assert [violation.field for violation in caught.value.violations] == ["MOIETY_TLS_CERTIFICATE_FILE"]


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "127.8.8.8"])
def test_on_the_loopback_tls_is_a_choice(host: str) -> None:
    assert load_settings(listen=f"{host}:0").tls_certificate_file is None


def test_a_certificate_and_its_key_go_together(pair: Pair) -> None:
    for half in ({"tls_certificate_file": pair.certificate}, {"tls_key_file": pair.key}):
        with pytest.raises(InvalidInputError) as caught:
            load_settings(listen="127.0.0.1:0", **half)
        assert [violation.field for violation in caught.value.violations] == ["MOIETY_TLS_KEY_FILE"]


def test_files_that_are_no_certificate_are_refused_before_anything_is_served(
    deploy: Callable[..., Deployment], pair: Pair, tmp_path: Path
) -> None:
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(b"not a certificate")
    for certificate, key, at_fault in (
        (tmp_path / "missing.pem", pair.key, "MOIETY_TLS_CERTIFICATE_FILE"),
        (pair.certificate, tmp_path, "MOIETY_TLS_KEY_FILE"),
        (garbage, pair.key, "MOIETY_TLS_CERTIFICATE_FILE"),
        (pair.certificate, garbage, "MOIETY_TLS_CERTIFICATE_FILE"),
        (pair.key, pair.certificate, "MOIETY_TLS_CERTIFICATE_FILE"),
        (pair.certificate, make_pair(tmp_path, "other").key, "MOIETY_TLS_CERTIFICATE_FILE"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            deploy(tls_certificate_file=certificate, tls_key_file=key)
        assert [violation.field for violation in caught.value.violations] == [at_fault]


def test_an_address_that_is_taken_is_refused_with_the_reason(deploy: Callable[..., Deployment]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidInputError, match=f"MOIETY_LISTEN: cannot listen on {address}: Address already"):
            deploy(listen=address)


@dataclass(frozen=True)
class Authority:
    """Who issues client certificates."""

    own: Pair

    def issue(self, name: str, *, key: Path | None = None) -> Pair:
        """A client certificate; with the key of another where one is given, as when it is renewed."""
        folder = self.own.certificate.parent
        request, pair = folder / f"{name}.csr", Pair(folder / f"{name}.pem", key or folder / f"{name}.key")
        made = ["-key", str(key)] if key else [
            "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(pair.key)
        ]  # fmt: skip
        openssl("req", "-new", *made, "-subj", f"/CN={name}", "-out", str(request))
        openssl(
            "x509", "-req", "-in", str(request), "-CA", str(self.own.certificate), "-CAkey", str(self.own.key),
            "-CAcreateserial", "-days", "2", "-out", str(pair.certificate),
        )  # fmt: skip
        return pair


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(make_pair(tmp_path_factory.mktemp("clients"), "ca"))


class Mutual:
    """A deployment that takes client certificates, tried at both of its doors."""

    def __init__(self, deployment: Deployment, server: Pair, clients: Authority) -> None:
        self.deployment, self._server, self._clients = deployment, server, clients
        self.operator = Client(
            f"localhost:{port_of(deployment)}", deployment.key("operators/olive"),
            ca_certificate=server.certificate.read_bytes(),
        )  # fmt: skip
        self.operator.create_platform("acme", Platform(display_name="Acme"))
        self.operator.create_platform("other", Platform(display_name="Other"))

    def register(self, pair: Pair, principal: str = "platforms/acme") -> str:
        """The id of the key that a certificate becomes."""
        line = f"{make_key().key_id}:{certificate_hash(pair.certificate.read_bytes())}"
        return self.operator.create_api_key(principal, line, kind=KEY_KIND_CERTIFICATE).name.removeprefix("keys/")

    @property
    def port(self) -> str:
        return self.deployment.running.mtls_address.rpartition(":")[2]

    def by_grpc(self, pair: Pair, key: str = "", *, seconds: float = 60, port: int | str = "") -> str:
        port = port or self.port
        with Client(
            f"localhost:{port}", key, ca_certificate=self._server.certificate.read_bytes(), timeout_seconds=seconds,
            client_certificate=pair.certificate.read_bytes(), client_key=pair.key.read_bytes(),
        ) as client:  # fmt: skip
            try:
                return client.get_platform("acme").display_name
            except ServiceError as error:
                return error.code.name

    def by_asyncio(self, pair: Pair) -> str:
        async def read() -> str:
            async with AsyncClient(
                f"localhost:{self.port}", ca_certificate=self._server.certificate.read_bytes(),
                client_certificate=pair.certificate.read_bytes(), client_key=pair.key.read_bytes(),
            ) as client:  # fmt: skip
                return (await client.get_platform("acme")).display_name

        return asyncio.run(read())

    def by_http(self, pair: Pair | None, key: str = "") -> int:
        trusted = ssl.create_default_context(cafile=str(self._server.certificate))
        if pair:
            trusted.load_cert_chain(pair.certificate, pair.key)
        port = int(self.deployment.running.http_address.rpartition(":")[2])
        connection = http.client.HTTPSConnection("localhost", port, timeout=120, context=trusted)
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        try:
            path = "/moiety.v1.RegistryService/GetPlatform"
            connection.request("POST", path, json.dumps({"name": "platforms/acme"}), headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def tried(self, pair: Pair, key: str = "") -> tuple[str, int]:
        return self.by_grpc(pair, key), self.by_http(pair, key)


SERVED: Final = ("Acme", 200)
REFUSED: Final = ("UNAUTHENTICATED", 401)


@pytest.fixture
def mutual(deploy: Callable[..., Deployment], pair: Pair, authority: Authority) -> Iterator[Mutual]:
    made = Mutual(
        deploy(
            tls_certificate_file=pair.certificate, tls_key_file=pair.key,
            tls_client_ca_file=authority.own.certificate, mtls_listen="127.0.0.1:0",
        ),
        pair,
        authority,
    )  # fmt: skip
    with made.operator:
        yield made


def test_a_client_certificate_stands_for_its_principal_until_it_is_revoked(
    mutual: Mutual, authority: Authority
) -> None:
    acme = authority.issue("acme")
    assert mutual.tried(acme) == REFUSED  # the authority knows it, and the registry does not
    key = mutual.register(acme)
    assert mutual.tried(acme) == SERVED
    assert mutual.by_asyncio(acme) == SERVED[0]
    assert mutual.tried(authority.issue("renewed", key=acme.key)) == SERVED
    # A key may be sent besides, of the same principal and of no other.
    assert mutual.tried(acme, mutual.deployment.key("platforms/acme")) == SERVED
    for foreign in (mutual.deployment.key("platforms/other"), mutual.deployment.key("operators/olive"), "nonsense"):
        assert mutual.tried(acme, foreign) == REFUSED
    # What is remembered of a certificate is no secret, and opens nothing without it.
    digest = certificate_hash(acme.certificate.read_bytes())
    assert mutual.by_http(None, digest) == 401
    assert mutual.by_http(None, f"moiety_{key}_{digest[:43]}") == 401
    assert mutual.by_http(None, mutual.deployment.key("platforms/acme")) == 200
    mutual.operator.revoke_api_key(key)
    assert mutual.tried(acme) == REFUSED
    mutual.register(acme, "platforms/other")  # and it may then be another's


def test_a_certificate_of_another_authority_does_not_get_in(mutual: Mutual, tmp_path: Path, pair: Pair) -> None:
    stranger = make_pair(tmp_path, "stranger")
    mutual.register(stranger)
    assert mutual.by_grpc(stranger, seconds=2) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        mutual.by_http(stranger)
    port = mutual.port
    trusted = pair.certificate.read_bytes()
    key = mutual.deployment.key("operators/olive")
    with (
        Client(f"localhost:{port}", key, ca_certificate=trusted, timeout_seconds=2) as bare,
        pytest.raises((UnavailableError, DeadlineExceededError)),
    ):
        list(bare.list_pools())


def test_a_certificate_goes_through_nginx_as_it_is(mutual: Mutual, authority: Authority, tmp_path: Path) -> None:
    program, module = require("nginx"), Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    if not module.exists():
        (pytest.fail if os.environ.get("MOIETY_REQUIRE_PEERS") else pytest.skip)("libnginx-mod-stream is not installed")
    port, text = free_port(), NGINX_STREAM.read_text()
    for said, here in (("listen 50053", f"listen 127.0.0.1:{port}"), ("127.0.0.1:50052", f"127.0.0.1:{mutual.port}")):
        assert said in text
        text = text.replace(said, here)
    user = "user root;\n" if os.geteuid() == 0 else ""
    file, errors = tmp_path / "nginx.conf", tmp_path / "errors"
    file.write_text(f"daemon off;\npid {tmp_path}/pid;\n{user}{text}")
    acme = authority.issue("through-nginx")
    mutual.register(acme)
    with listening([program, "-e", str(errors), "-p", str(tmp_path), "-c", str(file)], port, errors):
        assert mutual.by_grpc(acme, port=port) == "Acme"
        assert mutual.by_grpc(authority.issue("unknown"), port=port) == "UNAUTHENTICATED"


def test_one_certificate_is_not_two_principals(mutual: Mutual, authority: Authority) -> None:
    shared = authority.issue("shared")
    mutual.register(shared)
    with pytest.raises(FailedPreconditionError) as caught:
        mutual.register(shared, "platforms/other")
    assert caught.value.reason == "ALREADY_BOUND"


def test_the_command_issues_a_certificate_and_calls_with_one(mutual: Mutual, authority: Authority, pair: Pair) -> None:
    acme = authority.issue("by-command")
    there = ["--json", "--ca-certificate", str(pair.certificate), "--address"]
    operator = [f"localhost:{port_of(mutual.deployment)}", "--api-key", mutual.deployment.key("operators/olive")]
    issue = ["key", "issue", "platforms/acme", "--certificate"]
    issued = CliRunner().invoke(app, [*issue, str(acme.certificate), *there, *operator])
    assert issued.exit_code == 0, issued.output
    assert '"kind": "CERTIFICATE"' in issued.output
    assert '"secret": null' in issued.output
    shown = ["--client-certificate", str(acme.certificate), "--client-key", str(acme.key)]
    mtls = f"localhost:{mutual.port}"
    listed = CliRunner().invoke(app, ["pool", "list", *there, mtls, *shown])
    assert listed.exit_code == 0, listed.output
    for wrong in ([*issue, str(acme.key)], [*issue, str(acme.certificate), "--hash", "x"], [*issue, "/nowhere"]):
        assert CliRunner().invoke(app, [*wrong, *there, *operator]).exit_code == 2
    for wrong in (shown[:2], [*shown[:3], str(acme.certificate)]):
        assert CliRunner().invoke(app, ["pool", "list", *there, mtls, *wrong]).exit_code == 2


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"\xff\xfe"])
def test_an_authority_that_is_none_is_refused_before_anything_is_served(
    deploy: Callable[..., Deployment], pair: Pair, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        deploy(tls_certificate_file=pair.certificate, tls_key_file=pair.key, tls_client_ca_file=file)
    assert [violation.field for violation in caught.value.violations] == ["MOIETY_TLS_CLIENT_CA_FILE"]


def test_client_certificates_need_tls_and_their_port_an_authority(pair: Pair) -> None:
    for wrong, field in (
        ({"tls_client_ca_file": pair.certificate}, "MOIETY_TLS_CLIENT_CA_FILE"),
        ({"mtls_listen": "127.0.0.1:0"}, "MOIETY_MTLS_LISTEN"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            load_settings(listen="127.0.0.1:0", **wrong)
        assert [violation.field for violation in caught.value.violations] == [field]
