"""No event counts twice, whatever the batches: as a plain set would have it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.batches import partitions
from audit.batches.unique_events import UniqueEvents
from tests.support.memory_spill import MemorySpill

batches = st.lists(
    st.tuples(st.sampled_from(["acme", "zen"]), st.lists(st.integers(0, 12), min_size=1, max_size=8)), max_size=12
)


@given(batches=batches, wrong=st.integers(0, 200), room=st.integers(1, 60), salt=st.integers(0, 2**64 - 1))
def test_a_conflict_is_the_first_that_a_plain_set_finds(
    batches: list[tuple[str, list[int]]], wrong: int, room: int, salt: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(partitions, "MAX_RECORDS", room)
        patch.setattr(partitions, "SPILLED_RECORDS", room)
        events, seen, placed = UniqueEvents(MemorySpill, salt), set[tuple[str, int]](), 0
        expected = None
        for leaf, (platform, numbers) in enumerate(batches):
            accepted = []
            for position, number in enumerate(numbers):
                fresh = (platform, number) not in seen
                seen.add((platform, number))
                flipped = placed == wrong
                placed += 1
                accepted.append(fresh != flipped)
                if flipped and expected is None:
                    expected = (leaf, position)
            ids = np.frombuffer(b"".join(number.to_bytes(16) for number in numbers), dtype="V16")
            events.add(platform, leaf, ids, np.array(accepted))
        conflict = events.first_conflict()
    assert (conflict and conflict[:2]) == expected
