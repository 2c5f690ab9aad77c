"""Reading usage files: which format a file has, and its rows as an Arrow stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyarrow as pa

from moiety.errors import UsageFileError
from moiety.files.cells import ROW_BYTES_MAX
from moiety.files.csv_files import CsvUsage
from moiety.files.json_files import read_json
from moiety.files.sources import Source

_ROWS_PER_PIECE: Final = 10_000
"""Rows of a Parquet file that are decoded at a time, with all their lists: as many as a batch has."""

_SHORTER_WITH_SCORES: Final = 5
"""Rows of scores have long lists: so many fewer are decoded at a time."""

_BUFFER_BYTES: Final = 4 << 20
_ARROW_FILE: Final = b"ARROW1"
_ARROW_STREAM: Final = b"\xff\xff\xff\xff"
_PARQUET: Final = b"PAR1"
_BINARY: Final = frozenset(range(9))
"""Bytes that no text has: what has them and is not Arrow or Parquet is of another kind."""

_COMPRESSED: Final = (".gz", ".bz2", ".zst")

_Contents = tuple[pa.Schema, Iterator[pa.RecordBatch]]


def read_usage(file: Path | str | BinaryIO, *, row_bytes_max: int = ROW_BYTES_MAX) -> pa.RecordBatchReader:
    """Return the usage events in a file or a binary stream as an Arrow stream, read as it is consumed.

    No row of a text file may be longer than `row_bytes_max`; several times as much memory is needed for the longest.

    Raises:
        UsageFileError: the file is not there, is of an unknown format, or does not match its name. What is found wrong
            later on is raised by the stream.
        InvalidUsageError: a row of a text file is not an event; raised by the stream too. Positions count the rows from
            0, without a header and blank lines.
    """
    source = _open(file, row_bytes_max)
    try:
        with _file_errors(source.path):
            schema, batches = _format_of(source)(source)
            schema.names  # noqa: B018 - raises where a name is not UTF-8
    except BaseException:
        source.close()
        raise
    return pa.RecordBatchReader.from_batches(schema, _guarded(source, batches))


def count_events(file: Path | str) -> int | None:
    """Give how many events a file holds, where its format says so without reading it whole; None otherwise.

    Raises:
        UsageFileError: the file is not there, is of an unknown format, or does not match its name.
    """
    source = _open(file, ROW_BYTES_MAX)
    try:
        with _file_errors(source.path):
            reader = _format_of(source)
            if reader is _read_parquet:
                return int(_parquet_file(source).metadata.num_rows)
            if reader is _read_arrow and source.head.startswith(_ARROW_FILE) and source.seekable:
                with pa.memory_map(str(source.path)) as data:
                    opened = pa.ipc.open_file(data)
                    return sum(int(opened.get_batch(index).num_rows) for index in range(opened.num_record_batches))
        return None
    finally:
        source.close()


def _open(file: Path | str | BinaryIO, row_bytes_max: int) -> Source:
    with _file_errors(Path("-") if hasattr(file, "read") else Path(file)):
        return Source(file, row_bytes_max)


def _format_of(source: Source) -> Callable[[Source], _Contents]:
    """Returns how to read a source: by its name, or else by its first bytes."""
    suffixes = [suffix.lower() for suffix in source.path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    found = _READERS.get(suffixes[-1] if suffixes else "")
    return found or _format_by_content(source)


def _format_by_content(source: Source) -> Callable[[Source], _Contents]:
    head = source.head
    if head.startswith((_ARROW_FILE, _ARROW_STREAM)):
        return _read_arrow
    if head.startswith(_PARQUET):
        return _read_parquet
    if not _BINARY.isdisjoint(head):
        raise UsageFileError(source.path, "is of an unknown format; known are Arrow, Parquet, CSV and JSON")
    is_json = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"["))
    return _read_json if is_json else _read_csv


def _read_arrow(source: Source) -> _Contents:
    if not source.head.startswith(_ARROW_FILE):
        stream = pa.ipc.open_stream(pa.PythonFile(source.stream, mode="r"))
        return stream.schema, iter(stream)
    _require_file(source, "an Arrow file")
    file = pa.ipc.open_file(pa.memory_map(str(source.path)))
    return file.schema, (file.get_batch(index) for index in range(file.num_record_batches))


def _read_parquet(source: Source) -> _Contents:
    _require_file(source, "a Parquet file")
    file = _parquet_file(source)
    schema = file.schema_arrow
    rows = _ROWS_PER_PIECE // _SHORTER_WITH_SCORES if "sources" in schema.names else _ROWS_PER_PIECE
    # Row group by row group: no piece is of two, whose dictionaries Arrow cannot join below a list.
    groups = range(file.num_row_groups)
    return schema, (batch for group in groups for batch in file.iter_batches(batch_size=rows, row_groups=[group]))


def _parquet_file(source: Source) -> Any:
    # Takes longer to load than the rest of this package, for a kind of file that few have.
    import pyarrow.parquet as pq  # noqa: PLC0415

    # Without pre-buffering, and through a small buffer: a row group may be larger than memory.
    return pq.ParquetFile(source.path, pre_buffer=False, buffer_size=_BUFFER_BYTES)


def _require_file(source: Source, what: str) -> None:
    if not source.seekable:
        reason = f"is {what}, which is read from its end: use an uncompressed file, not a pipe"
        raise UsageFileError(source.path, reason)


def _read_csv(source: Source) -> _Contents:
    usage = CsvUsage(source.path, source.stream, source.row_bytes_max)
    return usage.schema, iter(usage)


def _read_json(source: Source) -> _Contents:
    return read_json(source)


def _guarded(source: Source, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    try:
        with _file_errors(source.path):
            for batch in batches:
                # What a damaged file claims is checked before it is believed: an offset out of bounds ends the process.
                batch.validate(full=True)
                yield batch
    finally:
        source.close()


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError:
        raise UsageFileError(path, "has a column whose name is not UTF-8") from None
    except OSError as error:
        raise UsageFileError(path, f"cannot be read: {error.strerror or error}") from None
    except MemoryError:
        raise UsageFileError(path, "cannot be read: it claims to be larger than memory") from None
    except (pa.ArrowException, KeyError) as error:
        raise UsageFileError(path, f"cannot be read: {error}") from None


_READERS: Final[dict[str, Callable[[Source], _Contents]]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
    ".arrow": _read_arrow,
    ".arrows": _read_arrow,
    ".feather": _read_arrow,
    ".ipc": _read_arrow,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
}
