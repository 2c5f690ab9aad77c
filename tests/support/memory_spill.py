"""Records spilled to memory, which is as good as a disk for a test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence


class MemorySpill:
    def __init__(self) -> None:
        self._parts: defaultdict[int, bytearray] = defaultdict(bytearray)

    def append(self, data: memoryview, ends: Sequence[int]) -> None:
        begin = 0
        for part, end in enumerate(ends):
            self._parts[part] += data[begin:end]
            begin = end

    def read(self, part: int, chunk_bytes: int) -> Iterator[bytes]:
        data = bytes(self._parts[part])
        for at in range(0, len(data), chunk_bytes):
            yield data[at : at + chunk_bytes]

    def at(self, begin: int, size: int) -> bytes:
        return bytes(self._parts[0][begin : begin + size])
