"""Processes forked from one that has loaded what they need and does nothing else: a server has threads, and may not.

The server starts that one as a command, with its end of a socket as standard input. For each process to be forked comes
a byte, with its descriptors. It ends when the socket does.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Final, NoReturn

from services.processors import anywhere

_DESCRIPTORS_MAX: Final = 4


class Forks:
    """The server's side: has processes forked. The one that they are forked from is started when it is first needed.

    Args:
        module: what is run as that one; it calls `serve`.
        environment: all that it and its forks get of one.
    """

    def __init__(self, module: str, environment: Callable[[], Mapping[str, str]]) -> None:
        self._command = (sys.executable, "-P", "-m", module)
        self._environment = environment
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._asking: socket.socket | None = None

    def fork(self, descriptors: Sequence[int]) -> None:
        """Have a process forked that gets these descriptors, which the caller still closes.

        Raises:
            OSError: no process can be started.
        """
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._forget()
                self._start()
            assert self._asking is not None  # noqa: S101  # it was started
            socket.send_fds(self._asking, [b"f"], descriptors)

    def close(self) -> None:
        """Have no more of them forked; those under way go on."""
        with self._lock:
            self._forget()

    def _start(self) -> None:
        self._asking, theirs = socket.socketpair()
        with theirs, anywhere():
            self._process = subprocess.Popen(  # noqa: S603  # it is this program
                self._command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=dict(self._environment())
            )

    def _forget(self) -> None:
        if self._asking is not None:
            self._asking.close()
        if self._process is not None:
            self._process.wait()
        self._asking = self._process = None


def serve(become: Callable[[list[int]], None]) -> None:
    """Fork a process for each that is asked for, until nobody can ask; each does `become` with its descriptors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that of a terminal is for the server, whose end ends this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries them
    asked = socket.socket(fileno=sys.stdin.fileno())
    while True:
        byte, descriptors, _, _ = socket.recv_fds(asked, 1, _DESCRIPTORS_MAX)
        if not byte:
            return
        if os.fork() == 0:
            _become(become, asked, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _become(become: Callable[[list[int]], None], asked: socket.socket, descriptors: list[int]) -> NoReturn:
    try:
        asked.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        become(descriptors)
    except Exception:  # noqa: BLE001  # nothing above this
        traceback.print_exc()
    finally:
        os._exit(0)
