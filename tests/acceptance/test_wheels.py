"""Both distributions, built and installed as their users get them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final
from zipfile import ZipFile

import pytest

import moiety
from tests.support.deployment import Deployment

ROOT: Final = Path(__file__).parents[2]
VECTORS: Final = ROOT / "tests" / "vectors"
SERVES: Final = ("alembic", "apscheduler", "grpc_health", "grpc_reflection", "psycopg", "sqlalchemy", "structlog")
"""Packages of the extra that serves."""


def run(*command: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=folder, check=False)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels by the name of their distribution, as `make wheels` builds them."""
    built = tmp_path_factory.mktemp("wheels")
    for project in (ROOT / "moiety", ROOT):
        command = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", built)
        done = run(*command, folder=project)
        assert done.returncode == 0, done.stderr
    return {path.name.partition("-")[0]: path for path in built.glob("*.whl")}


def installed(folder: Path, *distributions: Path) -> Path:
    """A Python with these distributions, and beside them what other people wrote."""
    done = run(sys.executable, "-m", "venv", "--without-pip", folder, folder=ROOT)
    assert done.returncode == 0, done.stderr
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    # The tests' own Python has the libraries. It has Moiety too, by a path file, which is not read from here.
    shared = {sysconfig.get_path("purelib"), str(Path(pytest.__file__).parents[1])}
    (site / "libraries.pth").write_text("\n".join(sorted(shared)))
    for distribution in distributions:
        command = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index")
        done = run(*command, distribution, folder=folder)
        assert done.returncode == 0, done.stderr
    return python


def test_the_sdk_leaves_no_other_top_level_name(wheels: dict[str, Path], tmp_path: Path) -> None:
    python = installed(tmp_path / "sdk", wheels["moiety"])
    site = next((tmp_path / "sdk" / "lib").glob("python*/site-packages"))
    found = {path.name for path in site.iterdir()} - {"libraries.pth"}
    assert found == {"moiety", f"moiety-{moiety.__version__}.dist-info"}
    done = run(python, "-c", "import moiety; print(moiety.Client.__module__, moiety.__version__)", folder=tmp_path)
    assert done.stdout.split() == ["moiety.client", moiety.__version__], done.stderr
    assert not (tmp_path / "sdk" / "bin" / "moiety").exists()


USERS: Final = """\
import asyncio
import moiety

def report(client: moiety.Client, lazy: object) -> None:
    receipts: list[moiety.Receipt] = client.submit_usage("folk", [{"id": "play-1", "units": 1}], "ngram")
    client.submit_usage("folk", {"id": ["play-1"]}, "ngram")
    size: int = next(client.watch("folk")).index
    code = moiety.errors.NotFoundError("gone").code
    line: moiety.BankLine = moiety.BankLine(lines=1)
    client.submit_usage("folk", lazy, "ngram")
    moiety.submit("folk")
    print(receipts, size, code, line)

async def balance(client: moiety.AsyncClient) -> moiety.Balance:
    return await client.get_balance("folk", 7)
"""
COMPLAINTS: Final = ((9, "call-arg"), (10, "arg-type"), (11, "attr-defined"), (15, "arg-type"))
"""What a type checker finds in it: a field that is not there, what is no table, a name that is not there, a number."""


def test_a_program_s_mistakes_are_found_by_a_type_checker(wheels: dict[str, Path], tmp_path: Path) -> None:
    python = installed(tmp_path / "sdk", wheels["moiety"])
    (tmp_path / "users.py").write_text(USERS)
    command = (sys.executable, "-m", "mypy", "--strict", "--python-executable", python, "users.py")
    done = run(*command, folder=tmp_path)
    found = re.findall(r"users\.py:(\d+): error: .*\[([a-z-]+)\]", done.stdout)
    assert tuple((int(line), code) for line, code in found) == COMPLAINTS, done.stdout + done.stderr


@pytest.fixture(scope="module")
def server(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `moiety` command where nothing that serves can be imported."""
    folder = tmp_path_factory.mktemp("server")
    python = installed(folder / "env", wheels["moiety"], wheels["moiety_server"])
    site = next((folder / "env" / "lib").glob("python*/site-packages"))
    refusing = f"import sys; sys.modules.update(dict.fromkeys({SERVES!r}))"
    (site / "refusing.pth").write_text(refusing + "\n")
    return python.parent / "moiety"


def test_an_auditor_verifies_without_what_serves(server: Path, tmp_path: Path) -> None:
    key = (VECTORS / "folk.vkey").read_text().strip()
    done = run(server, "verify", VECTORS / "folk.tar", "--key", key, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "holds" in done.stdout


def test_a_client_s_command_runs_without_what_serves(server: Path, tmp_path: Path) -> None:
    done = run(
        server, "balance", "folk", "--address", "127.0.0.1:1", "--api-key", "x", "--timeout", "1", folder=tmp_path
    )
    assert done.returncode == 5, done.stdout + done.stderr


def test_a_platform_s_month_goes_through_the_command_without_what_serves(
    server: Path, deployment: Deployment, tmp_path: Path
) -> None:
    """By the operator's commands and the platform's own, over a real connection."""
    deployment.clock.advance(days=31)
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("node_modules"))
    keys = {who: deployment.key(who) for who in ("operators/olive",)}

    def moiety_says(who: str, *command: object) -> str:
        address = ("--address", deployment.address, "--api-key", keys[who])
        done = run(server, *command, *address, folder=tmp_path / "examples")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    olive, tunesmith = "operators/olive", "platforms/tunesmith"
    moiety_says(olive, "apply", "pool.yaml")
    keys[tunesmith] = json.loads(moiety_says(olive, "key", "issue", tunesmith, "--json"))["secret"]
    submit = ("usage", "submit", "folk", "usage.ndjson", "--method", "melody-ngram")
    assert "3 events would be accepted" in moiety_says(tunesmith, *submit, "--dry-run")
    assert "3 events accepted" in moiety_says(tunesmith, *submit)
    assert "units" in moiety_says(tunesmith, "usage", "find", "folk", "play-1")
    report = ("--currency", "EUR", "--amount", "250.00", "--period", "2026-01", "--request-id", "january")
    assert "250.00 EUR reported" in moiety_says(tunesmith, "revenue", "report", "folk", *report)
    assert "250.00 EUR" in moiety_says(tunesmith, "revenue", "list", "folk")
    moiety_says(olive, "round", "calculate", "folk", "--request-id", "first")
    assert "irish" in moiety_says(olive, "round", "show", "folk", "1")
    assert "revenue" in moiety_says(olive, "balance", "folk")


@pytest.mark.parametrize("command", ["serve", "up"])
def test_a_command_that_serves_says_what_it_lacks(server: Path, tmp_path: Path, command: str) -> None:
    done = run(server, command, folder=tmp_path)
    assert done.returncode == 2
    assert 'pip install "moiety-server[serve]"' in done.stderr, done.stderr


def test_both_bring_the_license(wheels: dict[str, Path]) -> None:
    for path in wheels.values():
        with ZipFile(path) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/licenses/LICENSE"))
            assert wheel.read(name) == (ROOT / "LICENSE").read_bytes()


def test_the_demo_is_in_neither_and_another_s_is_not_taken_for_it(server: Path, tmp_path: Path) -> None:
    site = next(server.parents[1].glob("lib/python*/site-packages"))
    (site / "demo").mkdir()
    (site / "demo" / "cli.py").write_text("raise SystemExit('somebody else')")
    done = run(server, "--help", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert " demo " not in done.stdout
