"""Calls run in turn by principal, and only so many of them wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from threading import Event
from typing import Any

import pytest

from services.api.calls.queues import TOGETHER_MAX, WAITING_PER_THREAD, FairThreads
from tests.support.books import wait_until


class Held:
    """One thread that is busy until it is let go; what runs after is noted in its order."""

    def __init__(self) -> None:
        self.threads = FairThreads(1, "test")
        self.order: list[str] = []
        self.go = Event()
        started = Event()

        def hold() -> None:
            started.set()
            self.go.wait()

        self.promised: list[Future[Any]] = [self.threads.submit("holder", hold)]
        started.wait()

    def ask(self, holder: str, times: int) -> None:
        for _ in range(times):
            self.promised.append(self.threads.submit(holder, lambda: self.order.append(holder)))

    def finish(self) -> list[str]:
        self.go.set()
        for each in self.promised:
            each.result(timeout=120)
        return self.order


@pytest.fixture
def held() -> Iterator[Held]:
    made = Held()
    yield made
    made.go.set()
    made.threads.shutdown()


def test_whoever_asks_for_more_waits_longer(held: Held) -> None:
    held.ask("flood", 5)
    held.ask("quiet", 2)
    assert held.finish() == ["flood", "quiet", "flood", "quiet", "flood", "flood", "flood"]


def test_each_principal_has_its_share_of_the_queue(held: Held) -> None:
    assert held.threads.has_room("flood")
    held.ask("flood", WAITING_PER_THREAD)
    assert not held.threads.has_room("flood")
    assert held.threads.has_room("quiet")
    held.ask("quiet", WAITING_PER_THREAD // 2)
    assert not held.threads.has_room("quiet")
    held.finish()
    assert held.threads.has_room("flood")


def test_an_exception_is_the_call_s_own_and_the_thread_goes_on(held: Held) -> None:
    failing = held.threads.of("one").submit(lambda: 1 // 0)
    after = held.threads.of("one").submit(lambda value: value + 1, 1)
    held.go.set()
    with pytest.raises(ZeroDivisionError):
        failing.result(timeout=120)
    assert after.result(timeout=120) == 2


def test_one_principal_does_not_occupy_all_threads() -> None:
    threads, go = FairThreads(4, "test"), Event()
    held = [threads.submit("flood", go.wait) for _ in range(8)]
    try:
        assert threads.submit("quiet", lambda: "answered").result(timeout=120) == "answered"
        assert sum(each.running() for each in held) == 3
    finally:
        go.set()
    assert all(each.result(timeout=120) for each in held)
    threads.shutdown()


def test_one_principal_may_have_all_threads_where_that_is_said_and_others_are_next() -> None:
    threads, go, order = FairThreads(2, "test", of_one=2), Event(), list[str]()
    held = [threads.submit("flood", go.wait) for _ in range(2)]
    wait_until(lambda: all(each.running() for each in held))
    for holder in ("flood", "flood", "flood", "quiet"):
        threads.submit(holder, lambda holder=holder: order.append(holder))  # type: ignore[misc]
    go.set()
    threads.shutdown()
    assert order.index("quiet") <= 2


def test_a_call_counts_as_its_principals_from_when_that_is_known() -> None:
    threads, known, go = FairThreads(4, "test"), Event(), Event()

    def opened() -> None:
        threads.run_for("platform")
        known.set()
        go.wait()

    def unknown() -> bool:
        return go.wait()

    streams = [threads.submit("anyone", opened), threads.submit("anyone", unknown), threads.submit("anyone", unknown)]
    try:
        assert known.wait(120)
        assert threads.submit("anyone", lambda: "looked up").result(timeout=120) == "looked up"
    finally:
        go.set()
    for each in streams:
        each.result(timeout=120)
    threads.shutdown()


def test_what_waits_when_it_shuts_down_is_done() -> None:
    threads, go = FairThreads(4, "test"), Event()
    held = [threads.submit("flood", go.wait) for _ in range(20)]
    go.set()
    threads.shutdown()
    assert all(each.done() for each in held)


def test_calls_that_gather_are_done_together_those_of_each_principal_in_turn(held: Held) -> None:
    groups: list[list[str]] = []
    for holder in ("flood", "flood", "flood", "quiet"):
        held.threads.gather("balances", holder, holder, lambda group: groups.append(list(group)))
    held.threads.gather("others", "quiet", "other", lambda group: groups.append(list(group)))
    held.finish()
    held.threads.shutdown()
    assert groups == [["flood", "quiet", "flood", "flood"], ["other"]]


def test_groups_are_bounded_and_other_calls_have_their_turn_between_them(held: Held) -> None:
    for _ in range(2 * TOGETHER_MAX + 1):
        held.threads.gather("balances", "flood", 1, lambda group: held.order.append(f"group of {len(group)}"))
    held.ask("quiet", 1)
    held.finish()
    held.threads.shutdown()
    assert held.order == [f"group of {TOGETHER_MAX}", "quiet", f"group of {TOGETHER_MAX}", "group of 1"]


def test_what_gathers_waits_too(held: Held) -> None:
    for _ in range(WAITING_PER_THREAD):
        assert held.threads.has_room("flood")
        held.threads.gather("balances", "flood", 1, lambda _: None)
    assert not held.threads.has_room("flood")
    assert held.threads.has_room("quiet")
    held.finish()
    held.threads.shutdown()
    assert held.threads.has_room("flood")


def test_a_group_that_fails_leaves_the_next_one_be(held: Held) -> None:
    def do_all(group: Sequence[str]) -> None:
        held.order.append(",".join(group))
        if len(group) == TOGETHER_MAX:
            raise ValueError("broken")

    for _ in range(TOGETHER_MAX):
        held.threads.gather("balances", "flood", "a", do_all)
    held.threads.gather("balances", "quiet", "b", do_all)
    held.threads.gather("balances", "quiet", "c", do_all)
    held.finish()
    held.threads.shutdown()
    assert [len(names.split(",")) for names in held.order] == [TOGETHER_MAX, 2]
    assert "b" in held.order[0]
