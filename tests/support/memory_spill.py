"""Records spilled to memory, which is as good as a disk for a test."""

from __future__ import annotations

from collections.abc import Iterator


class MemorySpill:
    def __init__(self) -> None:
        self._parts: dict[int, bytearray] = {}

    def append(self, part: int, data: bytes) -> None:
        self._parts.setdefault(part, bytearray()).extend(data)

    def read(self, part: int, chunk_bytes: int) -> Iterator[bytes]:
        data = bytes(self._parts.get(part, b""))
        for at in range(0, len(data), chunk_bytes):
            yield data[at : at + chunk_bytes]
