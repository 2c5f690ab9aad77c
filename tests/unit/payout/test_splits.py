"""Member splits: a root proves its sum, every line is proved, and no other is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidInputError, ProofError
from ledger.money import MAX_BALANCE_MINOR
from payout.splits import SplitLine, SumNode, parse_line, read_split, sum_leaf, sum_paths, sum_root, verify_sum

amounts = st.lists(st.integers(0, 10**6), min_size=1, max_size=40)


def lines_of(amounts: list[int]) -> list[SplitLine]:
    return [SplitLine(f"m{at}", amount, bytes([at]) * 32) for at, amount in enumerate(amounts)]


@given(amounts)
def test_every_line_is_proved_to_the_root_and_its_sum(amounts: list[int]) -> None:
    leaves = [line.leaf() for line in lines_of(amounts)]
    root = sum_root(leaves)
    assert root.amount_minor == sum(amounts)
    for position, (leaf, path) in enumerate(zip(leaves, sum_paths(leaves), strict=True)):
        verify_sum(leaf, position, len(leaves), path, root)


@given(amounts, st.data())
def test_another_amount_position_or_sum_is_refused(amounts: list[int], data: st.DataObject) -> None:
    lines = lines_of(amounts)
    leaves = [line.leaf() for line in lines]
    root, paths = sum_root(leaves), sum_paths(leaves)
    at = data.draw(st.integers(0, len(lines) - 1))
    more = replace(lines[at], amount_minor=lines[at].amount_minor + 1).leaf()
    other_sum = SumNode(root.hash, root.amount_minor + 1)
    moved = [SumNode(node.hash, node.amount_minor + 1) for node in paths[at]]
    for leaf, position, path, top in (
        (more, at, paths[at], root),
        (leaves[at], at + 1, paths[at], root),
        (leaves[at], at, paths[at], other_sum),
        (leaves[at], at, (*paths[at], root), root),
        *([(leaves[at], at, moved, root), (leaves[at], at, paths[at][:-1], root)] if paths[at] else []),
    ):
        with pytest.raises(ProofError):
            verify_sum(leaf, position, len(leaves), path, top)


def test_no_branch_can_be_below_zero_or_wrap_around() -> None:
    """A negative branch would let the others sum to more than the amount."""
    leaf = sum_leaf(5, b"")
    for amount in (-1, MAX_BALANCE_MINOR + 1, MAX_BALANCE_MINOR):
        with pytest.raises(ProofError):
            verify_sum(leaf, 0, 2, [SumNode(bytes(32), amount)], SumNode(bytes(32), 4))


def test_a_line_has_one_spelling() -> None:
    assert parse_line(SplitLine("ana é", 7, b"").document()) == ("ana é", 7)
    for document in (
        b'{"amount_minor":"-1","member":"a"}',
        b'{"amount_minor":"01","member":"a"}',
        b'{"amount_minor":7,"member":"a"}',
        b'{"amount_minor": "7","member":"a"}',
        b'{"member":"a"}',
        b"[]",
        b"\xff",
    ):
        with pytest.raises(ProofError):
            parse_line(document)


def test_a_csv_of_members_is_read_and_a_damaged_one_refused() -> None:
    assert read_split("member,amount_minor\r\nana,5\r\nbo,0\r\n") == [("ana", 5), ("bo", 0)]
    for text in ("", "member,amount_minor\n", "name,amount\na,1\n", "member,amount_minor\na,1\na,2\n",
                 "member,amount_minor\na,-1\n", "member,amount_minor\na,1.5\n", "member,amount_minor\n,1\n",
                 "member,amount_minor\na;1\n"):  # fmt: skip
        with pytest.raises(InvalidInputError):
            read_split(text)
