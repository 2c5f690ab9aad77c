"""Group commit: what waits together is done together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from time import monotonic, sleep
from typing import Final

import pytest

from ledger.store.postgres.groups import GROUP_MAX, Groups

KEY: Final = 1


class ConflictError(Exception):
    pass


class Doing:
    """Doubles each item. Work waits for `go`; an item in `refused` is a conflict, one in `broken` an error."""

    def __init__(self, refused: frozenset[int] = frozenset(), broken: frozenset[int] = frozenset()) -> None:
        self.refused, self.broken = refused, broken
        self.go = Event()
        self.done: list[list[int]] = []
        self.groups = Groups(self.do_all, (ConflictError,))

    def do_all(self, items: Sequence[int]) -> list[int]:
        assert self.go.wait(240)
        self.done.append(list(items))
        if self.refused & set(items):
            raise ConflictError(min(self.refused & set(items)))
        if self.broken & set(items):
            raise ValueError("broken")
        return [2 * item for item in items]


def together(doing: Doing, first: int, others: Sequence[int]) -> list[Future[int]]:
    """The first is under way when the others come, which gather."""
    with ThreadPoolExecutor(1 + len(others)) as threads:
        asked = [threads.submit(doing.groups.do, KEY, first)]
        wait_until(lambda: doing.groups._waiting.get(KEY) == [])
        for place, item in enumerate(others):
            asked.append(threads.submit(doing.groups.do, KEY, item))
            wait_until(lambda place=place: len(doing.groups._waiting[KEY]) == place + 1)  # type: ignore[misc]
        doing.go.set()
    return asked


def wait_until(is_so: Callable[[], bool]) -> None:
    end = monotonic() + 240
    while not is_so():
        assert monotonic() < end
        sleep(0.001)


def test_what_comes_while_one_is_done_is_done_together() -> None:
    doing = Doing()
    asked = together(doing, 1, [2, 3, 4])
    assert [future.result() for future in asked] == [2, 4, 6, 8]
    assert doing.done == [[1], [2, 3, 4]]


def test_a_group_is_bounded() -> None:
    doing = Doing()
    others = list(range(2, GROUP_MAX + 5))
    asked = together(doing, 1, others)
    assert [future.result() for future in asked] == [2, *(2 * item for item in others)]
    assert doing.done == [[1], others[:GROUP_MAX], others[GROUP_MAX:]]


def test_where_one_stands_in_the_way_each_is_done_alone() -> None:
    doing = Doing(refused=frozenset({3}))
    asked = together(doing, 1, [2, 3, 4])
    assert [asked[place].result() for place in (0, 1, 3)] == [2, 4, 8]
    with pytest.raises(ConflictError):
        asked[2].result()
    assert doing.done == [[1], [2, 3, 4], [2], [3], [4]]


def test_any_other_error_is_everyone_s() -> None:
    doing = Doing(broken=frozenset({3}))
    asked = together(doing, 1, [2, 3])
    assert asked[0].result() == 2
    for future in asked[1:]:
        with pytest.raises(ValueError, match="broken"):
            future.result()
    assert doing.done == [[1], [2, 3]]


def test_keys_do_not_wait_for_each_other() -> None:
    doing = Doing()
    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(doing.groups.do, KEY, 1)
        wait_until(lambda: doing.groups._waiting.get(KEY) == [])
        other = threads.submit(doing.groups.do, KEY + 1, 2)
        wait_until(lambda: doing.groups._waiting.get(KEY + 1) == [])
        doing.go.set()
        assert other.result() == 4
        assert slow.result() == 2


def test_an_item_s_own_error_is_nobody_else_s() -> None:
    def halved(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError(f"{item} is odd") if item % 2 else item // 2 for item in items]

    groups = Groups(halved)
    assert groups.do(KEY, 4) == 2
    with pytest.raises(ValueError, match="3 is odd"):
        groups.do(KEY, 3)
    assert groups._waiting == {}


def test_two_groups_of_a_key_may_be_done_at_a_time_and_the_third_item_waits() -> None:
    doing = Doing()
    groups = Groups(doing.do_all, at_once=2, most=3)
    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(groups.do, KEY, item) for item in range(6)]
        wait_until(lambda: groups._working[KEY] == 2 and len(groups._waiting[KEY]) == 4)
        doing.go.set()
        assert [future.result() for future in asked] == [2 * item for item in range(6)]
    assert sorted(map(len, doing.done)) in ([1, 1, 1, 3], [1, 1, 2, 2])
    assert (groups._waiting, groups._working) == ({}, {})
