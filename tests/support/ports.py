"""Ports of this machine for what tests start, also where it ends and has to come back at the same one."""

from __future__ import annotations

import fcntl
import socket
import tempfile
from pathlib import Path
from typing import IO, Final

_PORTS: Final = range(20_000, 30_000)
"""Below those that the system gives out, to listeners at port 0 and to connections that go out."""

_locks: list[IO[str]] = []
"""On the ports that were given out, held until the process ends."""


def free_port() -> int:
    """A port that nothing listens on, and that nobody else is given as long as this process runs."""
    for port in _PORTS:
        try:
            lock = (Path(tempfile.gettempdir()) / f"moiety-test-port-{port}").open("w")
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as tried:
                tried.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _locks.append(lock)
        return port
    raise AssertionError("no port is free")
