"""What a row of a text file means depends on that row alone, however many others stand around it."""

from __future__ import annotations

import io
import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moiety import InvalidUsageError, MoietyError, read_usage
from moiety.files import json_files

BASE: Final = {
    "id": "a",
    "occurred_at": "2026-01-05T10:00:00Z",
    "units": 1,
    "mode": "AI_ONLY",
    "collectives": ["x"],
    "shares": [1],
}
NUMBERS: Final = [
    "1",
    "0",
    "-1",
    "1.0",
    '"1"',
    '"1.0"',
    "1.5",
    "1e2",
    "01",
    "0x1",
    "NaN",
    "Infinity",
    "true",
    "null",
    "1e400",
    '"x"',
]
LISTS: Final = [
    "[]",
    "null",
    "[1]",
    '["x"]',
    '["1"]',
    "[1.0]",
    "[0.5]",
    "[null]",
    "[NaN]",
    "[[1]]",
    "1",
    '["\\ud800"]',
    '["{}"]',
]
VALUES: Final = {
    "id": ['"a"', '"2026-01-01"', "5", "null", '"a\\u0000"', '"\u00fc"', '"}{"', '"NaN"'],
    "work_id": ['"a"', '"2026-01-01"', "5", "null", "{}", '"Inf"'],
    "occurred_at": ['"2026-01-05T10:00:00Z"', '"never"', "1767607200"],
    "units": NUMBERS,
    "mode": [*NUMBERS, "2", '"AI_ONLY"', '"HUMAN_AI"', '"HUMAN"'],
    "collectives": LISTS,
    "shares": LISTS,
    "unknown": ["1", "null", "{}"],
}


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A line of NDJSON: an event with some of its fields changed, left out or named twice, and text around it."""
    fields = [(name, json.dumps(value)) for name, value in BASE.items()]
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(VALUES)))
        fields = [field for field in fields if field[0] != name or draw(st.integers(0, 9)) == 0]
        if draw(st.integers(0, 4)):
            fields.append((name, draw(st.sampled_from(VALUES[name]))))
    text = "{" + ", ".join(f'"{name}": {value}' for name, value in fields) + "}"
    around = draw(st.sampled_from(["%s"] * 9 + ["  %s\r", "%s null", "null %s", "%s%s", "\ufeff%s", "%s,", "null", ""]))
    return around.replace("%s", text)


def rows_of(text: str) -> list[dict[str, Any]] | tuple[type[MoietyError], str]:
    """The rows of a file; or how it is refused, without the place."""
    try:
        rows: list[dict[str, Any]] = read_usage(io.BytesIO(text.encode())).read_all().to_pylist()
        return rows
    except InvalidUsageError as error:
        return type(error), f"{error.field}: {error.reason}"
    except MoietyError as error:
        return type(error), str(error).partition(") ")[2] or str(error).partition("row ")[2].partition(" ")[2]


FIRST: Final = json.dumps(BASE | {"id": "first"})


@given(st.lists(lines(), min_size=1, max_size=5), st.booleans())
def test_a_line_means_what_it_means_alone(texts: list[str], by_arrow: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if not by_arrow:
            patch.setattr(json_files, "_by_arrow", lambda *_: None)
        together = rows_of("\n".join([FIRST, *texts]))
    expected: Any = rows_of(FIRST)
    for text in texts:
        alone = rows_of(f"{FIRST}\n{text}")
        if isinstance(alone, tuple):
            expected = alone
            break
        expected = [*expected, *alone[1:]]
    assert together == expected
