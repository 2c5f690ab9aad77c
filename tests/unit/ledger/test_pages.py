"""Claim pages: which ids go into a page, and what it keeps of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.usage.pages import (
    BYTES_MAX,
    IDS_MAX,
    IDS_MIN,
    LEVEL_BITS,
    SPAN_BITS_MAX,
    EventIds,
    are_distinct,
    ascending,
    cut,
    earliest_lows,
    known_among,
    order_of,
    unpacked,
)

LAST: Final = 2**128 - 1

near = st.builds(
    lambda start, steps: [start + step for step in steps],
    st.integers(0, LAST - 2**110),
    st.lists(st.integers(0, 2**16) | st.integers(0, 2**110), max_size=400),
)
anywhere = st.lists(st.integers(0, LAST), max_size=300)


def array(numbers: Sequence[int]) -> EventIds:
    return np.frombuffer(b"".join(number.to_bytes(16) for number in sorted(set(numbers))), dtype="V16")


def numbers(ids: EventIds) -> list[int]:
    return [int.from_bytes(each.tobytes()) for each in ids]


@given(st.one_of(near, anywhere, st.tuples(near, anywhere).map(lambda two: two[0] + two[1])))
def test_every_id_is_in_one_page_or_loose_and_a_page_is_bounded(made: list[int]) -> None:
    ids = array(made)
    pages, loose = cut(ids)
    assert sorted([*numbers(loose), *(number for page in pages for number in numbers(page.ids))]) == sorted(set(made))
    for page, after in zip_longest(pages, pages[1:]):
        assert IDS_MIN <= len(page.ids) <= IDS_MAX
        assert len(page.packed()) <= BYTES_MAX
        low, high = int.from_bytes(page.low), int.from_bytes(page.high)
        assert high - low < 2**SPAN_BITS_MAX
        assert after is None or page.high < after.low
        assert page.level % LEVEL_BITS == 0
        assert 2**page.level > high - low >= 2 ** (page.level - LEVEL_BITS) - 1
        assert numbers(unpacked(page.low, page.width, page.packed())) == numbers(page.ids)
        assert all(earliest.tobytes() <= page.low for earliest in earliest_lows(page.ids, page.level))


@given(st.integers(0, LAST), st.integers(0, SPAN_BITS_MAX // LEVEL_BITS))
def test_a_page_that_has_an_id_begins_less_than_its_levels_span_before_it(number: int, step: int) -> None:
    level = LEVEL_BITS * step
    (earliest,) = earliest_lows(array([number]), level)
    assert int.from_bytes(earliest.tobytes()) == max(0, number - 2**level)


@given(near, near, st.data())
def test_ids_among_others_are_found(mine: list[int], theirs: list[int], data: st.DataObject) -> None:
    shared = data.draw(st.lists(st.sampled_from(mine))) if mine else []
    ids, others = array(mine), array([*theirs, *shared])
    known = known_among(ids, others)
    assert numbers(ids[known]) == sorted(set(mine) & set(numbers(others)))


@given(st.one_of(near, anywhere), st.data())
def test_ids_are_put_in_order_and_equal_ones_by_something_else(made: list[int], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(made), max_size=3)) if made else []
    shuffled = data.draw(st.permutations([*made, *again]))
    then_by = np.array(data.draw(st.permutations(list(range(len(shuffled))))), dtype=np.int64)
    ids = np.frombuffer(b"".join(number.to_bytes(16) for number in shuffled), dtype="V16")
    assert numbers(ascending(ids)) == sorted(shuffled)
    order = order_of(ids, then_by).tolist()
    assert order == sorted(range(len(shuffled)), key=lambda place: (shuffled[place], then_by[place]))


@given(near, st.data())
def test_an_id_that_is_there_twice_is_noticed(made: list[int], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(made), max_size=3)) if made else []
    ids = np.concatenate([array(made), array(again)])
    assert are_distinct(ids) == (len(set(numbers(ids))) == len(ids))


def test_two_ids_that_a_quick_look_takes_for_one_are_two() -> None:
    odd = 0x9E3779B97F4A7C15  # by which the first halves are multiplied before the second are added to them
    one, other = (
        np.array([first, second ^ (first * odd % 2**64)], dtype="<u8").tobytes() for first, second in ((1, 5), (2, 5))
    )
    ids = np.frombuffer(one + other, dtype="V16")
    assert are_distinct(ids)
    assert not are_distinct(np.concatenate([ids, ids[:1]]))


def test_many_ids_a_millisecond_fill_their_pages() -> None:
    rng = np.random.default_rng(7)
    dense = [(1_790_000_000_000 + place // 200 << 80) + int(rng.integers(0, 2**62)) for place in range(10_000)]
    pages, loose = cut(array(dense))
    assert len(loose) == 0
    assert len(pages) <= 10_000 // (BYTES_MAX // 12) + 1


def test_ids_in_order_are_all_in_pages_and_random_ones_in_none() -> None:
    rng = np.random.default_rng(7)
    in_order = [(1_790_000_000_000 + place // 10 << 80) + int(rng.integers(0, 2**62)) for place in range(10_000)]
    pages, loose = cut(array(in_order))
    assert not len(loose)
    assert sum(len(page.packed()) for page in pages) / 10_000 < 13
    random = [int.from_bytes(rng.bytes(16)) for _ in range(10_000)]
    assert cut(array(random))[0] == []


def test_a_page_ends_before_a_wide_gap() -> None:
    pages, loose = cut(array([*range(100), *range(2**100, 2**100 + 100)]))
    assert ([len(page.ids) for page in pages], len(loose)) == ([100, 100], 0)


@pytest.mark.parametrize(("width", "packed"), [(0, b""), (3, b"1234"), (17, bytes(17))])
def test_bytes_that_are_no_whole_ids_are_refused(width: int, packed: bytes) -> None:
    with pytest.raises(ValueError, match="whole number of ids"):
        unpacked(bytes(16), width, packed)
