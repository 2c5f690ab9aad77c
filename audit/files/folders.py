"""A pool's static files in a folder."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from ledger.errors import FormatError, NotFoundError
from ledger.files.layout import MAX_FILE_BYTES, bounded

CHUNK_BYTES: Final = 2**20


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. What would block the reader, such as a pipe, is refused at once.

    Raises:
        IsADirectoryError: it is a folder.
        OSError: there is no such file, it cannot be read, or it is a pipe, socket or device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


class FolderFiles:
    """The static files in a folder. Other files in it are ignored."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        """Returns a whole file.

        Raises:
            NotFoundError: there is no such file.
            FormatError: the file is longer than `bytes_max`.
        """
        with self._opened(path) as file:
            data = file.read(bytes_max + 1)
        return bounded(data, path, bytes_max)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yields a file in pieces.

        Raises:
            NotFoundError: there is no such file.
        """
        with self._opened(path) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def _opened(self, path: str) -> BinaryIO:
        try:
            return open_regular(self._folder / path)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise NotFoundError(path) from None
        except OSError as error:
            raise FormatError(path, f"cannot be read: {error.strerror}") from None

    def close(self) -> None:
        """Does nothing: no file is kept open."""
