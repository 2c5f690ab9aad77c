"""That no event counts twice, by example; tests/property says it against a plain set."""

from __future__ import annotations

import numpy as np
import pytest

from audit.batches import partitions
from audit.batches.unique_events import Conflict, UniqueEvents
from tests.support.memory_spill import MemorySpill


def unique() -> UniqueEvents:
    return UniqueEvents(MemorySpill, salt=12345)


def ids(*numbers: int) -> np.ndarray:
    return np.frombuffer(b"".join(number.to_bytes(16) for number in numbers), dtype="V16")


def flags(*accepted: int) -> np.ndarray:
    return np.array(accepted, dtype=np.bool_)


def test_nothing_conflicts_in_an_empty_log() -> None:
    assert unique().first_conflict() is None


def test_the_first_counts_and_later_ones_are_left_out() -> None:
    events = unique()
    events.add("acme", 3, ids(1, 2, 1), flags(1, 1, 0))
    events.add("zen", 5, ids(1), flags(1))
    events.add("acme", 7, ids(2, 3), flags(0, 1))
    assert events.first_conflict() is None
    assert events.records == 6


def test_an_event_that_counts_again_is_found_with_the_one_before() -> None:
    events = unique()
    events.add("acme", 3, ids(1, 2), flags(1, 1))
    events.add("acme", 7, ids(9, 2), flags(1, 1))
    assert events.first_conflict() == Conflict(7, 1, (2).to_bytes(16), True, (3, 1))


def test_an_event_that_is_left_out_though_it_is_the_first_is_found() -> None:
    events = unique()
    events.add("acme", 3, ids(1, 2), flags(1, 0))
    assert events.first_conflict() == Conflict(3, 1, (2).to_bytes(16), False, None)


def test_of_several_conflicts_the_first_in_the_log_is_told() -> None:
    events = unique()
    events.add("acme", 3, ids(5, 6), flags(1, 1))
    events.add("acme", 4, ids(7, 6, 5), flags(1, 1, 1))
    events.add("acme", 9, ids(1), flags(0))
    assert events.first_conflict() == Conflict(4, 1, (6).to_bytes(16), True, (3, 1))


@pytest.mark.parametrize("distinct", [1, 7, 100_000])
def test_what_memory_has_no_room_for_is_spilled_and_checked_all_the_same(
    distinct: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One event again and again is parted to the last depth, many events fill every part.
    monkeypatch.setattr(partitions, "MAX_RECORDS", 1000)
    monkeypatch.setattr(partitions, "SPILLED_RECORDS", 1000)
    for wrong in (False, True):
        events, seen = unique(), set[int]()
        for leaf in range(60):
            numbers = [(leaf * 500 + place) * 7919 % distinct for place in range(500)]
            fresh = []
            for number in numbers:
                fresh.append(number not in seen)
                seen.add(number)
            if wrong and leaf == 41:
                fresh[77] = not fresh[77]
            events.add("acme", leaf, ids(*numbers), flags(*fresh))
        conflict = events.first_conflict()
        assert (conflict and conflict[:2]) == ((41, 77) if wrong else None)
