"""Lines of the log that are written together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from threading import local
from typing import Final, TextIO


class _Held(local):
    lines: list[tuple[TextIO, str]] | None = None


_held: Final = _Held()


@contextmanager
def written_at_once() -> Iterator[None]:
    """Write what this thread logs meanwhile at the end, in one go: each line by itself is a call of the system, during
    which another thread takes the interpreter.
    """
    held: list[tuple[TextIO, str]] = []
    _held.lines = held
    try:
        yield
    finally:
        _held.lines = None
        for file, of_file in groupby(held, key=itemgetter(0)):
            write(file, "".join(text for _, text in of_file))


def write(file: TextIO, text: str) -> None:
    """Write text that ends with a line feed. If nobody reads it any more, writing must not fail."""
    if _held.lines is not None:
        _held.lines.append((file, text))
        return
    with suppress(OSError, ValueError):
        file.write(text)
        file.flush()
