"""The server's side of readers: starts one for each file, and takes what it says."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from ledger.errors import InvalidInputError, StoreUnavailableError
from services.forks import Forks
from services.reading.frames import Batch, BrokenOffError, End, receive
from services.reading.reader import BATCH_SECONDS, READER_BYTES

_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "TZDIR", "TMPDIR")
"""What readers get of the server's environment: nothing secret."""

_ONE_HEAP: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
"""The same memory for all threads of a reader, so that its limit is one of what is used."""


_BY_ITS_FILE: Final = [
    bytes([number])
    for number in (0, signal.SIGXCPU, signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
]
"""The signals that end a process for what its file makes it do: its limits of time and memory, and damage in the code
that reads it; 0 is none. SIGKILL is the machine's, where its memory ends."""


class Reading:
    """A file that is being read by a process of its own."""

    def __init__(self, said: socket.socket, ended: int) -> None:
        self._said, self._ended = said, os.fdopen(ended, "rb", buffering=0)
        self.is_given_up = False

    def __iter__(self) -> Iterator[Batch]:
        """Wait for its batches, one after the other, until it ends or is given up.

        Raises:
            InvalidInputError: it is no usage file, a row of it is no event, or it takes more than a reader has.
            StoreUnavailableError: the process ended otherwise than by the file or its limits.
        """
        try:
            while isinstance(said := receive(self._said), Batch):
                yield said
        except BrokenOffError:
            if self.is_given_up:
                return
            # Empty where the process that waits for it ended too, or was never forked.
            if (ended := self._ended.read(1)) not in _BY_ITS_FILE:
                reason = f"signal {ended[0]}" if ended else "nobody knows how"
                raise StoreUnavailableError("the process that read the file", reason) from None
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
        self._ended.close()


class Readers:
    """Starts readers. The process that they are forked from is started when the first of them is needed."""

    def __init__(self) -> None:
        self._forks = Forks("services.reading", _environment)

    def open(self, source: int, kind: str, id_scheme: str) -> Reading:
        """Have the file at a descriptor read, which the caller still closes. `kind` is one of `reader.BEGINNINGS`.

        Raises:
            StoreUnavailableError: no process can be started.
        """
        ours, theirs = socket.socketpair()
        ended, says_ended = os.pipe()
        reading = Reading(ours, ended)
        with theirs, os.fdopen(says_ended, "wb"):
            try:
                self._forks.fork([theirs.fileno(), source, says_ended])
                ours.sendall(f"{kind} {id_scheme}\n".encode())
            except OSError as error:
                reading.close()
                raise StoreUnavailableError("a process to read the file", str(error)) from None
        return reading

    def close(self) -> None:
        """Start no more of them; those under way end with their files."""
        self._forks.close()


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_HEAP


def _takes_too_much() -> str:
    return (
        f"is damaged, or takes more than {READER_BYTES >> 20} MiB of memory, or {BATCH_SECONDS} s until its next batch;"
        " write it in smaller pieces (row groups, record batches)"
    )
