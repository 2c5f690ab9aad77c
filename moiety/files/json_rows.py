"""What a JSON object means as a row of usage: the one rule, which looks at that object alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from moiety.errors import InvalidUsageError, UsageFileError
from moiety.files.cells import (
    EXPECTED,
    INTEGERS,
    MODES,
    NAMES,
    TEXTS,
    TYPES,
    number_of,
    shown,
    unknown_column,
    whole_of,
)
from moiety.json_text import no_constant, reason_of

_IDS: Final = ("id", "event_id")
_LISTS: Final = (("collectives", "shares"), ("sources", "scores"))


class _Number(str):
    """A JSON number with a point or an exponent, as it is written."""

    __slots__ = ()
    __repr__ = str.__str__


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"names {shown(twice)} twice")
    return found


DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=_Number, parse_constant=no_constant)


class Rows:
    """What the objects of a file mean. The first says whether the file has `id` or `event_id`, shares or scores.

    Attributes:
        schema: the columns.
        position: how many rows were taken.
    """

    def __init__(self, path: Path, first: object) -> None:
        self._path = path
        self.position = 0
        row = self._object(first)
        self._refuse_unknown(row)
        names = ["id" if "id" in row else "event_id", "work_id", "occurred_at", "units", "mode"]
        names += next((pair for pair in reversed(_LISTS) if not row.keys().isdisjoint(pair)), _LISTS[0])
        self.schema = pa.schema([(name, TYPES[name]) for name in names])
        self._names = names
        self._required = frozenset(names) - {"work_id"}

    @classmethod
    def of_line(cls, path: Path, line: bytes, number: int) -> Rows:
        """Return what the objects mean of a file whose first is on a line."""
        try:
            return cls(path, DECODER.decode(line.decode("utf-8")))
        except (ValueError, RecursionError) as error:
            raise UsageFileError(path, f"row 1 (line {number:,}) {reason_of(error)}") from None

    def batch(self, objects: Iterable[object]) -> pa.RecordBatch:
        """Take rows."""
        rows = []
        for value in objects:
            rows.append(self._values(self._object(value)))
            self.position += 1
        columns = zip(self.schema, zip(*rows, strict=True), strict=True)
        arrays = [pa.array(cells, field.type) for field, cells in columns]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def decoded(self, line: bytes, number: int) -> object:
        """Return the value on a line, which is the next row."""
        try:
            return DECODER.decode(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self.unreadable(reason_of(error), f" (line {number:,})") from None

    def unreadable(self, reason: str, where: str = "", *, ahead: int = 0) -> UsageFileError:
        """Say that a row cannot be read: the next, or one some rows `ahead`."""
        return UsageFileError(self._path, f"row {self.position + ahead + 1:,}{where} {reason}")

    def _object(self, value: object) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self.unreadable(f"must be a JSON object, got {shown(value)}")
        return value

    def _refuse_unknown(self, row: Mapping[str, object]) -> None:
        for name in row:
            if name not in TYPES:
                raise InvalidUsageError(name, self.position, unknown_column())

    def _values(self, row: Mapping[str, object]) -> list[object]:
        if not (self._required <= row.keys() and row.keys() <= set(self._names)):
            self._refuse_fields(row)
        return [self._value(name, row.get(name)) for name in self._names]

    def _refuse_fields(self, row: Mapping[str, object]) -> None:
        """Say which field is one too many or missing."""
        self._refuse_unknown(row)
        for name in row:
            if name not in self._names:
                other = f"is in a file whose first row has {' and '.join(self._instead_of(name))}; use only one of them"
                raise InvalidUsageError(name, self.position, other)
        name = next(name for name in self._names if name in self._required - row.keys())
        hint = "; an event without collectives has an empty list" if pa.types.is_list(TYPES[name]) else ""
        raise InvalidUsageError(name, self.position, f"is missing{hint}")

    def _instead_of(self, name: str) -> Iterable[str]:
        group = _IDS if name in _IDS else [other for pair in _LISTS for other in pair]
        return [other for other in group if other in self._names]

    def _value(self, name: str, value: object) -> object:
        if value is None:
            return None
        if not pa.types.is_list(TYPES[name]):
            return self._scalar(name, value)
        if not isinstance(value, list):
            raise InvalidUsageError(name, self.position, f"must be a list, got {shown(value)}")
        return [None if element is None else self._scalar(name, element) for element in value]

    def _scalar(self, name: str, value: object) -> object:
        if name in TEXTS or name in NAMES:
            return self._text(name, value)
        found: float | None
        if name == "scores":
            found = _score(value)
        elif name == "mode":
            found = MODES.get(value if isinstance(value, str) and type(value) is str else str(_whole(value, name)))
        else:
            found = _whole(value, name)
        if found is None:
            raise InvalidUsageError(name, self.position, f"must be {EXPECTED[name]}, got {shown(value)}")
        if isinstance(found, int) and found not in INTEGERS:
            raise InvalidUsageError(name, self.position, f"{shown(value)} is too large")
        return found

    def _text(self, name: str, value: object) -> str:
        if type(value) is not str:
            raise InvalidUsageError(name, self.position, f"must be text, got {shown(value)}")
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidUsageError(name, self.position, "contains half of a surrogate pair") from None
        return value


def _whole(value: object, column: str) -> int | None:
    if isinstance(value, str):
        return whole_of(value, column)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _score(value: object) -> float | None:
    if isinstance(value, str):
        return number_of(value)
    whole = _whole(value, "scores")
    return None if whole is None else number_of(str(whole))
