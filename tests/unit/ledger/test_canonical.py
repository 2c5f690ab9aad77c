"""Canonical JSON: what RFC 8785 has one spelling for is read and spelled so, whoever wrote it."""

from __future__ import annotations

import pytest

from ledger.log.canonical import MAX_DEPTH, canonical, parsed, require_shallow


def test_a_number_from_2_to_the_53rd_on_is_read_as_the_double_that_it_is() -> None:
    assert [type(parsed(b"%d" % number)) for number in (2**53 - 1, 2**53, 1 - 2**53, -(2**53))] == [int, float] * 2
    assert parsed(b"1" * 5_000) == float("inf")


def test_an_integer_that_is_no_double_is_not_written() -> None:
    with pytest.raises(ValueError, match="exceeds"):
        canonical({"n": 2**53})


@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_json_is_nested_so_deep_and_no_deeper(brackets: tuple[bytes, bytes]) -> None:
    opening, closing = brackets
    parsed(opening * MAX_DEPTH + b"0" + closing * MAX_DEPTH)
    with pytest.raises(ValueError, match="100 deep"):
        parsed(opening * (MAX_DEPTH + 1) + b"0" + closing * (MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "text", [b"[" + b"[],{}," * 1_000 + b"0]", b'["' + b"[" * 1_000 + b'"]', b'["' + b'\\"[' * 1_000 + b'"]'],
)  # fmt: skip
def test_brackets_beside_each_other_and_in_texts_are_not_depth(text: bytes) -> None:
    require_shallow(text)
