"""Files that are whole or not there, and that survive a crash once they are written."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, Final
from uuid import uuid4

OWNER_ONLY: Final = 0o600
"""The mode of files with secrets."""

_AS_UMASK: Final = 0o666

_UNFINISHED: Final = "."


@contextmanager
def whole_file(path: Path, *, mode: int = _AS_UMASK, is_new: bool = False) -> Iterator[IO[bytes]]:
    """A file to write that gets its name at the end, once it is on the disk; where anything fails, nothing is left.

    So the old file or the new one is there, whole, and the new one survives a crash. Any number may write the same file
    at a time: the last one that ends stays. What is no file, such as a pipe or /dev/stdout, is written to as it is.

    Args:
        path: where it goes; its folder must be there. Where it is a symbolic link, what that leads to is replaced.
        mode: who may do what with it, as far as the process's umask allows.
        is_new: whether nothing may be there under its name.

    Raises:
        OSError: it cannot be written; what was there is then as it was.
    """
    if not is_new:
        path = path.resolve()
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
    beside = path.with_name(f"{_UNFINISHED}{path.name}.{uuid4().hex}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            _name_new(beside, path)
        else:
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


def is_unfinished(path: PurePath) -> bool:
    """Whether a file has the name that `whole_file` gives one until it is whole; a process that is killed leaves it."""
    return path.name.startswith(_UNFINISHED)


def write_whole(path: Path, content: bytes, *, mode: int = _AS_UMASK, is_new: bool = False) -> None:
    """Put a whole file in its place at once, as `whole_file` does."""
    with whole_file(path, mode=mode, is_new=is_new) as file:
        file.write(content)


def _name_new(file: Path, path: Path) -> None:
    """Give a file a name that nothing has."""
    try:
        os.link(file, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, such as that of a memory stick
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        file.replace(path)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Nobody else who asks for it writes in a folder meanwhile; it must be there. Where locks are unknown, all may.

    Raises:
        BlockingIOError: another process does.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "another process writes there", str(folder)) from None
        except OSError:  # such as on some network file systems
            pass
        yield
    finally:
        os.close(opened)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, unless they are there.

    Raises:
        OSError: one cannot be made.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a crash.

    Raises:
        OSError: it cannot be synced.
    """
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
