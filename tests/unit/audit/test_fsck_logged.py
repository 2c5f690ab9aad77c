"""Batches whose rows are as they should be are found as a whole; of all others, and of their rows, all is left."""

from __future__ import annotations

import random
from typing import Any, Final

import numpy as np
import pytest

from audit.batches import partitions
from audit.fsck.copied import BatchRows
from audit.fsck.logged import LoggedEvents
from tests.support.memory_spill import MemorySpill

SIZE: Final = 100
PLATFORM: Final = 3


def ids(numbers: list[int]) -> Any:
    return np.array([number.to_bytes(16, "big") for number in numbers], dtype="V16")


Made = tuple[int, int, int]
"""A row: its platform, its id, and its batch's number."""


def together(rows: list[Made]) -> list[BatchRows]:
    """As Postgres sends them: those of a number and platform together."""
    found: dict[tuple[int, int], list[int]] = {}
    for platform, event_id, number in rows:
        found.setdefault((platform, number), []).append(event_id)
    return [BatchRows(platform, number, ids(of_batch)) for (platform, number), of_batch in found.items()]


def sound(number: int) -> list[Made]:
    return [(PLATFORM, 1000 * number + place, number) for place in range(SIZE)]


def taken(numbers: list[int]) -> LoggedEvents:
    """Batches with these numbers, each at the leaf with its place; their ids come in another order than in the rows."""
    events = LoggedEvents(MemorySpill)
    for leaf, number in enumerate(numbers):
        shuffled = random.Random(number).sample([each for _, each, _ in sound(number)], SIZE)
        assert events.takes(leaf, PLATFORM, ids(shuffled), number)
    return events


def left(events: LoggedEvents, rows: list[Made]) -> tuple[list[Made], list[int]]:
    """The rows that belong to no batch that was found, and the leaves of the batches that were not."""
    over = [row for of_batch in together(rows) if not events.finds(of_batch) for row in plain(of_batch)]
    batches = list(events.unfound())
    for batch in batches:
        assert len(batch.ids) == SIZE
        assert batch.platform_id == PLATFORM
    return sorted(over), [batch.leaf_index for batch in batches]


def plain(rows: BatchRows) -> list[Made]:
    return [(rows.platform_id, int.from_bytes(each.tobytes(), "big"), rows.number) for each in rows.ids]


@pytest.mark.parametrize("spilled", [10**6, 150])
def test_nothing_is_left_where_all_is_sound(spilled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "SPILLED_RECORDS", spilled)
    events = taken([4, 7, 5])
    assert left(events, sound(4) + sound(7) + sound(5)) == ([], [])


def test_rows_of_a_batch_come_in_any_order() -> None:
    assert left(taken([1, 2]), [*reversed(sound(1)), *sorted(sound(2), key=lambda row: row[1] % 7)]) == ([], [])


@pytest.mark.parametrize(
    "wrong",
    [(PLATFORM, 1050, 2), (PLATFORM + 1, 1050, 1), (PLATFORM, 1051, 1), (PLATFORM, 9_999, 1)],
    ids=["number", "platform", "twice", "id"],
)
def test_one_wrong_row_leaves_its_batch_and_all_its_rows(wrong: Made) -> None:
    edited = sound(1)
    edited[50] = wrong
    over, leaves = left(taken([1]), edited)
    assert (over, leaves) == (sorted(edited), [0])


def test_a_missing_row_and_one_too_many_leave_their_batches() -> None:
    lying = [*sound(1)[1:], *sound(2), (PLATFORM, 5, 2), *sound(3)]
    assert left(taken([1, 2, 3]), lying) == (sorted(lying[: -len(sound(3))]), [0, 1])


def test_a_row_of_another_platform_is_left_and_the_batch_of_its_number_is_found() -> None:
    assert left(taken([1]), [*sound(1), (PLATFORM + 1, 5, 1)]) == ([(PLATFORM + 1, 5, 1)], [])


def test_batches_that_claim_one_number_are_both_left() -> None:
    events = taken([1, 2])
    assert events.takes(9, PLATFORM, ids([each for _, each, _ in sound(3)]), 2)
    assert left(events, sound(1) + sound(2)) == (sound(2), [1, 9])


def test_small_batches_and_those_without_a_number_are_not_taken() -> None:
    events = LoggedEvents(MemorySpill)
    assert not events.takes(0, PLATFORM, ids([1, 2]), 1)
    assert not events.takes(1, PLATFORM, ids([each for _, each, _ in sound(3)]), None)
    assert left(events, sound(1)) == (sound(1), [])
