"""JSON in the canonical form of RFC 8785, which is what is hashed.

Whatever is read here may be anybody's: it is nested `MAX_DEPTH` deep at most, and what is deeper is refused before it
is parsed, so that no parser's own limit decides what is JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import accumulate
from typing import Any, Final

import rfc8785
from pydantic_core import from_json, to_json

MAX_DEPTH: Final = 100
"""How many objects and lists JSON may have open at a time, the outermost included. The service writes about ten."""

_EXACT: Final = 2**53
"""Integers below it are spelled alike everywhere. From it on RFC 8785 has only those that are doubles."""

_spell: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode


def canonical(value: Any) -> bytes:
    """Returns a value of JSON in canonical form.

    Almost every entry is of exact integers and ASCII text, where the standard library writes the same bytes several
    times as fast; replaying a log spells each of its entries again.

    Raises:
        ValueError: RFC 8785 has no form for it, such as an integer of 2^53. (As a float it has one.)
    """
    if _is_plain(value):
        spelled = _spell(value)
        if spelled.isascii():
            return spelled.encode()
    return rfc8785.dumps(value)


def parsed(text: bytes) -> Any:
    """Returns what JSON says; a number is an integer below 2^53 or else the nearest double, as RFC 8785 has it.

    Raises:
        ValueError: it is not JSON in UTF-8, or nested more than `MAX_DEPTH` deep.
    """
    return parsed_with_form(text)[0]


def parsed_with_form(text: bytes) -> tuple[Any, bool]:
    """Returns what JSON says, and whether its canonical form is known to be this text. Raises what `parsed` does.

    It is known of an object of exact integers and ASCII text, as almost every entry is.
    """
    require_shallow(text)
    if text.startswith(b"{") and text.isascii():
        try:
            value = from_json(text)
        except ValueError:
            pass  # said again below, in the words for all JSON
        else:
            if to_json(value) == text and _has_one_form(value):
                return value, True
    return _any(text.decode()), False


def _has_one_form(value: dict[str, Any] | list[Any]) -> bool:
    """Whether all numbers are exact integers, and objects have their members by name, which is ASCII."""
    items: Iterable[Any] = value
    if isinstance(value, dict):
        names = list(value)
        if names != sorted(names):
            return False
        items = value.values()
    for item in items:
        kind = type(item)
        if kind is str:  # as most are
            continue
        if kind is int:
            if not -_EXACT < item < _EXACT:
                return False
        elif kind is float or ((kind is dict or kind is list) and not _has_one_form(item)):
            return False
    return True


def require_shallow(text: bytes) -> None:
    """Check that JSON is not nested more than `MAX_DEPTH` deep.

    Raises:
        ValueError: it is.
    """
    # Almost nothing has so many brackets in all, and counting them takes a microsecond.
    if text.count(b"{") + text.count(b"[") <= MAX_DEPTH:
        return
    steps = _STRING.sub(b"", text).translate(_STEPS, _NO_BRACKETS)
    if max(accumulate(step - 1 for step in steps), default=0) > MAX_DEPTH:
        raise ValueError(f"is nested more than {MAX_DEPTH} deep")


_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""A string, or what begins like one: the closing quote is optional, so that a missing one costs one pass."""
_STEPS: Final = bytes.maketrans(b"{[}]", b"\2\2\0\0")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"{}[]"))


def _nearest(digits: str) -> int | float:
    if len(digits) <= len(str(-_EXACT)):
        exact = int(digits)
        if -_EXACT < exact < _EXACT:
            return exact
    return float(digits)


_any: Final = json.JSONDecoder(parse_int=_nearest).decode


def _is_plain(value: Any) -> bool:
    """Whether a value has neither fractions nor large integers, so that only text could be spelled in several ways."""
    kind = type(value)
    if kind is dict:
        return set(map(type, value)) <= {str} and _are_plain(value.values())
    if kind is list:
        return _are_plain(value)
    if kind is int:
        return bool(-_EXACT < value < _EXACT)
    return kind is str or kind is bool or value is None


def _are_plain(values: Iterable[Any]) -> bool:
    return all(type(value) is str or _is_plain(value) for value in values)  # most are, and need no call of their own
