"""Canonical JSON against the library that knows RFC 8785 whole."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.log.canonical import canonical

integers = st.integers(-(2**54), 2**54) | st.sampled_from([2**53 - 1, 2**53, -(2**53), 1 - 2**53, 10**400])
scalars = st.none() | st.booleans() | integers | st.floats() | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def spelled(spell: Any, value: Any) -> bytes | None:
    with suppress(ValueError):
        found: bytes = spell(value)
        return found
    return None


@given(values)
@example({"\U0001f600": 1, "\ufb33": 2})  # in another order by code points than by UTF-16
@example({"a": '\x00\x1f\x7f"\\/\b\f\n\r\t'})
@example({"a": "\ud800"})
@example({1: "a"})
@example([1.0, -0.0, 1e22, float("nan")])
def test_it_is_what_the_library_spells(value: Any) -> None:
    assert spelled(canonical, value) == spelled(rfc8785.dumps, value)
