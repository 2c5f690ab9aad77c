"""The process that readers are forked from, for `services.reading.readers`.

Each gets the descriptors of a socket for what is said and of the file.
"""

from __future__ import annotations

import socket

import pyarrow.json
import pyarrow.parquet  # noqa: F401  # loaded once here, not by every reader

from services.forks import serve
from services.reading.reader import read


def _become_reader(descriptors: list[int]) -> None:
    said, source = descriptors
    read(socket.socket(fileno=said), source)


if __name__ == "__main__":
    serve(_become_reader)
