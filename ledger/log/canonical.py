"""JSON in the canonical form of RFC 8785, which is what is hashed."""

from __future__ import annotations

import json
from typing import Any, Final

import rfc8785

_EXACT: Final = 2**53
"""Integers below it are spelled alike everywhere; RFC 8785 has no others."""

_spell: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


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
