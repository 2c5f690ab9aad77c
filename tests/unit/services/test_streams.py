"""How a command ends that cannot write what it says, or that is told to end: never as if a verification had failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from services.cli.base.exits import MEANINGS, Exit
from services.cli.base.output import Output

ROOT: Final = Path(__file__).parents[3]
FULL: Final = Path("/dev/full")
VECTORS: Final = ROOT / "tests/vectors"
MOIETY: Final = [sys.executable, "-m", "services.cli"]
VERIFY: Final = [*MOIETY, "verify", str(VECTORS / "folk.tar"), "--key", (VECTORS / "folk.vkey").read_text().strip()]


def run(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **given}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **given.pop("env", {})}
    return subprocess.run(command, text=True, check=False, env=environment, **given)


def test_what_the_encoding_lacks_is_escaped() -> None:
    done = run(VERIFY, env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert " 1. \\u2713 the files are those of one log" in done.stdout


def test_json_stays_json_in_any_encoding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    document = {"name": "é ✓ \U0001f600 \x7f"}
    for encoding in ("ascii", "latin-1", "utf-8"):
        path = tmp_path / encoding
        with path.open("w", encoding=encoding) as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            Output(as_json=True).show(document)
            Output(as_json=True).line(document, "")
        assert json.loads(path.read_text(encoding).splitlines()[-1]) == document
        assert ("é" in path.read_text(encoding)) == (encoding == "utf-8")


@pytest.mark.parametrize(
    "command", [VERIFY, [*VERIFY, "--json"], [*MOIETY, "verify", "--help"], [*MOIETY, "--version"]]
)
def test_a_reader_that_has_gone_ends_a_command_quietly(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(command, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (Exit.NOT_READ, "")


@pytest.mark.parametrize("command", [VERIFY, [*VERIFY, "--json"], [*MOIETY, "--version"]])
def test_what_cannot_be_written_is_one_line(command: list[str]) -> None:
    with FULL.open("w") as full:
        done = run(command, stdout=full)
    assert (done.returncode, done.stderr) == (Exit.NOT_WRITTEN, "stdout: No space left on device\n")
    done = run(["sh", "-c", 'exec "$@" >&-', "sh", *command])
    assert (done.returncode, done.stderr) == (Exit.NOT_WRITTEN, "stdout: Bad file descriptor\n")


def test_an_exit_code_stays_where_nobody_reads_errors() -> None:
    wrong = [*MOIETY, "verify", "nowhere.tar", "--key", "x"]
    with FULL.open("w") as full:
        assert run(wrong, stderr=full).returncode == Exit.BAD_INPUT
        assert run(VERIFY, stderr=full).returncode == Exit.OK
    assert run(["sh", "-c", 'exec "$@" 2>&-', "sh", *wrong]).returncode == Exit.BAD_INPUT


_LOGGING: Final = """
import logging, resource, sys
from services.cli.base.output import open_streams
open_streams()
logging.warning("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))  # as if the disk were full
logging.warning("lost")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
logging.warning("after")
"""


@pytest.mark.parametrize(
    ("command", "field"), [(["log", "key", "log.example", "--out"], "signing key file"), (["key", "payees"], "FILE")]
)
def test_a_key_that_cannot_be_written_is_told_from_a_wrong_name(command: list[str], field: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    run_it = [*MOIETY, *command, str(path)]
    done = run(["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *run_it])
    assert done.returncode == Exit.NOT_WRITTEN
    assert done.stderr.startswith(f"{field}: {path} cannot be ")
    assert list(tmp_path.iterdir()) == []
    assert run(run_it).returncode == Exit.OK
    path.write_text("no key")
    assert run(run_it).returncode == Exit.BAD_INPUT


def test_a_log_goes_on_once_its_disk_has_room_again(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        assert run([sys.executable, "-c", _LOGGING], stderr=log).returncode == 0
    assert (tmp_path / "log").read_text().splitlines() == ["WARNING:root:before", "WARNING:root:after"]


def test_a_file_that_cannot_be_written_is_one_line_and_stays_as_it_was(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("the last one")
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *VERIFY, "--report", str(report)]  # 512 or 1,024 bytes
    done = run(limited)
    assert (done.returncode, done.stderr) == (Exit.NOT_WRITTEN, f"report: {report}: File too large\n")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["the last one"]
    done = run([*VERIFY, "--report", str(tmp_path / "none" / "report.html")])
    assert done.returncode == Exit.NOT_WRITTEN
    assert run([*VERIFY, "--report", "/dev/null"]).returncode == Exit.OK
    assert Path("/dev/null").is_char_device()


_VERIFYING: Final = """
from contextlib import nullcontext
from time import sleep
from services.cli.audit.verify import means_of_machine
with means_of_machine(2, lambda: nullcontext(lambda *_: {})):
    print("verifying", flush=True)
    sleep(60)
"""


def test_sigterm_leaves_no_folder_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", _VERIFYING], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"verifying\n"
        assert [path.name.startswith("moiety-verify-") for path in tmp_path.iterdir()] == [True]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == Exit.TERMINATED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["bad=1", "conninfo=x", "sslmode=require&autocommit=1", "a%20b=1"])
def test_a_database_url_with_another_option_is_one_line(option: str) -> None:
    url = f"postgresql://moiety:hidden@127.0.0.1:1/moiety?{option}"
    for name in ("MOIETY_DATABASE_URL", "MOIETY_DATABASE_OWNER_URL"):
        done = run([*MOIETY, "db", "check"], env={name: url})
        assert done.returncode == Exit.BAD_INPUT
        assert done.stderr.startswith(f"{name}: must be a URL such as postgresql://user:password@host:5432/database,")
        assert (done.stderr.count("\n"), "hidden" in done.stderr) == (1, False)


def test_every_exit_code_has_a_meaning() -> None:
    assert MEANINGS.keys() == set(Exit)
