"""Temporary files for the records of a verification that do not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self


class DiskSpill:
    """Records in the files of a folder, one file for each part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, part: int, data: bytes) -> None:
        """Add to a part."""
        with (self._folder / str(part)).open("ab") as file:
            file.write(data)

    def read(self, part: int, chunk_bytes: int) -> Iterator[bytes]:
        """Yields a part again, in pieces of this many bytes and a shorter last one."""
        path = self._folder / str(part)
        if not path.exists():
            return
        with path.open("rb") as file:
            while chunk := file.read(chunk_bytes):
                yield chunk


class SpillFolder:
    """A temporary folder for spills. Leaving it deletes the folder and everything in it."""

    def __init__(self, inside: Path | None = None) -> None:
        self._folder = TemporaryDirectory(prefix="moiety-verify-", dir=inside)
        self._numbers = count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def new(self) -> DiskSpill:
        """Returns a new spill; may be called from threads."""
        folder = Path(self._folder.name) / str(next(self._numbers))
        folder.mkdir()
        return DiskSpill(folder)
