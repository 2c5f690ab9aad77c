"""The commands of README and of the readers' pages are run as they stand, and print what the pages show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.console import Console, blocks, commands, require_lines
from tests.support.server_process import shown_by_up

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text()
MONTH: Final = ("README.md", "docs/platform.md", "docs/operator.md", "docs/collective.md", "docs/auditor.md")
"""The pages in the order in which their sessions go on."""


@pytest.fixture
def moiety_up(data_folder: Path) -> Iterator[str]:
    """What `moiety up` prints, while it runs."""
    environment = {**os.environ, "MOIETY_LISTEN": "127.0.0.1:0", "MOIETY_CHECKPOINT_SECONDS": "0.1"}
    command = [sys.executable, "-m", "services.cli", "up", "--data", str(data_folder / "readme")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        printed = shown_by_up(process)
        yield printed
        process.terminate()
        process.communicate(timeout=120)
        assert process.returncode == 0


def test_the_sessions_of_the_pages_print_what_they_show(moiety_up: str, tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    console = Console(moiety_up, tmp_path)
    for name in MONTH:
        page = (ROOT / name).read_text()
        assert blocks(page, "session"), name
        console.run_page(page)


def test_a_line_that_is_not_printed_is_found() -> None:
    printed = "Account  Balance\nfees     62.50 EUR  16\n"
    require_lines(["fees   62.50 EUR ..."], printed)
    require_lines(["... 62.50 EUR   16"], printed)
    for shown in (["fees 62.5"], ["fees 62.50 EUR"], ["fees ...", "Account ..."], ["... 61.50 ..."]):
        with pytest.raises(AssertionError, match="is not in"):
            require_lines(shown, printed)


def test_the_readmes_demo_prints_what_it_shows() -> None:
    command = [sys.executable, "-m", "services.cli", "demo"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=800,
    )
    assert done.returncode == 0, done.stderr
    shown = [line for line in blocks(README, "demo")[0] if line != "..."]
    require_lines([*shown[:-1], shown[-1] + "..."], done.stdout)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readmes_two_commands_are_make_targets(target: str) -> None:
    assert f"    make {target}" in README
    done = subprocess.run(["make", "--dry-run", target], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


def test_a_contributors_commands_are_make_targets() -> None:
    page = (ROOT / "docs/contributor.md").read_text()
    found = [command for lines in blocks(page, "targets") for command, _ in commands(lines)]
    assert found
    for command in found:
        dry = command.replace("make ", "make --dry-run ", 1)
        done = subprocess.run(["bash", "-c", dry], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
