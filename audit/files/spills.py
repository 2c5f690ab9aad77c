"""Where a verification keeps the records that memory has no room for: temporary files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self


class DiskSpill:
    """Records in files of a folder, one for each part."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, part: int, data: bytes) -> None:
        """Add to a part."""
        with (self._folder / str(part)).open("ab") as file:
            file.write(data)

    def read(self, part: int, chunk_bytes: int) -> Iterator[bytes]:
        """A part again, in pieces of this many bytes and a last one."""
        path = self._folder / str(part)
        if not path.exists():
            return
        with path.open("rb") as file:
            while chunk := file.read(chunk_bytes):
                yield chunk


class SpillFolder:
    """A temporary folder for spills, deleted with all that they hold when it is left."""

    def __init__(self, inside: Path | None = None) -> None:
        self._folder = TemporaryDirectory(prefix="moiety-verify-", dir=inside)
        self._numbers = count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def new(self) -> DiskSpill:
        """A spill of its own; threads may ask for one."""
        folder = Path(self._folder.name) / str(next(self._numbers))
        folder.mkdir()
        return DiskSpill(folder)
