"""A pool's static files in a folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ledger.errors import FormatError, NotFoundError
from ledger.files.layout import MAX_FILE_BYTES

CHUNK_BYTES: Final = 2**20


class FolderFiles:
    """The static files in a folder. What else lies there is left alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        """A whole file.

        Raises:
            NotFoundError: there is no such file.
            FormatError: the file is longer than `bytes_max`.
        """
        try:
            with (self._folder / path).open("rb") as file:
                data = file.read(bytes_max + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFoundError(path) from None
        return bounded(data, path, bytes_max)

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file in pieces.

        Raises:
            NotFoundError: there is no such file.
        """
        try:
            with (self._folder / path).open("rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    yield chunk
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFoundError(path) from None

    def close(self) -> None:
        """Nothing is kept open."""


def bounded(data: bytes, path: str, bytes_max: int) -> bytes:
    """A file's bytes.

    Raises:
        FormatError: there are more than `bytes_max`.
    """
    if len(data) > bytes_max:
        raise FormatError(path, f"has more than {bytes_max} bytes")
    return data
