"""Reading usage from CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc

from moiety.errors import InvalidUsageError, UsageFileError
from moiety.files.cells import (
    EXPECTED,
    INTEGERS,
    LIST_SEPARATOR,
    MODES,
    NUMBER_PATTERN,
    SHARE_PATTERN,
    TYPES,
    WHOLE_PATTERN,
    shown,
    whole_of,
)

_ROWS_PER_PIECE: Final = 10_000
_ROWS_AT_ONCE: Final = 1_000
_COLUMNS_MAX: Final = 1_000
"""How many columns are looked at, to say which of them usage does not have."""

_PIECE_CHARACTERS: Final = 8 << 20
"""How large a piece may become where its rows are long, before its last row."""


class CsvUsage:
    """A CSV file of usage: its columns, and its rows as they are read.

    Raises:
        UsageFileError: the file has no header, or one that is not UTF-8.
    """

    def __init__(self, path: Path, stream: BinaryIO, row_bytes_max: int) -> None:
        self._path = path
        csv.field_size_limit(max(csv.field_size_limit(), row_bytes_max))  # one for the process; the default is 128 KiB
        text = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
        self._lines = _Lines(path, text, row_bytes_max)
        self._reader = csv.reader(self._lines, strict=True)
        self._names = self._header()
        self.schema = pa.schema([pa.field(name, TYPES.get(name, pa.utf8())) for name in self._names])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        position = 0
        while rows := self._piece(position):
            columns = zip(self.schema, zip(*rows, strict=True), strict=True)
            arrays = [_column(field, cells, position) for field, cells in columns]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)
            position += len(rows)

    def _header(self) -> list[str]:
        rows = self._take(1)
        if not rows:
            raise UsageFileError(self._path, "is empty; its first line must name the columns")
        if len(rows[0]) > _COLUMNS_MAX:
            raise UsageFileError(self._path, f"has {len(rows[0]):,} columns; usage has at most {len(TYPES)}")
        if any(not _is_unicode(name) for name in rows[0]):
            raise UsageFileError(self._path, "its header is not UTF-8")
        return rows[0]

    def _piece(self, first_position: int) -> list[list[str]]:
        """The next rows: so many, or so large."""
        rows: list[list[str]] = []
        self._lines.taken = 0
        count = 1
        while count and (more := self._take(count)):
            rows += more
            characters_left = _PIECE_CHARACTERS - self._lines.taken
            fitting = max(0, characters_left * len(rows) // self._lines.taken)
            count = min(fitting, _ROWS_AT_ONCE, _ROWS_PER_PIECE - len(rows))
        width = len(self._names)
        if any(len(row) != width for row in rows):
            place, row = next((place, row) for place, row in enumerate(rows, 1) if len(row) != width)
            raise UsageFileError(self._path, f"row {first_position + place:,} has {len(row)} cells, not {width}")
        return rows

    def _take(self, count: int) -> list[list[str]]:
        """As many rows as there are, at most, or as fit a piece; blank lines are none."""
        rows: list[list[str]] = []
        self._lines.row_begins()
        try:
            for row in islice(filter(None, self._reader), count):
                rows.append(row)
                self._lines.row_begins()
                if self._lines.taken > _PIECE_CHARACTERS:
                    break
            return rows
        except csv.Error as error:
            raise UsageFileError(self._path, f"line {self._reader.line_num:,} is not CSV: {error}") from None


class _Lines:
    """The lines of a text, each with its end. `taken` is how many characters were given since it was set to 0."""

    def __init__(self, path: Path, text: io.TextIOWrapper, row_bytes_max: int) -> None:
        self._path = path
        self._text = text
        self._row_bytes_max = row_bytes_max
        self._row_taken = 0
        self.taken = 0

    def row_begins(self) -> None:
        """Take note that the next line is the first of a row; a quoted cell may have any number of lines."""
        self._row_taken = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._row_bytes_max):
            self.taken += len(line)
            self._row_taken += len(line)
            if self._row_taken >= self._row_bytes_max:
                raise UsageFileError(self._path, f"contains a row of more than {self._row_bytes_max:,} bytes")
            yield line


def _column(field: pa.Field, cells: Sequence[str], first_position: int) -> pa.Array:
    """A column of cells as its type. An empty cell is null, or an empty list."""
    column = _texts(field.name, cells, first_position)
    if field.name == "mode":
        return _modes(column, first_position)
    if pa.types.is_string(field.type):
        return column
    if not pa.types.is_list(field.type):
        return _numbers(column, field, lambda at: first_position + at)
    lists = pc.split_pattern(column, LIST_SEPARATOR)
    elements = lists.flatten()
    if not pa.types.is_string(field.type.value_type):
        parents = pc.list_parent_indices(lists)
        elements = _numbers(
            elements, pa.field(field.name, field.type.value_type), lambda at: first_position + parents[at].as_py()
        )
    return pa.ListArray.from_arrays(lists.offsets, elements)


def _texts(name: str, cells: Sequence[str], first_position: int) -> pa.Array:
    try:
        return pa.array([cell or None for cell in cells], pa.utf8())
    except UnicodeEncodeError:
        at = next(at for at, cell in enumerate(cells) if not _is_unicode(cell))
        raise InvalidUsageError(name, first_position + at, "is not UTF-8") from None


def _is_unicode(text: str) -> bool:
    """Whether a text was UTF-8; what was not holds surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _numbers(column: pa.Array, field: pa.Field, position_of: Callable[[int], int]) -> pa.Array:
    """Numbers from text; null stays null."""
    whole = pa.types.is_integer(field.type)
    pattern = NUMBER_PATTERN if not whole else SHARE_PATTERN if field.name == "shares" else WHOLE_PATTERN
    ok = pc.match_substring_regex(column, f"^(?:{pattern})$")
    at = pc.index(ok, False).as_py()
    if at >= 0:
        reason = f"must be {EXPECTED[field.name]}, got {shown(column[at].as_py())}"
        raise InvalidUsageError(field.name, position_of(at), reason)
    if not whole:
        return column.cast(field.type)
    try:
        return pc.replace_substring_regex(column, r"\.0+$", "").cast(field.type)
    except pa.ArrowInvalid:
        wholes = (whole_of(text, field.name) if text else 0 for text in column.to_pylist())
        at = next(at for at, number in enumerate(wholes) if number not in INTEGERS)
        raise InvalidUsageError(field.name, position_of(at), f"{shown(column[at].as_py())} is too large") from None


def _modes(column: pa.Array, first_position: int) -> pa.Array:
    """Modes as numbers, from words or numbers."""
    texts = pc.replace_substring_regex(column, r"^([12])\.0+$", r"\1")
    known = pa.array(MODES, pa.utf8())
    at = pc.index(pc.or_(pc.is_in(texts, value_set=known), texts.is_null()), False).as_py()
    if at >= 0:
        reason = f"must be {EXPECTED['mode']}, got {shown(column[at].as_py())}"
        raise InvalidUsageError("mode", first_position + at, reason)
    return pa.array(MODES.values(), pa.int64()).take(pc.index_in(texts, value_set=known))
