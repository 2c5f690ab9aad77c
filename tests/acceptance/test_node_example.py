"""The example for Node.js: usage over gRPC and Arrow from another language, by the pinned contract alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from moiety import event_id_of
from tests.support.deployment import Deployment
from tests.support.scene import METHOD, POOL, Scene, open_scene

EXAMPLE: Final = Path(__file__).parents[2] / "docs/examples/node"
READY: Final = shutil.which("node") is not None and (EXAMPLE / "node_modules").is_dir()
REQUIRED: Final = os.environ.get("MOIETY_REQUIRE_PEERS") == "1"

pytestmark = pytest.mark.skipif(not (READY or REQUIRED), reason="node is not installed, or `make node` was not run")


@pytest.fixture
def scene(deployment: Deployment) -> Scene:
    deployment.clock.advance(days=5)  # to when the example's works were used
    return open_scene(deployment)


def run(scene: Scene, method: str, key: str) -> subprocess.CompletedProcess[str]:
    assert READY, "MOIETY_REQUIRE_PEERS is set, and node or the example's packages are not installed"
    environment = {**os.environ, "MOIETY_ADDRESS": scene.deployment.address, "MOIETY_API_KEY": key}
    command = ["node", "submit.mjs", POOL, method]
    return subprocess.run(command, cwd=EXAMPLE, env=environment, capture_output=True, text=True, check=False)


def test_usage_is_recorded_once_from_node(scene: Scene) -> None:
    key = scene.deployment.key("platforms/tunesmith")
    first, again = run(scene, METHOD, key), run(scene, METHOD, key)
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


def test_a_refusal_and_a_wrong_key_are_told(scene: Scene) -> None:
    refused = run(scene, "nope", scene.deployment.key("platforms/tunesmith"))
    assert refused.returncode == 2
    assert "methods/nope" in refused.stderr
    unknown = run(scene, METHOD, "moiety_wrong")
    assert unknown.returncode == 5
    assert "UNAUTHENTICATED" in unknown.stderr
