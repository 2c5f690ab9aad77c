"""The server's side of readers: starts one for each file, and takes what it says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from threading import Lock
from typing import Final

from ledger.errors import InvalidInputError, StoreUnavailableError
from services.reading.frames import Batch, BrokenOffError, End, receive
from services.reading.reader import BATCH_SECONDS, READER_BYTES

_COMMAND: Final[tuple[str, ...]] = (sys.executable, "-P", "-m", "services.reading")
_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TZDIR", "TMPDIR")
"""What readers get of the server's environment: nothing secret."""

_ONE_HEAP: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
"""The same memory for all threads of a reader, so that its limit is one of what is used."""


class Reading:
    """A file that is being read by a process of its own."""

    def __init__(self, said: socket.socket) -> None:
        self._said = said
        self.is_given_up = False

    def __iter__(self) -> Iterator[Batch]:
        """Wait for its batches, one after the other, until it ends or is given up.

        Raises:
            InvalidInputError: it is no usage file, a row of it is no event, or it takes more than a reader has.
        """
        try:
            while isinstance(said := receive(self._said), Batch):
                yield said
        except BrokenOffError:
            if self.is_given_up:
                return
            raise InvalidInputError.of("body", _takes_too_much()) from None
        if not isinstance(said, End):
            raise InvalidInputError.of(said.field, said.reason)

    def give_up(self) -> None:
        """End the reader, and with it the batches."""
        self.is_given_up = True
        with suppress(OSError):
            self._said.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the reader, if it has not ended."""
        self.give_up()
        self._said.close()


class Readers:
    """Starts readers. The process that they are forked from is started when the first of them is needed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._asking: socket.socket | None = None

    def open(self, source: int, kind: str, id_scheme: str) -> Reading:
        """Have the file at a descriptor read, which the caller still closes. `kind` is one of `reader.BEGINNINGS`.

        Raises:
            StoreUnavailableError: no process can be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._ask([theirs.fileno(), source])
                ours.sendall(f"{kind} {id_scheme}\n".encode())
            except OSError:
                ours.close()
                raise StoreUnavailableError from None
        return Reading(ours)

    def close(self) -> None:
        """Start no more of them; those under way end with their files."""
        with self._lock:
            self._forget()

    def _ask(self, descriptors: list[int]) -> None:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._forget()
                self._start()
            assert self._asking is not None  # noqa: S101  # it was started
            socket.send_fds(self._asking, [b"r"], descriptors)

    def _start(self) -> None:
        self._asking, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # it is this program
                _COMMAND, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment | _ONE_HEAP
            )

    def _forget(self) -> None:
        if self._asking is not None:
            self._asking.close()
        if self._process is not None:
            self._process.wait()
        self._asking = self._process = None


def _takes_too_much() -> str:
    return (
        f"is damaged, or takes more than {READER_BYTES >> 20} MiB of memory, or {BATCH_SECONDS} s until its next batch;"
        " write it in smaller pieces (row groups, record batches)"
    )
