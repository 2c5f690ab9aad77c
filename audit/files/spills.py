"""Temporary files for the records of a verification that do not fit in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from typing import Self
from weakref import finalize


class DiskSpill:
    """Records in one file without a name, which goes with this object, and where in it each part lies."""

    def __init__(self, folder: Path) -> None:
        self._file, name = mkstemp(dir=folder)
        finalize(self, os.close, self._file)
        Path(name).unlink()
        self._size = 0
        self._added: list[list[int]] = []
        """Where the parts of each addition begin, and where the last one ends."""

    def append(self, data: memoryview, ends: Sequence[int]) -> None:
        """Add to each part: `data` has what each gets, one after the other, up to its place in `ends`."""
        begin = self._size
        while len(data):
            written = os.write(self._file, data)
            data = data[written:]
            self._size += written
        self._added.append([begin, *(begin + end for end in ends)])

    def read(self, part: int, chunk_bytes: int) -> Iterator[bytearray]:
        """Yields a part again, in pieces of this many bytes and a shorter last one. Threads may read."""
        chunk = bytearray()
        for bounds in self._added:
            begin, end = bounds[part], bounds[part + 1]
            while begin < end:
                found = os.pread(self._file, min(end - begin, chunk_bytes - len(chunk)), begin)
                if not found:
                    raise OSError(f"a temporary file ended at {begin} and not at {end}")
                chunk += found
                begin += len(found)
                if len(chunk) == chunk_bytes:
                    yield chunk
                    chunk = bytearray()
        if chunk:
            yield chunk

    def at(self, begin: int, size: int) -> bytes:
        """Returns bytes of the only part. Threads may read."""
        found = os.pread(self._file, size, begin)
        if len(found) != size:
            raise OSError(f"a temporary file ended at {begin + len(found)} and not at {begin + size}")
        return found


class SpillFolder:
    """A temporary folder for spills. Leaving it deletes the folder and everything in it."""

    def __init__(self, inside: Path | None = None) -> None:
        self._folder = TemporaryDirectory(prefix="moiety-verify-", dir=inside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def new(self) -> DiskSpill:
        """Returns a new spill; may be called from threads."""
        return DiskSpill(Path(self._folder.name))
