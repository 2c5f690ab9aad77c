"""The process that readers are forked from, for `services.reading.readers`.

Each gets the descriptors of a socket for what is said, of the file, and of a pipe. It forks once more, and waits for
the process that reads: what that one says may break off anywhere, so how it ended is said in the pipe.
"""

from __future__ import annotations

import os
import socket

import pyarrow.json
import pyarrow.parquet  # noqa: F401  # loaded once here, not by every reader

from services.forks import serve
from services.reading.reader import read


def _become_reader(descriptors: list[int]) -> None:
    said, source, ended = descriptors
    reading = os.fork()
    if reading == 0:
        os.close(ended)
        read(socket.socket(fileno=said), source)
        return
    os.close(said)
    os.close(source)
    _, status = os.waitpid(reading, 0)
    os.write(ended, bytes([os.WTERMSIG(status)]))


if __name__ == "__main__":
    serve(_become_reader)
