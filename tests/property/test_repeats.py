"""Keys that are there more than once are found, and no others: as counting them would have it."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ledger.usage.repeats import repeated_places

few = st.integers(0, 6)
any_key = st.integers(0, 2**64 - 1)


@given(keys=st.lists(few | any_key, max_size=60))
def test_the_places_of_repeated_keys_are_those_that_counting_finds(keys: list[int]) -> None:
    counted = Counter(keys)
    expected = [place for place, key in enumerate(keys) if counted[key] > 1]
    assert repeated_places(np.array(keys, dtype=np.uint64)).tolist() == expected


def test_many_keys_that_share_slots_are_still_told_apart() -> None:
    keys = np.arange(100_000, dtype=np.uint64) << np.uint64(48)
    assert len(np.unique(keys)) == 2**16
    assert len(repeated_places(keys[: 2**16])) == 0
    assert repeated_places(keys).tolist() == [*range(100_000 - 2**16), *range(2**16, 100_000)]
