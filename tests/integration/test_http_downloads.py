"""Files by GET: a log that curl mirrors, bundles, statements, exports; each by its reader's rights."""

from __future__ import annotations

import http.client
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from services.api.http import downloads
from services.cli.app import main
from services.process.host import signing_parts
from services.signing.key_file import generate_key, read_key
from tests.support.deployment import START, SteppedClock, deployed
from tests.support.http import ask
from tests.support.scene import POOL, Scene, event, open_scene

pytestmark = pytest.mark.surface

BATCHES: Final = 250
"""With the leaves before them more than the 256 of a tile."""


@pytest.fixture(scope="module")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signing") / "key"
    generate_key(path, "log.example")
    return path


@pytest.fixture(scope="module")
def scene(shared_database_url: str, signing_key: Path) -> Iterator[Scene]:
    """A pool with many batches, a round and a payment, all of it signed."""
    clock, checkpoints = SteppedClock(START), signing_key.parent / "checkpoints"
    with deployed(
        shared_database_url, clock, signing_key_file=signing_key, checkpoint_folder=checkpoints
    ) as deployment:
        scene = open_scene(deployment)
        scene.pay_in(100_000, "january")
        for number in range(BATCHES):
            scene.submit([event(number)], f"batch-{number}")
        scene.cut("r")
        scene.operator.record_payment(POOL, "irish", 10, request_id="pay", reference="a")
        with signing_parts(deployment.settings, clock=clock) as (_, signing):
            signing.signer.run_once()
        yield scene


@pytest.fixture(scope="module")
def key(scene: Scene) -> str:
    return scene.deployment.key("auditors/ada")


@pytest.fixture(scope="module")
def vkey(signing_key: Path) -> str:
    return str(read_key(signing_key).verifier_key)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_mirrors_a_log_and_the_mirror_is_verified(scene: Scene, key: str, vkey: str, tmp_path: Path) -> None:
    script = (Path(__file__).parents[2] / "docs/examples/mirror.sh").resolve()
    mirror = tmp_path / "mirror"
    url = f"http://{scene.deployment.running.http_address}/v1/pools/{POOL}/log"
    environment = {"MOIETY_API_KEY": key, "PATH": "/usr/bin:/bin"}
    for _ in range(2):  # the second has nothing to fetch
        subprocess.run(["sh", str(script), url, str(mirror)], check=True, timeout=120, env=environment)
    with pytest.raises(SystemExit) as caught:
        main(["verify", str(mirror), "--key", vkey])
    assert caught.value.code == 0
    by_command = tmp_path / "by-command"
    with pytest.raises(SystemExit):
        main(["log", "export", POOL, str(by_command), "--address", scene.deployment.address, "--api-key", key])
    files = {path.relative_to(by_command) for path in by_command.rglob("*") if path.is_file()}
    assert files == {path.relative_to(mirror) for path in mirror.rglob("*") if path.is_file()}
    for file in files:
        assert (mirror / file).read_bytes() == (by_command / file).read_bytes(), file


def test_a_bundle_is_verified(scene: Scene, key: str, vkey: str, tmp_path: Path) -> None:
    answer = ask(scene.deployment.running.http_address, f"/v1/pools/{POOL}/bundle", key=key)
    assert (answer.status, answer.headers["content-disposition"]) == (200, f'attachment; filename="{POOL}.bundle"')
    (tmp_path / "bundle").write_bytes(answer.body)
    with pytest.raises(SystemExit) as caught:
        main(["verify", str(tmp_path / "bundle"), "--key", vkey])
    assert caught.value.code == 0


@pytest.mark.parametrize("path", ["bundle", "exports/beancount", "exports/parquet"])
def test_without_room_on_disk_it_is_asked_for_again(
    scene: Scene, key: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        refused = ask(scene.deployment.running.http_address, f"/v1/pools/{POOL}/{path}", key=key)
    assert (refused.status, "there is no room on disk for this file now" in refused.text) == (429, True), refused.text
    assert ask(scene.deployment.running.http_address, f"/v1/pools/{POOL}/{path}", key=key).status == 200


def test_a_collective_reads_its_lines_of_a_statement_and_nothing_else(scene: Scene, key: str) -> None:
    address, path = scene.deployment.running.http_address, f"/v1/pools/{POOL}/rounds/1/statement"
    whole = ask(address, path, key=key).text.splitlines()
    irish = scene.deployment.key("collectives/irish")
    assert ask(address, path, key=irish).text.splitlines() == [whole[0], whole[2]]
    assert ask(address, f"{path}?collective=breton", key=irish).status == 403
    for other in ("log/at", "log/checkpoint"):
        assert ask(address, f"/v1/pools/{POOL}/{other}", key=irish).status == 200, other
    for other in ("log/300-10/files", "log/tile/0/000", "log/tile/entries/000", "bundle", "exports/beancount"):
        assert ask(address, f"/v1/pools/{POOL}/{other}", key=irish).status == 403, other
    assert ask(address, path).status == 401


def test_a_kept_answer_is_for_the_same_key_and_page_and_a_refusal_is_not_kept(scene: Scene, key: str) -> None:
    address, path = scene.deployment.running.http_address, f"/v1/pools/{POOL}/rounds/1/statement"
    whole, refused = ask(address, path, key=key), ask(address, path)
    assert (whole.status, whole.headers["cache-control"]) == (200, "private, max-age=31536000, immutable")
    assert (refused.status, refused.headers["cache-control"]) == (401, "no-store")
    assert whole.headers["vary"] == refused.headers["vary"] == "authorization, origin"


def test_exports_are_those_of_the_command(scene: Scene, key: str, tmp_path: Path) -> None:
    address = scene.deployment.running.http_address
    with pytest.raises(SystemExit):
        main([
            "export", POOL, str(tmp_path / "books"), "--beancount", "--hledger",
            "--address", scene.deployment.address, "--api-key", key,
        ])  # fmt: skip
    written = {path.suffix: path.read_bytes() for path in (tmp_path / "books").iterdir()}
    for form in ("beancount", "hledger"):
        answer = ask(address, f"/v1/pools/{POOL}/exports/{form}", key=key)
        assert answer.body in written.values()
    tables = ask(address, f"/v1/pools/{POOL}/exports/parquet", key=key)
    with tarfile.open(fileobj=io.BytesIO(tables.body)) as archive:
        assert any(name.endswith(".parquet") for name in archive.getnames())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("log/checkpoint", 200),
        ("log/at", 200),
        ("log/5-5/checkpoint", 404),
        ("log/tile/0/001", 404),
        ("log/tile/0/000.p/300", 404),
        ("log/tile/9/000", 404),
        ("log/tile/x/000", 404),
        ("log/nothing", 404),
        ("log/1/../../../etc/passwd", 404),
        ("log/body/00/" + "0" * 64, 404),
        ("log/tile/0/000?width=9", 400),
        ("bundle?rounds=a", 400),
        ("bundle?rounds=99", 400),
        ("rounds/9/statement", 404),
        ("rounds/0/statement", 400),
        ("log/journal.csv", 404),
        ("log/registry/registry/checkpoint", 404),
        ("log/registry/checkpoint", 200),
    ],
)
def test_what_is_not_there_is_said(scene: Scene, key: str, path: str, status: int) -> None:
    answer = ask(scene.deployment.running.http_address, f"/v1/pools/{POOL}/{path}", key=key)
    assert answer.status == status, answer.text


def test_what_breaks_off_is_seen_by_its_reader(scene: Scene, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> object:
        yield b"some"
        raise OSError("the disk is gone")

    monkeypatch.setattr(downloads, "_read", broken)
    with pytest.raises(http.client.IncompleteRead):
        ask(scene.deployment.running.http_address, f"/v1/pools/{POOL}/bundle", key=key)
