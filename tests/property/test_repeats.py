"""Keys that are there more than once are found, and no others: as counting them would have it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ledger.usage.repeats import MIX, repeated

few = st.integers(0, 6)
any_key = st.integers(0, 2**64 - 1)
in_one_slot = few.map(lambda number: number * pow(int(MIX), -1, 2**64) % 2**64)
"""Keys of which each is looked for where the others are."""


@given(keys=st.lists(few | any_key | in_one_slot, max_size=60))
def test_repeated_keys_are_those_that_counting_finds(keys: list[int]) -> None:
    counted = Counter(keys)
    expected = sorted(key for key, count in counted.items() if count > 1)
    assert repeated(np.array(keys, dtype=np.uint64)).tolist() == expected


def test_more_keys_than_a_table_has_slots_for_are_told_apart() -> None:
    keys = np.arange(1 << 22, dtype=np.uint64) * MIX
    keys[[3, 7, 1 << 18]] = keys[5]
    assert repeated(keys).tolist() == [int(keys[5])]
