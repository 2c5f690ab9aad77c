"""Batches whose rows lie as they should are found as a whole; of all others, and of their rows, everything is left."""

from __future__ import annotations

import random
from typing import Any, Final

import numpy as np
import pytest

from audit import partitions
from audit.fsck import logged
from audit.fsck.copied import EventRows
from audit.fsck.logged import LoggedEvents
from tests.support.memory_spill import MemorySpill

SIZE: Final = 100
PLATFORM: Final = 3


def ids(numbers: list[int]) -> Any:
    return np.array([number.to_bytes(16, "big") for number in numbers], dtype="V16")


def rows(*made: tuple[int, int, int]) -> EventRows:
    """Of (platform, id, number)."""
    platforms, numbers = (np.array([row[place] for row in made], dtype=np.int64) for place in (0, 2))
    return EventRows(platforms, ids([row[1] for row in made]), numbers)


def sound(number: int) -> list[tuple[int, int, int]]:
    return [(PLATFORM, 1000 * number + place, number) for place in range(SIZE)]


def taken(numbers: list[int]) -> LoggedEvents:
    """Batches with these numbers, each at the leaf with its place; their ids come in another order than in the rows."""
    events = LoggedEvents(MemorySpill)
    for leaf, number in enumerate(numbers):
        shuffled = random.Random(number).sample([each for _, each, _ in sound(number)], SIZE)
        assert events.takes(leaf, PLATFORM, ids(shuffled), number)
    return events


def left(events: LoggedEvents, *chunks: list[tuple[int, int, int]]) -> tuple[list[tuple[int, int, int]], list[int]]:
    """The rows that belong to no batch that was found, and the leaves of the batches that were not."""
    over = []
    for chunk in chunks:
        over += plain(events.without_found(rows(*chunk)))
    kept, unfound = events.rest()
    batches = list(unfound)
    for batch in batches:
        assert len(batch.ids) == SIZE
        assert batch.platform_id == PLATFORM
    return sorted(over + plain(kept)), [batch.leaf_index for batch in batches]


def plain(found: EventRows) -> list[tuple[int, int, int]]:
    numbers = [int.from_bytes(each.tobytes(), "big") for each in found.ids]
    return list(zip(found.platforms.tolist(), numbers, found.numbers.tolist(), strict=True))


@pytest.mark.parametrize("spilled", [10**6, 150])
def test_nothing_is_left_where_all_is_sound(spilled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "SPILLED_RECORDS", spilled)
    events = taken([4, 7, 5])
    assert left(events, sound(4), sound(7) + sound(5)) == ([], [])


def test_rows_of_a_batch_may_come_apart_and_between_those_of_another() -> None:
    mixed = sorted(sound(1) + sound(2), key=lambda row: row[1] % 1000)
    assert left(taken([1, 2]), mixed[:30], [], mixed[30:130], mixed[130:]) == ([], [])


@pytest.mark.parametrize(
    "wrong",
    [(PLATFORM, 1050, 2), (PLATFORM + 1, 1050, 1), (PLATFORM, 1051, 1), (PLATFORM, 9_999, 1)],
    ids=["number", "platform", "twice", "id"],
)
def test_one_wrong_row_leaves_its_batch_and_all_its_rows(wrong: tuple[int, int, int]) -> None:
    edited = sound(1)
    edited[50] = wrong
    over, leaves = left(taken([1]), edited)
    assert (over, leaves) == (sorted(edited), [0])


@pytest.mark.parametrize("chunk", [7, 1000])
def test_a_missing_row_and_one_too_many_leave_their_batches(chunk: int) -> None:
    lying = [*sound(1)[1:], *sound(2), (PLATFORM, 5, 2), *sound(3)]
    chunks = [lying[begin : begin + chunk] for begin in range(0, len(lying), chunk)]
    over, leaves = left(taken([1, 2, 3]), *chunks)
    assert set(leaves) <= {0, 1}
    assert 0 in leaves
    assert (PLATFORM, 5, 2) in over
    assert set(over) >= set(sound(1)[1:])
    assert not set(over) & set(sound(3))


def test_batches_that_claim_one_number_are_both_left() -> None:
    events = taken([1, 2])
    assert events.takes(9, PLATFORM, ids([each for _, each, _ in sound(3)]), 2)
    assert left(events, sound(1) + sound(2)) == (sound(2), [1, 9])


def test_small_batches_and_those_without_a_number_are_not_taken() -> None:
    events = LoggedEvents(MemorySpill)
    assert not events.takes(0, PLATFORM, ids([1, 2]), 1)
    assert not events.takes(1, PLATFORM, ids([each for _, each, _ in sound(3)]), None)
    assert left(events, sound(1)) == (sound(1), [])


def test_rows_that_wait_in_vain_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logged, "_CARRIED_MAX", 120)
    events = taken([1, 2, 3])
    first = plain(events.without_found(rows(*sound(1)[:80])))
    second = plain(events.without_found(rows(*sound(2)[:80])))
    assert (first, len(second)) == ([], 160)
    assert left(events, sound(3)) == ([], [0, 1])
