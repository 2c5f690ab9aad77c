"""Reading sessions: one JSON document (a session or an array of sessions), or NDJSON (a session a line).

Which of the two it is, the content says. Sessions are read one by one, in memory bounded by the largest of them. In
NDJSON a line that cannot be read is refused and the next goes on. In one document nothing can be read after a place
that is not JSON: the sessions before it are given, and the rest is refused as one.
"""

from __future__ import annotations

import io
import json
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NoReturn

import pyarrow as pa

from moiety.errors import UsageFileError, Violation
from moiety.telemetry.sessions import RefusedSession, TelemetrySession, session_of

SESSION_BYTES_MAX: Final = 16 << 20
"""The longest session that is read: some hundred thousand events, where a real one has tens."""

_HEAD_BYTES = 64 << 10
_PIECE_BYTES = 64 << 10
_WHITESPACE = " \t\r\n"
_TOO_LONG = f"is longer than {SESSION_BYTES_MAX} bytes"
_GOES_ON = (b"{", b"[", b",", b":")
"""How the first line ends of a document that is spread over lines."""

Found = TelemetrySession | RefusedSession


def read_telemetry(source: Path | str | BinaryIO) -> Iterator[Found]:
    """Give the sessions in a file or a binary stream, each valid or refused, as they are asked for.

    A file may be compressed (`.gz`, `.bz2`, `.zst`).

    Raises:
        UsageFileError: the file is not there or cannot be read.
    """
    if isinstance(source, Path | str):
        return _read_file(Path(source))
    return _read_stream(source)


def sessions_in(sessions: Path | str | BinaryIO | Iterable[object]) -> Iterator[Found]:
    """Give the sessions of whatever has them: a file, a binary stream, or JSON documents that were read already (one
    session, or any number of them).
    """
    if isinstance(sessions, Path | str) or hasattr(sessions, "read"):
        return read_telemetry(sessions)  # type: ignore[arg-type]  # what can be read is a stream
    documents: Iterable[object] = [sessions] if isinstance(sessions, dict) else sessions
    return (session_of(document, position) for position, document in enumerate(documents))


def _read_file(path: Path) -> Iterator[Found]:
    if not path.is_file():
        raise UsageFileError(path, "is not a file" if path.exists() else "does not exist")
    return _file_sessions(path)


def _file_sessions(path: Path) -> Iterator[Found]:
    try:
        with pa.input_stream(str(path), compression="detect") as source:
            yield from _read_stream(source)
    except OSError as error:
        raise UsageFileError(path, error.strerror or str(error)) from None
    except pa.ArrowException as error:
        raise UsageFileError(path, f"cannot be read: {error}") from None


def _read_stream(stream: BinaryIO | pa.NativeFile) -> Iterator[Found]:
    head = stream.read(_HEAD_BYTES).removeprefix(BOM_UTF8)
    source = io.BufferedReader(_Again(head, stream), _PIECE_BYTES)
    yield from _documents(source) if _is_one_document(head) else _lines(source)


class _Again(io.RawIOBase):
    """A stream from its beginning, of which the head was read already."""

    def __init__(self, head: bytes, stream: BinaryIO | pa.NativeFile) -> None:
        self._head = head
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head[: len(buffer)] or self._stream.read(len(buffer))
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _is_one_document(head: bytes) -> bool:
    text = head.lstrip()
    first_line, newline, _ = text.partition(b"\n")
    if text.startswith(b"[") or not newline:
        return text.startswith(b"[")
    try:
        json.loads(first_line)
    except (ValueError, RecursionError):
        return first_line.rstrip().endswith(_GOES_ON)
    return False


def _lines(source: BinaryIO) -> Iterator[Found]:
    position = 0
    number = 0
    while data := source.readline(SESSION_BYTES_MAX + 1):
        number += 1
        if len(data) > SESSION_BYTES_MAX:
            _skip_line(source, data)
            yield _refused(position, number, _TOO_LONG)
        elif not (data := data.strip()):
            continue
        else:
            yield _line(data, position, number)
        position += 1


def _skip_line(source: BinaryIO, data: bytes) -> None:
    while data and not data.endswith(b"\n"):
        data = source.readline(_PIECE_BYTES)


def _line(data: bytes, position: int, number: int) -> Found:
    try:
        document = json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return _refused(position, number, _reason(error))
    return session_of(document, position, number)


def _documents(source: BinaryIO) -> Iterator[Found]:
    text = _Text(source)
    position = 0
    try:
        for document in _array(text) if text.next() == "[" else [text.value()]:
            yield session_of(document, position)
            position += 1
        if text.next():
            raise ValueError("stands after the end of the document")
    except (ValueError, RecursionError) as error:
        yield _refused(position, None, f"{_reason(error)}; nothing from here on can be read")


def _array(text: _Text) -> Iterator[object]:
    text.skip()
    end = text.next()
    while end != "]":
        yield text.value()
        end = text.next()
        if end not in (",", "]"):
            raise ValueError("is not JSON: no comma and no end of the array before it")
        if end == ",":
            text.skip()
    text.skip()


class _Text:
    """The text of a document, as far as it was read and not taken yet."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._decoder = getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder(parse_constant=_no_constant)
        self._text = ""
        self._at = 0
        self._ended = False
        self._broken: UnicodeDecodeError | None = None

    def next(self) -> str:
        """Give the next character that is no space, without taking it; nothing at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _WHITESPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def skip(self) -> None:
        """Take a character."""
        self._at += 1

    def value(self) -> object:
        """Take a JSON value.

        Raises:
            ValueError: there is none, or it is too long.
            RecursionError: it is nested too deeply.
        """
        self.next()
        while True:
            try:
                value, end = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Whether it is wrong or not all here yet cannot be told. Reading as much again as there is keeps the
                # work in proportion.
                character = error.pos - self._at
                if not self._more(len(self._text) - self._at):
                    raise ValueError(f"is not JSON: {error.msg} at character {character}") from None
                if len(self._text) > SESSION_BYTES_MAX:
                    raise ValueError(_TOO_LONG) from None
            else:
                if end < len(self._text) or not self._more():  # the 1 of [12, 34] may be all that is here
                    self._at = end
                    return value

    def _more(self, size: int = 0) -> bool:
        """Read on, and drop what was taken; false at the end."""
        if self._broken:
            raise self._broken
        if self._ended:
            return False
        data = self._source.read(max(size, _PIECE_BYTES))
        self._ended = not data
        self._text = self._text[self._at :] + self._decoded(data)
        self._at = 0
        return not self._ended

    def _decoded(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:  # what is before it is still good
            self._broken = error
            return error.object[: error.start].decode("utf-8")


def _refused(position: int, line: int | None, reason: str) -> RefusedSession:
    return RefusedSession(position, line, None, (Violation("$", reason),))


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg} at character {error.pos}"
    return "is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"is not JSON: it has no {name}")
