"""HTTP/2 by hand (RFC 9113): frames that no library would send, and callers who take no answer."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Self

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM: Final = 1
END_HEADERS: Final = 4
ACKNOWLEDGED: Final = 1

_HEADER_BYTES: Final = 9
_INITIAL_WINDOW: Final = 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name: bytes, value: bytes) -> bytes:
    """A header that is not compressed (RFC 7541 section 6.2.2), of fewer than 127 bytes."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call_headers(method: str, key: str = "") -> bytes:
    """The headers of a call over gRPC."""
    headers = [
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", method.encode()), (b":authority", b"x"),
        (b"content-type", b"application/grpc"), (b"te", b"trailers"),
    ]  # fmt: skip
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    return b"".join(literal(name, value) for name, value in headers)


class Untaking:
    """A connection whose window is shut: calls are made on it, and their answers never taken."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 10)
        shut = struct.pack(">HI", _INITIAL_WINDOW, 0)
        self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0, shut) + frame(SETTINGS, ACKNOWLEDGED, 0))
        self._next = 1
        self.reset: set[int] = set()
        """The calls that the service has reset, in the order of `call`, from 0."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def call(self, method: str, messages: Sequence[bytes], key: str = "", *, times: int = 1) -> None:
        """Make a call so many times, each with these messages and no more."""
        body = b"".join(b"\x00" + struct.pack(">I", len(raw)) + raw for raw in messages)
        sent = []
        for _ in range(times):
            sent.append(frame(HEADERS, END_HEADERS, self._next, call_headers(method, key)))
            sent.append(frame(DATA, END_STREAM, self._next, body))
            self._next += 2
        self._socket.sendall(b"".join(sent))

    def _read(self) -> None:
        with self._socket.makefile("rb") as said, suppress(OSError):
            while len(header := said.read(_HEADER_BYTES)) == _HEADER_BYTES:
                high, low, kind, flags, stream = struct.unpack(">BHBBI", header)
                said.read((high << 16) + low)
                if kind == RESET or (kind == HEADERS and flags & END_STREAM):
                    self.reset.add(stream // 2)
