"""Usage files: Arrow IPC (file or stream), Parquet, CSV and NDJSON, read piece by piece in bounded memory.

The columns are those of `moiety.batches`. In CSV, `collectives` and `shares` (or `sources` and `scores`) are lists
separated by `;`, an empty cell is an empty list (or no work id), and the first line names the columns. In NDJSON each
line is an object. Text formats give UUIDs and times as text; CSV and NDJSON may be compressed (`.gz`, `.bz2`, `.zst`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from moiety.errors import InvalidUsageError, UsageFileError

LIST_SEPARATOR = ";"
"""What separates the elements of a list in a CSV cell."""

_ROWS_PER_PIECE = 65_536
_BLOCK_BYTES = 4 << 20
_FIRST_LINE_BYTES_MAX = 1 << 20
_ARROW_FILE_MAGIC = b"ARROW1"
_COMPRESSIONS = (".gz", ".bz2", ".zst")

_TEXT_TYPES = {
    "event_id": pa.utf8(),
    "id": pa.utf8(),
    "work_id": pa.utf8(),
    "occurred_at": pa.utf8(),
    "units": pa.int64(),
    "mode": pa.utf8(),
}
_JSON_TYPES = _TEXT_TYPES | {
    "collectives": pa.list_(pa.utf8()),
    "shares": pa.list_(pa.int64()),
    "sources": pa.list_(pa.utf8()),
    "scores": pa.list_(pa.float64()),
}
_CSV_TYPES = dict.fromkeys(_JSON_TYPES, pa.utf8())


def read_usage(path: Path) -> pa.RecordBatchReader:
    """Give the usage events in a file as an Arrow stream, read as it is consumed; the file's name says its
    format.

    Raises: UsageFileError: the file is not there, is of no known format, or is not what its name says. What
        is found wrong later on is raised by the stream. InvalidUsageError: a cell of a CSV file is not an
        integer, or not a list of them; raised by the stream too.
    """
    path = Path(path)
    with _file_errors(path):
        schema, batches = _format_of(path)(path)
    return pa.RecordBatchReader.from_batches(schema, _guarded(path, batches))


def count_events(path: Path) -> int | None:
    """Give how many events a file holds, where its format says so without reading it whole; None otherwise.

    Raises:
        UsageFileError: the file is not there, is of no known format, or is not what its name says.
    """
    path = Path(path)
    with _file_errors(path):
        reader = _format_of(path)
        if reader is _read_parquet:
            return int(pq.read_metadata(path).num_rows)
        if reader is _read_arrow and _is_arrow_file(path):
            with pa.memory_map(str(path)) as source:
                file = pa.ipc.open_file(source)
                return sum(int(file.get_batch(index).num_rows) for index in range(file.num_record_batches))
    return None


_Contents = tuple[pa.Schema, Iterator[pa.RecordBatch]]


def _format_of(path: Path) -> Callable[[Path], _Contents]:
    if not path.is_file():
        raise UsageFileError(path, "is not a file" if path.exists() else "does not exist")
    suffixes = path.suffixes
    compressed = bool(suffixes) and suffixes[-1].lower() in _COMPRESSIONS
    extension = "".join(suffixes[-2:-1] if compressed else suffixes[-1:]).lower()
    reader = (_COMPRESSIBLE if compressed else _READERS).get(extension)
    if reader is None:
        known = ", ".join(_READERS)
        raise UsageFileError(path, f"is of no known format; its name must end in one of {known}")
    return reader


def _read_arrow(path: Path) -> _Contents:
    if not _is_arrow_file(path):
        stream = pa.ipc.open_stream(pa.OSFile(str(path)))
        return stream.schema, iter(stream)
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    return file.schema, (file.get_batch(index) for index in range(file.num_record_batches))


def _is_arrow_file(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_ARROW_FILE_MAGIC)) == _ARROW_FILE_MAGIC


def _read_parquet(path: Path) -> _Contents:
    # Without pre-buffering, and through a small buffer: a row group may be larger than memory.
    file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BLOCK_BYTES)
    return file.schema_arrow, file.iter_batches(batch_size=_ROWS_PER_PIECE)


def _read_csv(path: Path) -> _Contents:
    convert = pa.csv.ConvertOptions(
        column_types=_CSV_TYPES, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=True
    )
    read = pa.csv.ReadOptions(block_size=_BLOCK_BYTES)
    source = pa.input_stream(str(path), compression="detect")
    stream = pa.csv.open_csv(source, read_options=read, convert_options=convert)
    columns = [_csv_column(field) for field in stream.schema]
    return pa.schema(columns), _csv_batches(stream, pa.schema(columns))


def _csv_column(field: pa.Field) -> pa.Field:
    return pa.field(field.name, _JSON_TYPES.get(field.name, field.type))


def _csv_batches(stream: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    position = 0
    for batch in stream:
        cells = zip(schema, batch.columns, strict=True)
        arrays = [_parsed(column, field, position) for field, column in cells]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        position += batch.num_rows


def _parsed(column: pa.Array, field: pa.Field, first_position: int) -> pa.Array:
    """A column of cells as its type; an empty cell is null, which makes a list empty later."""
    if field.name == "mode":
        return _mode_words(column)
    if pa.types.is_list(field.type):
        return _cast(pc.split_pattern(column, LIST_SEPARATOR), column, field, first_position)
    return _cast(column, column, field, first_position)


def _cast(values: pa.Array, cells: pa.Array, field: pa.Field, first_position: int) -> pa.Array:
    try:
        return values.cast(field.type)
    except pa.ArrowInvalid:
        for at in range(len(values)):
            try:
                values.slice(at, 1).cast(field.type)
            except pa.ArrowInvalid:
                expected = _expected(field.type)
                reason = f"must be {expected}, is {cells[at].as_py()[:80]!r}"
                raise InvalidUsageError(field.name, first_position + at, reason) from None
        raise


def _expected(data_type: pa.DataType) -> str:
    if not pa.types.is_list(data_type):
        return "an integer"
    numbers = "integers" if pa.types.is_integer(data_type.value_type) else "numbers"
    return f"{numbers} separated by {LIST_SEPARATOR}"


def _mode_words(column: pa.Array) -> pa.Array:
    """Modes in words; a CSV file may have them as numbers."""
    return pc.replace_substring_regex(pc.replace_substring_regex(column, "^1$", "AI_ONLY"), "^2$", "HUMAN_AI")


def _read_json(path: Path) -> _Contents:
    first = _first_object(path)
    types = _JSON_TYPES | {"mode": pa.utf8() if isinstance(first.get("mode"), str) else pa.int64()}
    schema = pa.schema([(name, types[name]) for name in first if name in types])
    # Fields that are not ours come as columns, to be refused by name.
    parse = pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer")
    read = pa.json.ReadOptions(block_size=_BLOCK_BYTES)
    source = pa.input_stream(str(path), compression="detect")
    stream = pa.json.open_json(source, read_options=read, parse_options=parse)
    return stream.schema, iter(stream)


def _first_object(path: Path) -> dict[str, object]:
    """The first line's object, which says which columns there are."""
    with pa.input_stream(str(path), compression="detect") as source:
        lines = source.read(_FIRST_LINE_BYTES_MAX).lstrip().splitlines()
    if not lines:
        raise UsageFileError(path, "holds no events")
    try:
        first = json.loads(lines[0])
    except ValueError as error:
        raise UsageFileError(path, f"its first line is not JSON: {error}") from None
    if not isinstance(first, dict):
        raise UsageFileError(path, "its first line is not a JSON object")
    return first


def _guarded(path: Path, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    with _file_errors(path):
        yield from batches


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageFileError(path, error.strerror or str(error)) from None
    except (pa.ArrowException, KeyError) as error:
        raise UsageFileError(path, f"cannot be read: {error}") from None


_COMPRESSIBLE: dict[str, Callable[[Path], _Contents]] = {
    ".csv": _read_csv,
    ".ndjson": _read_json,
    ".jsonl": _read_json,
}
_READERS: dict[str, Callable[[Path], _Contents]] = {
    ".arrow": _read_arrow,
    ".arrows": _read_arrow,
    ".feather": _read_arrow,
    ".ipc": _read_arrow,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    **_COMPRESSIBLE,
}
