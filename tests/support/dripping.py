"""A server that drips: each byte comes in time, and the last one never."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Event
from typing import Final

TLS: Final = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"
"""How a server's half of a handshake begins: a record of 16 KiB, which is one message."""


@contextmanager
def dripping(piece: bytes, begin: bytes = b"") -> Iterator[str]:
    """A server that sends the same again and again, after a beginning, to whoever connects; its host and port."""
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as thread:

        def drip() -> None:
            with listening.accept()[0] as taken, suppress(OSError):
                taken.sendall(begin)
                while not over.wait(0.05):
                    taken.sendall(piece)

        thread.submit(drip)
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
