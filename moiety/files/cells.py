"""The one way in which values are written in text files: the columns there are, and how a number is spelled.

A whole number is `5`, `5.0` or `"5"`, as spreadsheets, pandas and BigQuery write the same number. Any other spelling,
such as `050`, `0x10`, `1e3` or `1,000`, is refused. So is a share of `1.0`: whoever writes it means all of a work, and
would report a billionth of it.
"""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa

from moiety.batches import SCORE_SCHEMA, USAGE_SCHEMA

LIST_SEPARATOR: Final = ";"
"""What separates the elements of a list in a CSV cell."""

ROW_BYTES_MAX: Final = 128 << 20
"""The longest row that is read: no larger event fits a batch, whose columns hold at most as much."""

TEXTS: Final = frozenset({"event_id", "id", "work_id", "occurred_at"})
"""The columns whose values are text."""

NAMES: Final = frozenset({"collectives", "sources"})
"""The columns whose values are lists of ids."""

TYPES: Final = (
    dict.fromkeys(TEXTS, pa.utf8())
    | dict.fromkeys(NAMES, pa.list_(pa.utf8()))
    | {"units": pa.int64(), "mode": pa.int64(), "shares": pa.list_(pa.int64()), "scores": pa.list_(pa.float64())}
)
"""The type of each column that a text file may have."""

MODES: Final = {"AI_ONLY": 1, "HUMAN_AI": 2, "1": 1, "2": 2}
"""The spellings of a mode besides the number itself."""

WHOLE_PATTERN: Final = r"-?(?:0|[1-9][0-9]*)(?:\.0+)?"
SHARE_PATTERN: Final = r"1|-?(?:0|[2-9]|[1-9][0-9]+)(?:\.0+)?"
NUMBER_PATTERN: Final = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"

EXPECTED: Final = {
    "units": "a whole number",
    "mode": f"one of {', '.join(name for name in MODES if not name.isdigit())}, 1, 2",
    "shares": "whole numbers; shares are billionths, so that 0.9 is 900000000",
    "scores": "numbers",
}
"""What a column's values must be, in words."""

INTEGERS: Final = range(-(2**63), 2**63)
"""The integers that a column holds."""

_WHOLE: Final = re.compile(WHOLE_PATTERN)
_SHARE: Final = re.compile(SHARE_PATTERN)
_NUMBER: Final = re.compile(NUMBER_PATTERN)
_SHOWN_CHARACTERS_MAX: Final = 80


def unknown_column() -> str:
    """Why a column is refused that usage does not have."""
    known = dict.fromkeys([*USAGE_SCHEMA.names, *SCORE_SCHEMA.names])
    return f"is not a column of usage; these are {', '.join(known)}"


def whole_of(text: str, column: str) -> int | None:
    """Return the whole number that a text is in a column; None if it is not one."""
    pattern = _SHARE if column == "shares" else _WHOLE
    return int(text.partition(".")[0]) if pattern.fullmatch(text) else None


def number_of(text: str) -> float | None:
    """Return the number that a text is, as JSON writes them; None if it is not one."""
    return float(text) if _NUMBER.fullmatch(text) else None


def shown(value: object) -> str:
    """Return a value in a form short enough for a message."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else text[:_SHOWN_CHARACTERS_MAX] + "..."
