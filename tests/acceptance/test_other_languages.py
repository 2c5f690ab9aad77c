"""The examples for other languages: usage over gRPC from TypeScript and from Go, by the pinned contract alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from moiety import event_id_of
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, POOL, Scene, open_scene

EXAMPLES: Final = Path(__file__).parents[2] / "docs" / "examples"
TYPESCRIPT: Final = EXAMPLES / "typescript"
GO_PACKAGE: Final = "example.org/moiety-submit"
GO_LIBRARIES: Final = Path("/usr/share/gocode")
"""Where Debian puts the libraries that the example imports."""

READY: Final = {
    "typescript": shutil.which("node") is not None and (TYPESCRIPT / "node_modules").is_dir(),
    "go": all(map(shutil.which, ("go", "protoc", "protoc-gen-go", "protoc-gen-go-grpc"))) and GO_LIBRARIES.is_dir(),
}
REQUIRED: Final = os.environ.get("MOIETY_REQUIRE_PEERS") == "1"
MISSING: Final = {
    "typescript": "node is not installed, or `make node` was not run",
    "go": "Go, its plugins for protoc or its libraries are not installed; .ci/run names the packages",
}


def built(*command: str, folder: Path, **variables: str) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, **variables}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def typescript(folder: Path) -> list[str]:
    """Generate, check the types and compile, as the example's first lines say."""
    shutil.copytree(TYPESCRIPT, folder / "docs/examples/typescript", symlinks=True)
    shutil.copytree(EXAMPLES.parents[1] / "proto", folder / "proto")
    here = folder / "docs/examples/typescript"
    for script in ("generate", "build"):
        built("npm", "run", "--silent", script, folder=here)
    return ["node", str(here / "dist/submit.js")]


def go(folder: Path) -> list[str]:
    """Generate and build. Without Go modules, which a machine that reaches Debian's packages alone cannot fetch."""
    here = folder / "src" / GO_PACKAGE
    shutil.copytree(EXAMPLES / "go", here)
    shutil.copytree(EXAMPLES.parents[1] / "proto", here.parents[2] / "proto")
    built("sh", "generate.sh", folder=here)
    libraries = os.pathsep.join((str(folder), str(GO_LIBRARIES)))
    for command in (("go", "vet", "."), ("go", "build", "-o", str(folder / "submit"), ".")):
        built(*command, folder=here, GO111MODULE="off", GOPATH=libraries, GOFLAGS="")
    return [str(folder / "submit")]


@pytest.fixture(scope="module", params=[typescript, go], ids=lambda build: build.__name__)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    language = request.param.__name__
    if not READY[language]:
        assert not REQUIRED, MISSING[language]
        pytest.skip(MISSING[language])
    command: list[str] = request.param(tmp_path_factory.mktemp(language))
    return command


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    deployment.clock.advance(days=5)  # to when the example's works were used
    return open_scene(deployment)


def run(program: list[str], scene: Scene, method: str, key: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MOIETY_ADDRESS": scene.deployment.address, "MOIETY_API_KEY": key}
    command = [*program, POOL, method]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_usage_is_recorded_once_and_what_is_wrong_is_told(program: list[str], scene: Scene) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    refused = run(program, scene, "nope", key)
    assert refused.returncode == 2
    assert "methods/nope" in refused.stderr
    unknown = run(program, scene, METHOD, "moiety_wrong")
    assert unknown.returncode != 0
    assert "Unauthenticated" in unknown.stderr
    first, again = run(program, scene, METHOD, key), run(program, scene, METHOD, key)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr
    assert first.stdout == again.stdout
    assert first.stdout.startswith("3 events accepted, 0 duplicates; leaf ")
    (receipt,) = scene.platform.list_batches(POOL)
    assert receipt.accepted_count == 3
    found = scene.platform.find_event(POOL, str(event_id_of("play-2"))).event
    assert {share.collective_id: share.share_nano for share in found.shares} == {
        "irish": 600_000_000,
        "scottish": 250_000_000,
    }
