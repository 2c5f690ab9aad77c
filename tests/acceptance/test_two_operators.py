"""`moiety up` founded by two: nothing is done by one of them, and every verdict says who may hold both keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from services.cli.base.exits import Exit
from tests.support.console import Console
from tests.support.server_process import shown_by_up

ROOT: Final = Path(__file__).parents[2]
DECLARED: Final = """
platforms:
  melodia: {display_name: Melodia}
pools:
  folk: {display_name: Folk, currency: EUR, policy: {review_seconds: 60}}
"""


@pytest.fixture
def printed(data_folder: Path) -> Iterator[str]:
    """What `moiety up` prints, while it runs."""
    environment = {**os.environ, "MOIETY_LISTEN": "127.0.0.1:0", "MOIETY_CHECKPOINT_SECONDS": "0.1"}
    founders = ["--operator", "alice", "--operator", "bob"]
    command = [sys.executable, "-m", "services.cli", "up", "--data", str(data_folder / "two"), *founders]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        yield shown_by_up(process)
        process.terminate()
        process.communicate(timeout=120)
        assert process.returncode == 0


def test_two_operators_run_a_deployment_for_trying(printed: str, tmp_path: Path) -> None:
    console = Console(printed, tmp_path)
    assert set(console.secrets) == {"operators/alice", "operators/bob"}
    assert "two of them are needed to move money" in printed
    (tmp_path / "folk.yaml").write_text(DECLARED)

    def run(command: str, by: str = "alice", code: int = 0) -> Any:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if by:
            environment |= {"MOIETY_ADDRESS": console.address, "MOIETY_API_KEY": console.secrets[f"operators/{by}"]}
        whole = [sys.executable, "-m", "services.cli", *command.split(), "--json"]
        done = subprocess.run(
            whole, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=120, env=environment
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr

    assert {change["state"] for change in run("apply folk.yaml")["changes"]} == {"PROPOSED"}
    waiting = [each["name"] for each in run("proposal list")]
    assert "cannot decide what it proposed" in run(f"proposal approve {waiting[0]}", code=Exit.REFUSED_BY_STATE)
    run(f"proposal approve {' '.join(waiting)}", by="bob")
    assert run("apply folk.yaml")["changes"] == []
    console.wait_for_checkpoint("operators/alice")
    run("bundle folk folk.tar")
    verdict = run(f"verify folk.tar --key {console.vkey}", by="")
    assert "keys issued together" in str(verdict)
