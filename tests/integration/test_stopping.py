"""Processes end when they are told to, also while Postgres is silent, and at once when they are told twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa

from services.process.stopping import CUT_OFF
from tests.support.deployment import START, SteppedClock, found_for_tests
from tests.support.programs import children_of, is_alive

pytestmark = pytest.mark.surface

ROOT: Final = Path(__file__).parents[2]
LAST_SECONDS: Final = 0.4
IMPATIENT: Final = f"""
import services.process.stopping as stopping
stopping.LAST_SECONDS = {LAST_SECONDS}
from services.cli.entry import main
main()
"""
"""The `moiety` command with less time to end."""

STOPPED: Final = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@contextmanager
def running(database_url: str, command: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A process of ours on a database, which has said that it does what it is for."""
    found_for_tests(database_url, SteppedClock(START))
    chosen = {
        "MOIETY_DATABASE_URL": database_url,
        "MOIETY_LISTEN": "127.0.0.1:0",
        "MOIETY_HTTP_LISTEN": "127.0.0.1:0",
        "MOIETY_DRAIN_SECONDS": "0.3",
        "MOIETY_SCHEDULE_POLL_SECONDS": "0.05",
        **more,
    }
    pipe = subprocess.PIPE
    # Workers have the whole time, and their parent with them.
    program = ["-m", "services.cli"] if "MOIETY_WORKERS" in more else ["-c", IMPATIENT]
    with subprocess.Popen(
        [sys.executable, *program, command], cwd=ROOT, env={**os.environ, **chosen}, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def silence(owner: sa.Engine) -> Iterator[Callable[[], None]]:
    """Makes Postgres silent on every connection that there is."""
    silent: list[int] = []

    def stop() -> None:
        with owner.connect() as connection:
            silent.extend(connection.exec_driver_sql(STOPPED).scalars())
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)

    yield stop
    for pid in silent:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def said(process: subprocess.Popen[str], lines: int) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().split()[-1] for _ in range(lines)]


def ended(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What its log says of its end."""
    _, log = process.communicate(timeout=60)
    found = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in found if line["logger"] == "moiety.stopping"]


def have_it_wait(console: str) -> None:
    """Have a server wait for Postgres."""
    host, _, port = console.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port))) as asking:
        asking.sendall(b"GET /readyz HTTP/1.1\r\nhost: x\r\n\r\n")
        time.sleep(0.3)


@pytest.mark.parametrize("more", [{}, {"MOIETY_WORKERS": "2"}], ids=["alone", "in workers"])
def test_a_server_ends_while_postgres_is_silent(
    more: dict[str, str], database_url: str, silence: Callable[[], None]
) -> None:
    with running(database_url, "serve", **more) as process:
        _, console = said(process, 2)
        silence()
        have_it_wait(console)
        began = time.monotonic()
        process.terminate()
        lines = ended(process)
        assert time.monotonic() - began < 20
    assert process.returncode == CUT_OFF
    assert lines
    assert all("watch" in line["cut_off"] or "health" in line["cut_off"] for line in lines)


def test_a_scheduler_ends_while_postgres_is_silent(database_url: str, silence: Callable[[], None]) -> None:
    with running(database_url, "schedule") as process:
        said(process, 1)
        silence()
        time.sleep(0.3)
        process.terminate()
        (line,) = ended(process)
    assert process.returncode == CUT_OFF
    assert "Scheduler.run_once" in line["cut_off"]


@pytest.mark.parametrize("command", ["serve", "schedule"])
def test_a_process_with_nothing_to_wait_for_ends_well(database_url: str, command: str) -> None:
    with running(database_url, command) as process:
        said(process, 1 if command == "schedule" else 2)
        process.terminate()
        assert ended(process) == []
    assert process.returncode == 0


@pytest.mark.parametrize("numbers", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_ends_a_server_and_its_workers_at_once(
    numbers: Sequence[int], database_url: str, silence: Callable[[], None]
) -> None:
    with running(database_url, "serve", MOIETY_WORKERS="2", MOIETY_DRAIN_SECONDS="600") as process:
        _, console = said(process, 2)
        workers = children_of(process.pid)
        silence()
        have_it_wait(console)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.5)
        assert process.wait(timeout=20) == -numbers[-1]
        for _ in range(100):
            if not any(map(is_alive, workers)):
                break
            time.sleep(0.05)
        assert len(workers) == 2
        assert not any(map(is_alive, workers))
