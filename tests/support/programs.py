"""Programs of others that tests run: found, started and stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from services.process.passage import Unprivileged


def require(program: str) -> str:
    """The program's path; without it the test is skipped, or fails where peers are required."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found is None:
        (pytest.fail if os.environ.get("MOIETY_REQUIRE_PEERS") else pytest.skip)(f"{program} is not installed")
    return found


@contextmanager
def listening(
    command: Sequence[str], port: int, log: Path, *, user: Unprivileged | None = None, end: int = signal.SIGTERM
) -> Iterator[None]:
    """A program that listens on a port of this machine and writes a log, until it is ended by a signal."""
    as_user = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, **as_user)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + 120
        while True:
            assert running.poll() is None, log.read_text()
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        running.send_signal(end)
        running.wait(timeout=120)


@dataclass(frozen=True)
class Size:
    """What a process takes: memory that is resident, threads, open files."""

    memory_mib: int
    threads: int
    files: int


def size_of(pid: int) -> Size:
    """What a running process takes now."""
    said = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Size(int(said["VmRSS"].split()[0]) // 1024, int(said["Threads"]), files)


def children_of(pid: int) -> list[int]:
    """The processes that one started by any of its threads."""
    found = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(number) for numbers in found for number in numbers]


def is_alive(pid: int) -> bool:
    """Whether a process runs, and does not only wait to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
