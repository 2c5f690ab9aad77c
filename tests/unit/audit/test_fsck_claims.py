"""Accepted events are matched with the rows that say so, in memory and in parts, as a dictionary would."""

from __future__ import annotations

import random
from typing import Any, Final

import numpy as np
import pytest

from audit.batches import partitions
from audit.fsck.claims import LOGGED, NOWHERE, PAGED, ROW, Claims, ids_of
from tests.support.memory_spill import MemorySpill

PLATFORMS: Final = (1, 2)


def ids(numbers: list[int]) -> Any:
    return np.array([number.to_bytes(16, "big") for number in numbers], dtype="V16")


def matched(found: Claims) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int]]]:
    """(leaf, platform, number, source) of each accepted event, and (platform, number) of what belongs to none."""
    logged: list[tuple[int, int, int, int]] = []
    extra: list[tuple[int, int]] = []
    for part in found.matched():
        columns = (part.logged["value"], part.logged["platform"], part.numbers, part.sources)
        logged += zip(*(each.tolist() for each in columns), strict=True)
        extra += zip(part.extra["platform"].tolist(), part.extra["value"].tolist(), strict=True)
    return sorted(logged), sorted(extra)


@pytest.mark.parametrize("spilled", [10**6, 50])
def test_each_event_has_its_row_and_each_row_its_event(spilled: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "SPILLED_RECORDS", spilled)
    monkeypatch.setattr(partitions, "MAX_RECORDS", 8)
    chance = random.Random(18)
    accepted = {(chance.choice(PLATFORMS), chance.randrange(600)): leaf for leaf in range(300)}
    rows = {key: chance.randrange(9) for key in accepted if chance.random() < 0.9}
    rows |= {(platform, 10_000 + chance.randrange(50)): 7 for platform in PLATFORMS for _ in range(9)}
    found = Claims(MemorySpill, salt=3)
    for (platform, number), leaf in accepted.items():
        found.add(LOGGED, platform, ids([number]), leaf)
    for (platform, number), batch in rows.items():
        found.add(ROW, platform, ids([number]), batch)
    expected = [
        (leaf, key[0], rows.get(key, NOWHERE), ROW if key in rows else LOGGED) for key, leaf in accepted.items()
    ]
    extra = [(platform, batch) for (platform, number), batch in rows.items() if (platform, number) not in accepted]
    assert matched(found) == (sorted(expected), sorted(extra))
    assert matched(found) == (sorted(expected), sorted(extra))


def test_a_row_goes_before_a_page_and_the_page_is_extra() -> None:
    found = Claims(MemorySpill, salt=0)
    found.add(PAGED, 1, ids([5]), 80)
    found.add(ROW, 1, ids([5]), 90)
    found.add(LOGGED, 1, ids([5]), 3)
    assert matched(found) == ([(3, 1, 90, ROW)], [(1, 80)])


def test_nothing_is_matched_with_nothing() -> None:
    assert matched(Claims(MemorySpill, salt=0)) == ([], [])


def test_ids_come_back_as_they_went_in() -> None:
    found = Claims(MemorySpill, salt=0)
    given = ids([1, 2**127 + 5])
    found.add(LOGGED, 1, given, 0)
    (part,) = found.matched()
    assert {each.tobytes() for each in ids_of(part.logged)} == {each.tobytes() for each in given}


def test_ids_that_make_the_same_number_are_told_apart() -> None:
    """Whoever chooses ids can choose two that are sorted by the same number."""
    factor, high, low = 0x9E3779B97F4A7C15, 77, 5
    other_low = low ^ (high * factor % 2**64) ^ ((high + 1) * factor % 2**64)
    alike = [np.array([half], dtype="<u8") for half in (high, low, high + 1, other_low)]
    first, second = (np.concatenate(pair).view("V16") for pair in (alike[:2], alike[2:]))
    found = Claims(MemorySpill, salt=0)
    for leaf, event_id in enumerate((first, second)):
        found.add(LOGGED, 1, event_id, leaf)
    found.add(ROW, 1, second, 90)
    assert matched(found) == ([(0, 1, NOWHERE, LOGGED), (1, 1, 90, ROW)], [])
