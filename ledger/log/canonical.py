"""JSON in the canonical form of RFC 8785, which is what is hashed."""

from __future__ import annotations

import json
from typing import Any, Final

import rfc8785

_EXACT: Final = 2**53
"""Integers below it are spelled alike everywhere; RFC 8785 has no others."""

_spell: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":")).encode


def canonical(value: Any) -> bytes:
    """Returns a value of JSON in canonical form.

    Almost every entry is of exact integers and ASCII text, where the standard library writes the same bytes several
    times as fast; replaying a log spells each of its entries again.

    Raises:
        ValueError: RFC 8785 has no form for it, such as an integer of 2^53.
    """
    if _is_plain(value):
        spelled = _spell(value)
        if spelled.isascii():
            return spelled.encode()
    return rfc8785.dumps(value)


def plainly(value: Any) -> bytes:
    """Returns a value of JSON without fractions, large integers or text other than ASCII in canonical form."""
    return _spell(value).encode()


class _UnusualError(Exception):
    """A number that is no exact integer."""


def parsed_plainly(text: bytes) -> tuple[Any, bool]:
    """Returns what JSON says, and whether `plainly` spells that. Raises what `json.loads` does."""
    # A zero would tell that the text is UTF-16 or UTF-32.
    if text.startswith(b"{") and text.isascii() and text[1:2] != b"\0":
        try:
            return _plain(text.decode()), True
        except _UnusualError:
            pass
    return json.loads(text), False


def _exact(digits: str) -> int:
    if len(digits) >= len(str(_EXACT)):
        raise _UnusualError
    return int(digits)


def _unusual(_: str) -> float:
    raise _UnusualError


_plain: Final = json.JSONDecoder(parse_int=_exact, parse_float=_unusual, parse_constant=_unusual).decode


def _is_plain(value: Any) -> bool:
    """Whether a value has neither fractions nor large integers, so that only text could be spelled in several ways."""
    kind = type(value)
    if kind is dict:
        return set(map(type, value)) <= {str} and all(map(_is_plain, value.values()))
    if kind is list:
        return all(map(_is_plain, value))
    if kind is int:
        return bool(-_EXACT < value < _EXACT)
    return kind is str or kind is bool or value is None
