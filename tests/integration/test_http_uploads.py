"""Usage files over HTTP: any size, any format, receipts back."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moiety import Client, read_usage
from services.api.http import arriving, uploads
from tests.support.deployment import Deployment
from tests.support.http import ask
from tests.support.scene import METHOD, POOL, Scene, open_scene

pytestmark = pytest.mark.surface

PATH: Final = f"/v1/pools/{POOL}/usage?method={METHOD}"
NDJSON: Final = "application/x-ndjson"


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    return open_scene(deployment)


@pytest.fixture
def key(scene: Scene) -> str:
    return scene.deployment.key("platforms/songbird")


def row(number: int) -> dict[str, Any]:
    return {
        "id": f"play-{number}", "occurred_at": "2026-01-01T12:00:00Z", "units": 1, "mode": "AI_ONLY",
        "collectives": ["irish"], "shares": [600_000_000],
    }  # fmt: skip


def lines(count: int, first: int = 0) -> bytes:
    return b"".join(json.dumps(row(number)).encode() + b"\n" for number in range(first, first + count))


def csv(count: int) -> bytes:
    head = "id,occurred_at,units,mode,collectives,shares\n"
    return (head + "".join(f"play-{n},2026-01-01T12:00:00Z,1,AI_ONLY,irish,600000000\n" for n in range(count))).encode()


def arrow(count: int, write: Callable[[Any, pa.Table], None]) -> bytes:
    sink = io.BytesIO()
    write(sink, pa.Table.from_pylist([row(number) for number in range(count)]))
    return sink.getvalue()


def stream_of(sink: Any, table: pa.Table) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def file_of(sink: Any, table: pa.Table) -> None:
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def post(scene: Scene, body: Any, kind: str, key: str, path: str = PATH) -> Any:
    return ask(scene.deployment.running.http_address, path, body, key=key, content_type=kind)


def test_each_format_gives_the_same_receipt_as_the_first(scene: Scene, key: str) -> None:
    first = post(scene, lines(25), NDJSON, key)
    assert (first.status, first.json()["accepted_count"]) == (200, 25), first.text
    for kind, body in (
        ("text/csv", csv(25)),
        ("application/json", b"[" + b",".join(lines(25).splitlines()) + b"]"),
        ("application/vnd.apache.arrow.stream", arrow(25, stream_of)),
        ("application/vnd.apache.arrow.file", arrow(25, file_of)),
        ("application/vnd.apache.parquet", arrow(25, lambda sink, table: pq.write_table(table, sink))),
        (NDJSON, gzip.compress(lines(25))),
        (NDJSON, pa.compress(lines(25), codec="zstd", asbytes=True)),
    ):
        again = post(scene, body, kind, key)
        assert (again.status, again.json()) == (200, first.json()), kind
    batch = first.json()["receipts"][0]
    assert batch["name"].startswith(f"pools/{POOL}/batches/songbird~")


def test_a_disk_without_room_takes_nothing_and_the_same_file_later(
    scene: Scene, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, body = "application/vnd.apache.parquet", arrow(30, lambda sink, table: pq.write_table(table, sink))
    for name, value in (
        ("services.api.http.uploads.TemporaryFile", lambda **_: os.fdopen(os.open("/dev/full", os.O_RDWR), "r+b", 0)),
        ("tempfile.tempdir", str(tmp_path / "gone")),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(name, value)
            refused = post(scene, body, kind, key)
        assert (refused.status, "no room on disk for this file now" in refused.text) == (429, True), refused.text
    assert post(scene, body, kind, key).json()["accepted_count"] == 30


def test_a_large_file_goes_through_piece_by_piece(scene: Scene, key: str) -> None:
    def pieces() -> Iterator[bytes]:
        for part in range(60):
            yield lines(1000, 1000 * part)

    answer = post(scene, pieces(), NDJSON, key)
    assert (answer.status, answer.json()["accepted_count"], len(answer.json()["receipts"])) == (200, 60_000, 6)
    again = post(scene, pieces(), NDJSON, key)
    assert again.json() == answer.json()


def test_what_only_checks_records_nothing(scene: Scene, key: str) -> None:
    checked = post(scene, lines(3), NDJSON, key, f"{PATH}&validate_only=true")
    assert (checked.status, checked.json()["accepted_count"]) == (200, 3)
    assert "leaf_hash" not in checked.json()["receipts"][0]


def test_a_wrong_row_is_named_and_the_file_can_be_sent_again_once_it_is_right(scene: Scene, key: str) -> None:
    answer = post(scene, lines(30_000) + b'{"id": 7}\n', NDJSON, key)
    found = answer.json()
    assert (answer.status, found["code"]) == (400, "invalid_argument")
    assert "events[30000]" in found["message"]
    assert found["accepted_count"] == 10_000 * len(found["receipts"])
    again = post(scene, lines(30_001), NDJSON, key).json()
    assert (again["accepted_count"], again["duplicate_count"]) == (30_001, 0)


def test_the_sdk_and_http_name_a_file_s_batches_alike(scene: Scene, key: str, tmp_path: Path) -> None:
    (tmp_path / "usage.ndjson").write_bytes(lines(30))
    with Client(scene.deployment.address, key) as client:
        (receipt,) = client.submit_usage(POOL, read_usage(tmp_path / "usage.ndjson"), METHOD)
    assert post(scene, lines(30), NDJSON, key).json()["receipts"][0]["name"] == receipt.name


def test_refused_batches_are_said_by_their_rows_and_the_others_are_recorded(scene: Scene, key: str) -> None:
    wrong = dict(row(0), collectives=["nobody"], id="wrong")
    answer = post(scene, json.dumps(wrong).encode() + b"\n" + lines(10_000), NDJSON, key)
    found = answer.json()
    assert (answer.status, len(found["receipts"]), found["accepted_count"]) == (400, 1, 1)
    (refusal,) = found["refusals"]
    assert (refusal["first_position"], refusal["event_count"], refusal["error"]["code"]) == (
        0, 10_000, "invalid_argument",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "kind", "body", "status", "says"),
    [
        (PATH, "image/png", b"x", 415, "text/csv"),
        (f"/v1/pools/{POOL}/usage", NDJSON, b"", 400, "method"),
        (f"{PATH}&metod=x", NDJSON, b"", 400, "metod"),
        (f"{PATH}&validate_only=yes", NDJSON, b"", 400, "validate_only"),
        (f"/v1/pools/nowhere/usage?method={METHOD}", NDJSON, lines(1), 404, "nowhere"),
        (f"/v1/pools/{POOL}/usage?method=none", NDJSON, lines(1), 404, "none"),
        (PATH, NDJSON, b"\x00\x01\x02" * 99, 400, "format"),
        (PATH, "application/vnd.apache.parquet", b"PAR1" + b"\xff" * 99, 400, "body"),
    ],
)
def test_what_is_no_upload_is_refused(
    scene: Scene, key: str, path: str, kind: str, body: bytes, status: int, says: str
) -> None:
    answer = post(scene, body, kind, key, path)
    assert answer.status == status, answer.text
    assert says in answer.text


def test_only_platforms_upload_and_only_with_a_key(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads.Uploads, "_take_in", lambda *_: pytest.fail("it was let in"))
    assert post(scene, lines(1), NDJSON, "").status == 401
    assert post(scene, lines(1), NDJSON, scene.deployment.key("operators/olive")).status == 403


def test_uploads_that_stall_or_break_off_leave_the_service_to_others(
    scene: Scene, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "IDLE_SECONDS", 2.0)
    host, _, port = scene.deployment.running.http_address.rpartition(":")
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: {NDJSON}\r\nauthorization: Bearer {key}\r\n"
        "content-length: 1000000\r\n\r\n"
    ).encode()
    stalled = [socket.create_connection((host, int(port)), timeout=120) for _ in range(6)]
    for each in stalled:
        each.sendall(head + lines(2))
    broken = socket.create_connection((host, int(port)), timeout=120)
    broken.sendall(head + lines(2))
    broken.close()
    other = scene.deployment.key("platforms/tunesmith")
    assert post(scene, lines(2), NDJSON, other).status == 200
    assert {each.recv(12) for each in stalled} <= {b"HTTP/1.1 400", b"HTTP/1.1 429"}
    for each in stalled:
        each.close()
    assert post(scene, lines(2), NDJSON, key).json()["accepted_count"] == 2


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_sends_a_file(scene: Scene, key: str, tmp_path: Path) -> None:
    (tmp_path / "usage.csv").write_bytes(csv(2000))
    run = subprocess.run(
        ["curl", "--silent", "--fail-with-body", "--header", f"authorization: Bearer {key}", "--header",
         "content-type: text/csv", "--upload-file", str(tmp_path / "usage.csv"), "--request", "POST",
         f"http://{scene.deployment.running.http_address}{PATH}"],
        capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert json.loads(run.stdout)["accepted_count"] == 2000
