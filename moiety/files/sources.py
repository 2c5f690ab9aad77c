"""Where a usage file's bytes come from: a path, a pipe or a stream, decompressed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa

from moiety.errors import UsageFileError
from moiety.files.cells import ROW_BYTES_MAX

HEAD_BYTES: Final = 64 << 10
"""How much of a stream is looked at to tell what it is."""

_COMPRESSIONS: Final = ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\x28\xb5\x2f\xfd", "zstd"))


class Source:
    """A usage file, opened.

    Attributes:
        path: what messages call it; `-` where it has no name.
        stream: its bytes, decompressed, from the beginning.
        head: the first of them.
        seekable: whether it is an uncompressed file, readable at any place.
        row_bytes_max: the longest row that is read of it, where it is text.

    Raises:
        UsageFileError: there is no such file.
        OSError: it cannot be opened or decompressed.
    """

    def __init__(self, file: Path | str | BinaryIO, row_bytes_max: int = ROW_BYTES_MAX) -> None:
        self.row_bytes_max = row_bytes_max
        self.path = Path("-") if hasattr(file, "read") else Path(file)
        self._opened = _open(self.path) if isinstance(file, Path | str) else None
        raw = self._opened or file
        head = _read(raw, HEAD_BYTES)
        codec = next((name for magic, name in _COMPRESSIONS if head.startswith(magic)), None)
        self.seekable = codec is None and self._opened is not None and self.path.is_file()
        stream: Any = _Again(head, raw)
        if codec:
            stream = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec)
            head = _read(stream, HEAD_BYTES)
            stream = _Again(head, stream)
        self.head = head
        self.stream: BinaryIO = io.BufferedReader(stream, HEAD_BYTES)

    def close(self) -> None:
        """Close the file; a stream that was given stays open."""
        if self._opened:
            self._opened.close()


def _open(path: Path) -> BinaryIO | pa.NativeFile:
    if not path.exists():
        raise UsageFileError(path, "does not exist")
    if path.is_dir():
        raise UsageFileError(path, "is not a file")
    # A native file closes without a word when nobody reads it to the end; only regular files can be one.
    return pa.OSFile(str(path)) if path.is_file() else path.open("rb")


def _read(stream: Any, size: int) -> bytes:
    """The next `size` bytes; fewer only at the end. A pipe returns what it has, so it is read again."""
    found = b""
    while len(found) < size and (data := stream.read(size - len(found))):
        found += data
    return found


class _Again(io.RawIOBase):
    """A stream from its beginning, of which the head was read already."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._stream.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)
