"""One version for the SDK and the server, said in one place."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import moiety

ROOT: Final = Path(__file__).parents[2]


def project(path: str) -> Any:
    return tomllib.loads((ROOT / path).read_text())["project"]


def test_the_server_depends_on_the_sdk_of_its_own_version() -> None:
    assert project("pyproject.toml")["dependencies"][0] == f"moiety=={moiety.__version__}"
    assert "version" in project("pyproject.toml")["dynamic"]
    assert "version" in project("moiety/pyproject.toml")["dynamic"]


def test_the_changelog_has_the_version() -> None:
    assert f"## [{moiety.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_command_says_its_version() -> None:
    command = [sys.executable, "-m", "services.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == f"moiety {moiety.__version__}\n"
