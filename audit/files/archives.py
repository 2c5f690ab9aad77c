"""A pool's static files in one uncompressed tar archive.

An archive is POSIX ustar. It contains only files, and of each only its name and size besides the content, so the same
log always makes the same bytes.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from shutil import copyfileobj
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from audit.files.folders import CHUNK_BYTES, FolderFiles, open_regular
from ledger.errors import FormatError, NotFoundError
from ledger.files.layout import ARCHIVE, MAX_FILE_BYTES, bounded, digest_at, require_known_path

_BLOCK: Final = 512
_END: Final = bytes(2 * _BLOCK)
_MAX_NAME: Final = 100

UInt64Array = npt.NDArray[np.uint64]


class ArchiveFiles:
    """The static files in an archive, in 16 bytes of memory for each body. Threads may read at the same time.

    Raises:
        FormatError: it is not such an archive, contains a file twice, or contains a file that is not part of a log.
    """

    def __init__(self, path: Path) -> None:
        self._file = open_regular(path)
        try:
            self._size = os.fstat(self._file.fileno()).st_size
            self._places, self._prefixes, self._offsets = self._index()
            self._require_no_body_twice()
        except BaseException:
            self._file.close()
            raise

    def _index(self) -> tuple[dict[str, int], UInt64Array, UInt64Array]:
        """Where headers are: by path for files; for bodies by the first eight bytes of their hashes, sorted."""
        places: dict[str, int] = {}
        prefixes, offsets = array("Q"), array("Q")
        for name, offset in self._scan():
            digest = digest_at(name)
            if digest is not None:
                prefixes.append(_prefix(digest))
                offsets.append(offset)
            elif places.setdefault(name, offset) != offset:
                raise FormatError(name, "is in the archive twice")
        found = np.frombuffer(prefixes, dtype=np.uint64)
        order = np.argsort(found, kind="stable")
        return places, found[order], np.frombuffer(offsets, dtype=np.uint64)[order]

    def read(self, path: str, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        """Returns a whole file.

        Raises:
            NotFoundError: there is no such file.
            FormatError: the file is longer than `bytes_max`.
        """
        start, size = self._find(path)
        return bounded(self._read_at(start, min(size, bytes_max + 1)), path, bytes_max)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yields a file in pieces.

        Raises:
            NotFoundError: there is no such file.
        """
        start, size = self._find(path)
        for place in range(start, start + size, CHUNK_BYTES):
            yield self._read_at(place, min(CHUNK_BYTES, start + size - place))

    def place(self, path: str) -> tuple[int, int]:
        """Returns where a file's header starts, and where the next header starts.

        Raises:
            NotFoundError: there is no such file.
        """
        start, size = self._find(path)
        return start - _BLOCK, start + size + -size % _BLOCK

    def name_at(self, offset: int) -> str | None:
        """Returns the path of the file whose header starts there; None at the end of the archive."""
        block = self._read_at(offset, _BLOCK)
        return parse_header(block)[0] if any(block) else None

    def close(self) -> None:
        """Close the archive."""
        self._file.close()

    def _scan(self) -> Iterator[tuple[str, int]]:
        """Yields the name of each file and the place of its header; checks the padding between files and the end."""
        place, padding = 0, 0
        while True:
            read = self._read_at(place - padding, padding + _BLOCK)
            if any(read[:padding]):
                raise FormatError(ARCHIVE, f"contains unexpected bytes before byte {place}")
            if not any(read):
                break
            name, size = parse_header(read[padding:])
            yield require_known_path(name), place
            padding = -size % _BLOCK
            place += _BLOCK + size + padding
            if place > self._size:
                raise FormatError(name, "is truncated")
        if self._size - place != len(_END) or any(self._read_at(place, len(_END))):
            raise FormatError(ARCHIVE, f"does not end with exactly {len(_END):,} zero bytes at byte {place}")

    def _find(self, path: str) -> tuple[int, int]:
        """Returns where a file's content starts, and its size."""
        for offset in self._candidates(path):
            name, size = parse_header(self._read_at(offset, _BLOCK))
            if name == path:
                return offset + _BLOCK, size
        raise NotFoundError(path)

    def _candidates(self, path: str) -> list[int]:
        digest = digest_at(path)
        if digest is None:
            return [self._places[path]] if path in self._places else []
        prefix = np.uint64(_prefix(digest))
        first, last = (int(np.searchsorted(self._prefixes, prefix, side)) for side in ("left", "right"))
        found: list[int] = self._offsets[first:last].tolist()
        return found

    def _require_no_body_twice(self) -> None:
        for at in np.flatnonzero(self._prefixes[1:] == self._prefixes[:-1]).tolist():
            one, other = (parse_header(self._read_at(int(self._offsets[place]), _BLOCK))[0] for place in (at, at + 1))
            if one == other:
                raise FormatError(one, "is in the archive twice")

    def _read_at(self, place: int, size: int) -> bytes:
        data = os.pread(self._file.fileno(), size, place) if size > 0 else b""
        if len(data) < size:
            raise FormatError(ARCHIVE, f"is truncated at byte {place + len(data)}")
        return data


class ArchiveWriter:
    """Writes files into an archive, one after the other."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, path: str, data: bytes) -> None:
        """Add a file."""
        self._file.write(header(path, len(data)))
        self._file.write(data)
        self._file.write(bytes(-len(data) % _BLOCK))

    def write_from(self, path: str, source: IO[bytes]) -> None:
        """Add a file of any size from another file that was written before."""
        size = source.tell()
        source.seek(0)
        self._file.write(header(path, size))
        copyfileobj(source, self._file, CHUNK_BYTES)
        self._file.write(bytes(-size % _BLOCK))

    def finish(self) -> None:
        """End the archive."""
        self._file.write(_END)


def is_archive(path: Path) -> bool:
    """Returns whether a file starts like an archive.

    Raises:
        OSError: it cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        try:
            parse_header(file.read(_BLOCK))
        except FormatError:
            return False
    return True


def open_files(path: Path) -> FolderFiles | ArchiveFiles:
    """Returns the static files at a path, which is a folder or an archive."""
    return FolderFiles(path) if path.is_dir() else ArchiveFiles(path)


def header(name: str, size: int) -> bytes:
    """Returns the ustar header of a file."""
    unsigned = struct.pack(
        "100s8s8s8s12s12s8s1s100s6s2s247x", name.encode("ascii"), b"0000644\0", b"0000000\0", b"0000000\0",
        b"%011o\0" % size, b"00000000000\0", b" " * 8, b"0", b"", b"ustar\0", b"00",
    )  # fmt: skip
    return unsigned[:148] + b"%06o\0 " % sum(unsigned) + unsigned[156:]


def parse_header(block: bytes) -> tuple[str, int]:
    """Returns name and size of the file under a header.

    Raises:
        FormatError: it is not a header that `header` would make.
    """
    try:
        name = block[:_MAX_NAME].rstrip(b"\0").decode("ascii")
        size = int(block[124:135], 8)
    except ValueError:
        raise FormatError(ARCHIVE, "contains a header that is not a file's") from None
    if size < 0 or header(name, size) != block:
        raise FormatError(ARCHIVE, f"contains a header that is not a file's: {name!r}")
    return name, size


def _prefix(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big")
