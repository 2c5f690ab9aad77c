"""TLS by certificate files, and no way around it off the loopback."""

from __future__ import annotations

import http.client
import shutil
import ssl
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from ledger.errors import InvalidInputError
from moiety import Client, DeadlineExceededError, UnavailableError
from services.settings import load_settings
from tests.support.deployment import Deployment
from tests.support.wire import Wire, refused

pytestmark = [
    pytest.mark.surface,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates with openssl"),
]


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
    host, port = "localhost", int(secured.running.http_address.rpartition(":")[2])
    trusted = ssl.create_default_context(cafile=str(pair.certificate))
    connection = http.client.HTTPSConnection(host, port, timeout=20, context=trusted)
    try:
        connection.request("GET", "/readyz")
        assert connection.getresponse().status == 200
    finally:
        connection.close()


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
    for certificate, key in (
        (tmp_path / "missing.pem", pair.key),
        (pair.certificate, tmp_path),
        (garbage, pair.key),
        (pair.certificate, garbage),
        (pair.key, pair.certificate),
        (pair.certificate, make_pair(tmp_path, "other").key),
    ):
        with pytest.raises(InvalidInputError) as caught:
            deploy(tls_certificate_file=certificate, tls_key_file=key)
        assert [violation.field for violation in caught.value.violations] == ["MOIETY_TLS_CERTIFICATE_FILE"]
