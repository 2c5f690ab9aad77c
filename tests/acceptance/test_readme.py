"""The README's commands are run as they stand, and their output is what the README shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text()
KEY: Final = re.compile(r"moiety_[0-9a-f]{16}_[A-Za-z0-9_-]{43}")


def block(mark: str) -> list[str]:
    """The lines of the fenced block after `<!-- mark -->`."""
    found = re.search(rf"<!-- {mark} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found
    return found[1].splitlines()


def require_lines(shown: list[str], printed: str) -> None:
    """Every shown line stands in what was printed, in order; `...` ends a line that goes on."""
    remaining = iter(" ".join(line.split()) for line in printed.splitlines())
    for line in shown:
        beginning = " ".join(line.split()).removesuffix("...")
        assert any(found.startswith(beginning) for found in remaining), f"{line!r} is not in:\n{printed}"


@pytest.fixture
def moiety_up(data_folder: Path) -> Iterator[str]:
    """What `moiety up` prints, while it runs."""
    environment = {**os.environ, "MOIETY_LISTEN": "127.0.0.1:0"}
    command = [sys.executable, "-m", "services.cli", "up", "--data", str(data_folder / "readme")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as process:
        assert process.stdout
        printed = "".join(iter(process.stdout.readline, "Ctrl-C stops.\n"))
        yield printed
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode == 0


def test_the_readmes_session_prints_what_it_shows(moiety_up: str) -> None:
    address = re.search(r"127\.0\.0\.1:\d+", moiety_up)
    operator = KEY.search(moiety_up)
    assert address
    assert operator
    environment = {**os.environ, "MOIETY_ADDRESS": address[0], "MOIETY_API_KEY": operator[0]}
    secret = ""
    for command, shown in commands(block("session")):
        if command.startswith(("moiety up", "export ")):
            continue
        runnable = command.replace("moiety_...", secret).replace("moiety ", f"{sys.executable} -m services.cli ")
        done = subprocess.run(
            ["bash", "-c", runnable], capture_output=True, text=True, env=environment, cwd=ROOT, check=False
        )
        assert done.returncode == 0, done.stderr
        require_lines(shown, done.stdout)
        if found := KEY.search(done.stdout):
            secret = found[0]


def commands(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    shown: list[str] = []
    command = ""
    for line in [*lines, "$ "]:
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line.removeprefix("$ "), []
        else:
            shown.append(line)


def test_the_readmes_demo_prints_what_it_shows() -> None:
    command = [sys.executable, "-m", "services.cli", "demo"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    shown = [line for line in block("demo") if line != "..."]
    require_lines([*shown[:-1], shown[-1] + "..."], done.stdout)


def test_every_page_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
    assert missing == []


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readmes_two_commands_are_make_targets(target: str) -> None:
    assert f"    make {target}" in README
    done = subprocess.run(["make", "--dry-run", target], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
