"""Behind proxies: what the documented configurations let through."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from moiety import Client
from moiety.files import read_usage
from tests.support.deployment import Deployment
from tests.support.ports import free_port
from tests.support.programs import listening, require
from tests.support.scene import METHOD, POOL, Scene, open_scene

PROXIES: Final = Path(__file__).parents[2] / "docs" / "examples" / "proxies"
EVENTS: Final = 100_000
"""By each of the two ways."""


def make_certificate(folder: Path) -> bytes:
    """A certificate for this machine, signed by itself, with its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    (folder / "tls.crt").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "tls.key").write_bytes(private)
    return pem


@dataclass(frozen=True)
class Proxy:
    """Where a proxy listens, and the certificate that it shows."""

    grpc: str
    http: str
    certificate: bytes


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@pytest.fixture
def nginx(scene: Scene, tmp_path: Path) -> Iterator[Proxy]:
    program = require("nginx")
    certificate = make_certificate(tmp_path)
    grpc_port, http_port = free_port(), free_port()
    text = (PROXIES / "nginx.conf").read_text()
    for said, here in (
        ("127.0.0.1:50051", scene.deployment.address),
        ("127.0.0.1:8080", scene.deployment.running.http_address),
        ("listen 50052", f"listen 127.0.0.1:{grpc_port}"),
        ("listen 443", f"listen 127.0.0.1:{http_port}"),
        ("/etc/moiety/", f"{tmp_path}/"),
    ):
        assert said in text
        text = text.replace(said, here)
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    text = text.replace("http {\n", f"http {{\naccess_log off;\n{folders}", 1)
    user = "user root;\n" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(f"daemon off;\npid {tmp_path}/pid;\n{user}{text}")
    command = [program, "-e", str(tmp_path / "errors"), "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
    with listening(command, http_port, tmp_path / "errors"):
        yield Proxy(f"localhost:{grpc_port}", f"localhost:{http_port}", certificate)


def usage_csv(numbers: range) -> bytes:
    rows = (f"00000000-0000-4000-8000-{number:012d},2026-01-01T12:00:00Z,1,AI_ONLY,," for number in numbers)
    return "\n".join(["event_id,occurred_at,units,mode,collectives,shares", *rows]).encode()


def test_two_hundred_thousand_events_go_through_nginx(scene: Scene, nginx: Proxy) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    context = ssl.create_default_context(cadata=nginx.certificate.decode())
    request = urllib.request.Request(
        f"https://{nginx.http}/v1/pools/{POOL}/usage?method={METHOD}",
        usage_csv(range(EVENTS)),
        {"authorization": f"Bearer {key}", "content-type": "text/csv"},
    )
    with urllib.request.urlopen(request, context=context, timeout=240) as answer:
        assert answer.status == 200
        assert f'"accepted_count": {EVENTS}' in answer.read().decode()
    with Client(nginx.grpc, key, ca_certificate=nginx.certificate) as client:
        table = read_usage(BytesIO(usage_csv(range(EVENTS, 2 * EVENTS))))
        receipts = client.submit_usage(POOL, table, METHOD)
    assert sum(receipt.accepted_count for receipt in receipts) == EVENTS
    with Client(nginx.grpc, scene.deployment.key("operators/olive"), ca_certificate=nginx.certificate) as operator:
        size = operator.get_log_head(POOL).size
        seen = operator.watch(POOL)
        assert [next(seen).index for _ in range(size)] == list(range(size))
        scene.pay_in(100, "later")
        assert next(seen).index == size
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"https://{nginx.http}/metrics", context=context, timeout=120)


def test_envoy_accepts_its_configuration(tmp_path: Path) -> None:
    program = shutil.which("envoy")
    if program is None:
        pytest.skip("envoy is not installed")
    make_certificate(tmp_path)
    text = (PROXIES / "envoy.yaml").read_text().replace("/etc/moiety/", f"{tmp_path}/")
    (tmp_path / "envoy.yaml").write_text(text)
    subprocess.run([program, "--mode", "validate", "--config-path", str(tmp_path / "envoy.yaml")], check=True)
