"""What a reader says of its file, as bytes on a socket: its batches, and at last that this was all, or what is wrong.

Each frame is its kind, a number and a length, and so many bytes. The server believes no more than that: a file that has
taken its reader over has not taken over the server.
"""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass
from typing import Final

FRAME_BYTES_MAX: Final = 33 * 2**20
"""The longest frame: the largest batch that the service takes, and what Arrow says of it."""

SAID_CHARACTERS_MAX: Final = 500
"""How much is said of what is wrong: a column's name may be as long as a row."""

_HEAD: Final = struct.Struct("<cIQ")
_BATCH, _WRONG, _END = b"B", b"W", b"E"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch, as one Arrow IPC stream, and how many rows it has."""

    row_count: int
    stream: bytes


@dataclass(frozen=True, slots=True)
class Wrong:
    """What is wrong with the file, and where."""

    field: str
    reason: str


class End:
    """The file was read to its end."""


class BrokenOffError(Exception):
    """The reader ended before its file did, or says what no reader says."""


def send(to: socket.socket, said: Batch | Wrong | End) -> None:
    """Send a frame.

    Raises:
        OSError: nobody takes it any more.
    """
    kind, number, content = _END, 0, b""
    if isinstance(said, Batch):
        kind, number, content = _BATCH, said.row_count, said.stream
    elif isinstance(said, Wrong):
        texts = [text[:SAID_CHARACTERS_MAX] for text in (said.field, said.reason)]
        kind, content = _WRONG, json.dumps(texts).encode()
    to.sendall(_HEAD.pack(kind, number, len(content)))
    to.sendall(content)


def receive(source: socket.socket) -> Batch | Wrong | End:
    """Wait for the next frame.

    Raises:
        BrokenOffError: there is none.
    """
    kind, number, length = _HEAD.unpack(_exactly(source, _HEAD.size))
    if length > FRAME_BYTES_MAX:
        raise BrokenOffError
    content = _exactly(source, length)
    if kind == _BATCH:
        return Batch(number, content)
    if kind == _WRONG:
        try:
            field, reason = json.loads(content)
            return Wrong(str(field), str(reason))
        except (ValueError, RecursionError):
            raise BrokenOffError from None
    if kind == _END:
        return End()
    raise BrokenOffError


def _exactly(source: socket.socket, size: int) -> bytes:
    found = bytearray(size)
    view, at = memoryview(found), 0
    try:
        while at < size:
            if not (count := source.recv_into(view[at:])):
                raise BrokenOffError
            at += count
    except OSError:
        raise BrokenOffError from None
    return bytes(found)
