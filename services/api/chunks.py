"""Large contents in pieces that fit in messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

CHUNK_BYTES: Final = 256 * 1024
"""Bytes of a statement or body in one message: far below gRPC's default limit of 4 MiB."""


def chunks(content: bytes) -> Iterator[bytes]:
    """Yields the content in pieces; no piece for empty content."""
    for place in range(0, len(content), CHUNK_BYTES):
        yield content[place : place + CHUNK_BYTES]
