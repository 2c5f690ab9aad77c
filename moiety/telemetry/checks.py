"""Checks of JSON values, to be put together into tables.

A check is called with a value, its JSON path and a list, to which it adds what is wrong with the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from moiety.errors import Violation

Check = Callable[[object, str, list[Violation]], None]

_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt](?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_SHOWN_CHARACTERS_MAX: Final = 60
_SHOWN_NUMBER_MAX: Final = 10**18


def time_of(text: object) -> datetime | None:
    """Return an RFC 3339 time in UTC, to the microsecond; None if it is not one."""
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # the 31st of February; a time zone away from the year 0
        return None


def integer_of(value: object) -> int | None:
    """Return a JSON integer, however it is written (`5`, `5.0`, `5e0`); None if it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    return int(value) if isinstance(value, float) and value.is_integer() else None


def test(holds: Callable[[object], bool], reason: str) -> Check:
    """Make a check of a condition; `reason` says what must be."""

    def check(value: object, path: str, found: list[Violation]) -> None:
        if not holds(value):
            found.append(Violation(path, f"{reason}, got {shown(value)}"))

    return check


def matching(pattern: re.Pattern[str], reason: str) -> Check:
    return test(lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None, reason)


def one_of(*words: str) -> Check:
    reason = f"must be one of {', '.join(words)}" if len(words) > 1 else f"must be {words[0]}"
    return test(lambda value: isinstance(value, str) and value in words, reason)


def integer(low: int | None = None, high: int | None = None) -> Check:
    bounds = "" if low is None else f" of at least {low}" if high is None else f" from {low} to {high}"

    def holds(value: object) -> bool:
        number = integer_of(value)
        return number is not None and (low is None or number >= low) and (high is None or number <= high)

    return test(holds, f"must be an integer{bounds}")


def or_null(check: Check) -> Check:
    def either(value: object, path: str, found: list[Violation]) -> None:
        if value is not None:
            check(value, path, found)

    return either


def list_of(check: Check) -> Check:
    def each(value: object, path: str, found: list[Violation]) -> None:
        if not isinstance(value, list):
            found.append(Violation(path, f"must be a list, got {shown(value)}"))
            return
        for place, item in enumerate(value):
            check(item, f"{path}[{place}]", found)

    return each


def object_of(fields: Mapping[str, Check], required: Sequence[str] = ()) -> Check:
    """Make a check of an object: of the fields that it has, and that it has those required. Other fields are
    tolerated.
    """

    def check(value: object, path: str, found: list[Violation]) -> None:
        if not isinstance(value, dict):
            found.append(Violation(path, f"must be an object, got {shown(value)}"))
            return
        found.extend(Violation(f"{path}.{name}", "is missing") for name in required if name not in value)
        for name, item in value.items():
            if field := fields.get(name):
                field(item, f"{path}.{name}", found)

    return check


def shown(value: object) -> str:
    """Return a value in a form short enough for a message."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return ascii(value if len(value) <= _SHOWN_CHARACTERS_MAX else value[:_SHOWN_CHARACTERS_MAX] + "...")
    if isinstance(value, int | float):
        return str(value) if abs(value) <= _SHOWN_NUMBER_MAX else "a very large number"
    return "an object" if isinstance(value, dict) else "a list"
