"""Usage files that would cost the server its memory, its time or its disk: refused with a reason, and nothing left."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from services.api.http import arriving
from services.api.http.uploads import UPLOADS
from tests.support.deployment import Deployment
from tests.support.hostile_files import HOSTILE, LINE, NDJSON, PARQUET, parquet, table
from tests.support.http import Answered, ask
from tests.support.scene import METHOD, POOL, Scene, open_scene

pytestmark = pytest.mark.surface

PATH: Final = f"/v1/pools/{POOL}/usage?method={METHOD}"
GROWTH_BYTES_MAX: Final = 64 * 2**20
"""What the server may grow by over a hostile file: the pieces under way, and what its allocator keeps."""


@pytest.fixture(scope="module")
def scene(shared_deployment: Deployment) -> Scene:
    return open_scene(shared_deployment)


@pytest.fixture(scope="module")
def key(scene: Scene) -> str:
    return scene.deployment.key("platforms/songbird")


def post(scene: Scene, body: Any, kind: str, key: str) -> Answered:
    return ask(scene.deployment.running.http_address, PATH, body, key=key, content_type=kind)


def own_bytes(name: str) -> int:
    found = Path("/proc/self/status").read_text("ascii").partition(f"{name}:")[2]
    return int(found.split()[0]) * 1024


@contextmanager
def growing_little() -> Iterator[None]:
    """The server, which is this process, never takes much more memory than before."""
    if not sys.platform.startswith("linux"):
        yield
        return
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    before = own_bytes("VmRSS")
    yield
    assert own_bytes("VmHWM") - before < GROWTH_BYTES_MAX


def readers() -> list[int]:
    """The processes that read a file now: each a child of one that waits for it, which is a child of the one that this
    process has them forked from.
    """
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    homes = {pid for pid, parent, command in rows if int(parent) == os.getpid() and "services.reading" in command}
    waiting = {pid for pid, parent, _ in rows if parent in homes}
    return [int(pid) for pid, parent, _ in rows if parent in waiting]


def until(holds: Callable[[], bool]) -> None:
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    pytest.fail("it did not come about")


class Sending:
    """An upload that has begun, and goes on only by hand."""

    def __init__(self, scene: Scene, key: str, kind: str = NDJSON) -> None:
        host, _, port = scene.deployment.running.http_address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=120)
        self.socket.sendall(
            f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\nauthorization: Bearer {key}\r\n"
            "content-length: 100000000\r\n\r\n".encode()
        )

    def send(self, body: bytes) -> None:
        self.socket.sendall(body)

    def answer(self) -> tuple[int, str]:
        """The status, and whatever comes with it."""
        found = b""
        with self.socket:
            while data := self.socket.recv(1 << 16):
                found += data
        return int(found.split()[1]), found.decode()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_a_reason_and_costs_the_server_no_memory(
    name: str, scene: Scene, key: str
) -> None:
    kind, make, says = HOSTILE[name]
    body = make()
    with growing_little():
        answer = post(scene, body, kind, key)
    assert (answer.status, answer.json()["code"]) == (400, "invalid_argument"), answer.text
    assert says in answer.json()["message"]
    until(lambda: not readers())


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        (signal.SIGXCPU, 400, "is damaged, or takes more than"),
        (signal.SIGKILL, 503, "the process that read the file is not available"),
    ],
    ids=["by its limits", "by the machine"],
)
def test_a_reader_that_is_killed_ends_its_upload_and_no_other(
    number: signal.Signals, status: int, says: str, scene: Scene, key: str
) -> None:
    """The kernel ends one that takes too long, for which its file is to blame, and any where memory ends."""
    broken = Sending(scene, key)
    broken.send(b"".join(LINE.replace(b"play", b"killed-%d" % number) for number in range(11_000)))
    until(lambda: bool(readers()))
    for reader in readers():
        os.kill(reader, number)
    found, said = broken.answer()
    assert (found, says in said, "RetryInfo" in said) == (status, True, status == 503), said
    assert post(scene, LINE, NDJSON, key).status == 200


def test_readers_are_started_again_where_what_they_come_from_was_killed(scene: Scene, key: str) -> None:
    assert post(scene, LINE, NDJSON, key).status == 200
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    for pid, parent, command in (line.split(None, 2) for line in listed.splitlines()[1:]):
        if int(parent) == os.getpid() and "services.reading" in command:
            os.kill(int(pid), signal.SIGKILL)
    until(lambda: post(scene, LINE, NDJSON, key).status == 200)


@pytest.mark.parametrize("kind", [NDJSON, PARQUET])
def test_nothing_is_left_of_an_upload_whose_caller_has_gone(kind: str, scene: Scene, key: str) -> None:
    before = set(Path(tempfile.gettempdir()).glob("moiety-upload-*"))
    gone = Sending(scene, key, kind)
    gone.send(LINE * 1000)
    if kind == NDJSON:
        until(lambda: bool(readers()))
    assert set(Path(tempfile.gettempdir()).glob("moiety-upload-*")) == before
    gone.socket.close()
    until(lambda: not readers())
    assert set(Path(tempfile.gettempdir()).glob("moiety-upload-*")) == before


def test_one_principal_has_a_quarter_of_the_uploads_and_leaves_others_theirs(
    scene: Scene, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.calls.streams.SHED_SECONDS", 3600.0)
    own = [Sending(scene, key) for _ in range(UPLOADS // 4)]
    for upload in own:
        upload.send(LINE)
    until(lambda: len(readers()) == len(own))
    beyond = post(scene, LINE, NDJSON, key)
    assert (beyond.status, beyond.json()["code"]) == (429, "resource_exhausted")
    assert post(scene, LINE, NDJSON, scene.deployment.key("platforms/tunesmith")).status == 200
    for upload in own:
        upload.socket.close()
    until(lambda: not readers())
    assert post(scene, LINE, NDJSON, key).status == 200


def test_an_idle_upload_makes_room_for_another(scene: Scene, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.api.calls.streams.SHED_SECONDS", 0.0)
    idle = [Sending(scene, key) for _ in range(UPLOADS // 4)]
    for upload in idle:
        upload.send(LINE)
    until(lambda: len(readers()) == len(idle))
    until(lambda: post(scene, LINE, NDJSON, key).status == 200)
    answered, _, _ = select.select([upload.socket for upload in idle], [], [], 60)
    status, said = next(upload for upload in idle if upload.socket in answered).answer()
    assert (status, "to make room for another" in said) == (503, True)
    for upload in idle:
        upload.socket.close()
    until(lambda: not readers())


def test_a_body_that_drips_is_ended(scene: Scene, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "PATIENCE_SECONDS", 0.1)
    dripping = Sending(scene, key)
    until(lambda: bool(readers()))
    time.sleep(0.3)  # waited for longer than what comes is worth
    dripping.send(b"{")
    status, said = dripping.answer()
    assert (status, "came more slowly than" in said) == (400, True)


def test_files_on_disk_are_counted_by_principal_and_in_all(
    scene: Scene, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take = arriving.Shelf.take

    def noting(shelf: arriving.Shelf, holder: str, size: int) -> None:
        take(shelf, holder, size)
        taken.append(size)

    monkeypatch.setattr(arriving.Shelf, "take", noting)
    body = parquet(table(id=pa.array(["disk"])))
    monkeypatch.setattr(arriving, "STORED_BYTES_MAX", len(body) - 1)
    assert (post(scene, body, PARQUET, key).status, post(scene, LINE, NDJSON, key).status) == (429, 200)
    monkeypatch.setattr(arriving, "STORED_BYTES_MAX", len(body))
    assert post(scene, body, PARQUET, key).status == 200
    own = Sending(scene, key, PARQUET)
    own.send(body[:100])
    until(lambda: taken[-1:] == [100])
    assert post(scene, body, PARQUET, key).status == 429
    other = scene.deployment.key("platforms/tunesmith")
    assert post(scene, body, PARQUET, other).status == 200
    monkeypatch.setattr(arriving, "ALL_STORED_BYTES_MAX", len(body))
    refused = post(scene, body, PARQUET, other)
    assert (refused.status, "no room on disk" in refused.json()["message"]) == (429, True)
    own.socket.close()
    until(lambda: post(scene, body, PARQUET, other).status == 200)
    monkeypatch.setattr(arriving, "FREE_BYTES_MIN", 2**62)
    assert post(scene, body, PARQUET, other).status == 429
