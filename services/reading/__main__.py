"""The process that readers are forked from: it has loaded what they need, and does nothing else.

Run by `services.reading.readers`, with its end of a socket as standard input. For each file comes a byte, with the
descriptors of a socket for what is said and of the file. It ends when the socket does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback

import pyarrow.json
import pyarrow.parquet  # noqa: F401  # loaded once here, not by every reader

from services.reading.reader import read


def main() -> None:
    """Fork a reader for each file, until nobody can ask for one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that of a terminal is for the server, whose end ends this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries readers
    asked = socket.socket(fileno=sys.stdin.fileno())
    while True:
        byte, descriptors, _, _ = socket.recv_fds(asked, 1, 2)
        if not byte:
            return
        if os.fork() == 0:
            _become_reader(asked, descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _become_reader(asked: socket.socket, descriptors: list[int]) -> None:
    try:
        asked.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        said, source = descriptors
        read(socket.socket(fileno=said), source)
    except Exception:  # noqa: BLE001  # nothing above this
        traceback.print_exc()
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
