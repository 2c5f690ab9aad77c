"""Reading usage from JSON: an object per line, or one array of objects.

`json_rows` says what an object means. Arrow reads lines several times as fast, so it is asked first wherever it follows
the same rule: blocks of UTF-8 lines that are one flat object each. Whatever it refuses, the rule decides, which knows
the row.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from moiety.batches import USAGE_SCHEMA
from moiety.errors import UsageFileError
from moiety.files.cells import TYPES
from moiety.files.json_rows import DECODER, Rows
from moiety.files.sources import Source
from moiety.json_text import JsonText, reason_of

_BLOCK_BYTES: Final = 4 << 20
_ROWS_PER_PIECE: Final = 10_000
_PIECE_CHARACTERS: Final = 8 << 20
"""About how large a piece may become where its rows are long; an element of a list counts as sixteen."""

_BOM: Final = b"\xef\xbb\xbf"
_WORDS: Final = (b'"AI_ONLY"', b'"HUMAN_AI"')
_NO_NUMBERS: Final = (b"NaN", b"Inf")
"""What Arrow takes for numbers, and JSON does not have."""

_NOTHING: Final = pa.schema([(name, TYPES[name]) for name in USAGE_SCHEMA.names])
"""The columns of a file without events, which says nothing of them."""

_Contents = tuple[pa.Schema, Iterator[pa.RecordBatch]]


def read_json(source: Source) -> _Contents:
    """Return the columns and the rows of a JSON file.

    Raises:
        UsageFileError: the file holds no events, or does not begin with one.
        InvalidUsageError: the first event is not one of usage. What is wrong with the others is raised by the rows.
    """
    if source.head.startswith(_BOM):
        source.stream.read(len(_BOM))
    is_array = source.head.removeprefix(_BOM).lstrip().startswith(b"[")
    return _array(source) if is_array else _lines(source)


def _array(source: Source) -> _Contents:
    path, text = source.path, JsonText(source.stream, DECODER, source.row_bytes_max)
    text.next()
    values = text.array()
    try:
        first = next(values)
    except StopIteration:
        return _NOTHING, iter(())
    except (ValueError, RecursionError) as error:
        raise UsageFileError(path, f"row 1 {reason_of(error)}") from None
    rows = Rows(path, first)
    return rows.schema, _array_batches(rows, text, chain([first], values))


def _array_batches(rows: Rows, text: JsonText, values: Iterator[object]) -> Iterator[pa.RecordBatch]:
    piece: list[object] = []
    size = 0
    try:
        for value in values:
            piece.append(value)
            size += _size(value)
            if len(piece) == _ROWS_PER_PIECE or size > _PIECE_CHARACTERS:
                yield rows.batch(piece)
                piece, size = [], 0
        if text.next():
            raise ValueError("follows the end of the array")
    except (ValueError, RecursionError) as error:
        raise rows.unreadable(reason_of(error), ahead=len(piece)) from None
    if piece:
        yield rows.batch(piece)


def _size(value: object) -> int:
    if not isinstance(value, dict):
        return 0
    lists = sum(16 * len(cell) for cell in value.values() if isinstance(cell, list))
    return lists + sum(len(cell) for cell in value.values() if isinstance(cell, str))


def _lines(source: Source) -> _Contents:
    path, blocks = source.path, _blocks(source)
    skipped = 0
    for block in blocks:
        if not block.strip():
            skipped += block.count(b"\n")
            continue
        number, line = next(found for found in enumerate(block.splitlines(), skipped + 1) if found[1].strip())
        rows = Rows.of_line(path, line, number)
        return rows.schema, _line_batches(rows, skipped, chain([block], blocks))
    return _NOTHING, iter(())


def _line_batches(rows: Rows, line_count: int, blocks: Iterator[bytes]) -> Iterator[pa.RecordBatch]:
    for block in blocks:
        if not block.strip():
            line_count += block.count(b"\n")
            continue
        numbered = enumerate(block.splitlines(), line_count + 1)
        lines = [(number, stripped) for number, line in numbered if (stripped := line.strip())]
        if lines:
            batch = _by_arrow(rows.schema, block, lines)
            if batch is None:
                batch = rows.batch(rows.decoded(line, number) for number, line in lines)
            else:
                rows.position += batch.num_rows
            yield batch
        line_count += len(block.splitlines())


def _blocks(source: Source) -> Iterator[bytes]:
    """The bytes of a stream in blocks of whole lines."""
    held: list[bytes] = []
    size = 0
    while data := source.stream.read(_BLOCK_BYTES):
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            yield b"".join([*held, whole, newline])
            held, size = [rest], len(rest)
        else:
            held.append(data)
            size += len(data)
        if size > source.row_bytes_max:
            raise UsageFileError(source.path, f"contains a row of more than {source.row_bytes_max:,} bytes")
    yield b"".join(held)


def _by_arrow(schema: pa.Schema, block: bytes, lines: list[tuple[int, bytes]]) -> pa.RecordBatch | None:
    """The rows as Arrow reads them, where it reads them by the rule; None elsewhere.

    A line with braces at its ends and nowhere else holds one flat object and nothing besides. (Arrow ends the process
    over a line that is `null`.)
    """
    flat = block.count(b"{") == block.count(b"}") == len(lines)
    if not flat or not all(line.startswith(b"{") and line.endswith(b"}") for _, line in lines):
        return None
    if any(text in block for text in _NO_NUMBERS) or not _is_utf8(block):
        return None
    in_words = any(word in block for word in _WORDS)
    types = [field.with_type(pa.utf8()) if field.name == "mode" and in_words else field for field in schema]
    read = pa.json.ReadOptions(block_size=len(block) + 1)
    parse = pa.json.ParseOptions(explicit_schema=pa.schema(types), unexpected_field_behavior="error")
    try:
        table = pa.json.read_json(pa.BufferReader(block), read_options=read, parse_options=parse)
    except pa.ArrowInvalid:
        return None
    (batch,) = table.select(schema.names).combine_chunks().to_batches() or (None,)
    return None if batch is None or batch.num_rows != len(lines) else _as_the_rule_has_it(batch, schema)


def _as_the_rule_has_it(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch | None:
    """A batch of Arrow's with modes as numbers; None if the rule has something to say about it."""
    columns = dict(zip(schema.names, batch.columns, strict=True))
    if any(column.null_count for name, column in columns.items() if name != "work_id"):
        return None  # missing, or null: only the rule can tell
    mode = columns["mode"]
    if pa.types.is_string(mode.type):
        mode = pc.add(pc.index_in(mode, value_set=pa.array(["AI_ONLY", "HUMAN_AI"])), 1).cast(pa.int64())
    if not pc.all(pc.is_in(mode, value_set=pa.array([1, 2]))).as_py():
        return None
    columns["mode"] = mode
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


def _is_utf8(block: bytes) -> bool:
    try:
        block.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
