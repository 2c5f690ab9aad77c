"""Reading telemetry: one JSON document or an array of them, or NDJSON (a document a line).

Which of the two it is, the content says. Documents are read one by one, in memory bounded by the largest of them and by
the standalone events that wait for the rest of their sessions. In NDJSON a line that cannot be read is refused and the
next goes on. In one document nothing can be read after a place that is not JSON: the documents before it are given, and
the rest is refused as one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa

from moiety.errors import UsageFileError, Violation
from moiety.files.sources import Source
from moiety.json_text import JsonText, no_constant, reason_of, too_long
from moiety.telemetry.sessions import Documents, RefusedDocument, TelemetrySession

DOCUMENT_BYTES_MAX: Final = 16 << 20
"""The longest document that is read: some hundred thousand events, where a real one has tens."""

_PIECE_BYTES: Final = 64 << 10
_BOM: Final = b"\xef\xbb\xbf"
_DECODER: Final = json.JSONDecoder(parse_constant=no_constant)
_GOES_ON: Final = (b"{", b"[", b",", b":")
"""How the first line ends of a document that is spread over lines."""

Found = TelemetrySession | RefusedDocument


class Telemetry:
    """Telemetry documents, read as sessions are asked for. What standalone events were put together to comes last.

    Args:
        documents: a file (perhaps compressed), a binary stream, or JSON documents that were read already (one, or any
            number of them).

    Attributes:
        document_count: how many documents were taken so far, the refused ones not among them.

    Raises:
        UsageFileError: the file is not there or cannot be read; what is found later is raised by the iteration.
    """

    def __init__(self, documents: Path | str | BinaryIO | Iterable[object]) -> None:
        self._documents = Documents()
        if isinstance(documents, Path | str) or hasattr(documents, "read"):
            self._found = _read(documents, self._documents)  # type: ignore[arg-type]  # what can be read is a stream
        else:
            values: Iterable[object] = [documents] if isinstance(documents, dict) else documents
            self._found = (self._documents.take(value, position) for position, value in enumerate(values))

    @property
    def document_count(self) -> int:
        """How many documents were taken so far."""
        return self._documents.count

    def __iter__(self) -> Iterator[Found]:
        yield from (found for found in self._found if found is not None)
        yield from self._documents.sessions()


def read_telemetry(source: Path | str | BinaryIO) -> Iterator[Found]:
    """Return the sessions in a file or a binary stream, and the documents that were refused, as they are asked for.

    A file may be compressed (gzip, bzip2, zstd).

    Raises:
        UsageFileError: the file is not there or cannot be read.
    """
    return iter(Telemetry(source))


def _read(file: Path | str | BinaryIO, documents: Documents) -> Iterator[Found | None]:
    path = Path("-") if hasattr(file, "read") else Path(file)
    try:
        source = Source(file)
    except (OSError, pa.ArrowException) as error:
        raise UsageFileError(path, f"cannot be read: {error}") from None
    return _of_source(source, documents)


def _of_source(source: Source, documents: Documents) -> Iterator[Found | None]:
    head = source.head.removeprefix(_BOM)
    try:
        if source.head.startswith(_BOM):
            source.stream.read(len(_BOM))
        yield from (_one if _is_one_document(head) else _lines)(source.stream, documents)
    except OSError as error:
        raise UsageFileError(source.path, f"cannot be read: {error.strerror or error}") from None
    except pa.ArrowException as error:
        raise UsageFileError(source.path, f"cannot be read: {error}") from None
    finally:
        source.close()


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


def _lines(source: BinaryIO, documents: Documents) -> Iterator[Found | None]:
    position = 0
    number = 0
    while data := source.readline(DOCUMENT_BYTES_MAX + 1):
        number += 1
        if len(data) > DOCUMENT_BYTES_MAX:
            _skip_line(source, data)
            yield _refused(position, number, too_long(DOCUMENT_BYTES_MAX))
        elif not (data := data.strip()):
            continue
        else:
            yield _line(data, position, number, documents)
        position += 1


def _skip_line(source: BinaryIO, data: bytes) -> None:
    while data and not data.endswith(b"\n"):
        data = source.readline(_PIECE_BYTES)


def _line(data: bytes, position: int, number: int, documents: Documents) -> Found | None:
    try:
        document = _DECODER.decode(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return _refused(position, number, reason_of(error))
    return documents.take(document, position, number)


def _one(source: BinaryIO, documents: Documents) -> Iterator[Found | None]:
    text = JsonText(source, _DECODER, DOCUMENT_BYTES_MAX)
    position = 0
    try:
        for document in text.array() if text.next() == "[" else [text.value()]:
            yield documents.take(document, position)
            position += 1
        if text.next():
            raise ValueError("follows the end of the document")
    except (ValueError, RecursionError) as error:
        yield _refused(position, None, f"{reason_of(error)}; nothing from here on can be read")


def _refused(position: int, line: int | None, reason: str) -> RefusedDocument:
    return RefusedDocument(position, line, None, (Violation("$", reason),))
