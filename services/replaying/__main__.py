"""The process that those of replays are forked from, for `services.replaying.processes`."""

from __future__ import annotations

import gc
import socket
from multiprocessing.connection import Connection

import numpy.ma  # noqa: F401  # loaded once here, not by every process, for `np.unique`

from services.forks import serve
from services.replaying.process import work


def _become(descriptors: list[int]) -> None:
    server, dealt = descriptors
    work(Connection(server), socket.socket(fileno=dealt))


if __name__ == "__main__":
    gc.collect()
    gc.freeze()  # a search for garbage would copy the memory that the processes share
    serve(_become)
