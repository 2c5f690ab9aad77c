"""Periodic calls: at once, again and again, independent of each other, and finished at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Barrier, Event
from typing import Final

import pytest

from services.process.timer import every

PATIENCE_SECONDS: Final = 240.0
"""How long a test waits for something that must happen."""


class Counter:
    """Counts its calls, and tells when it has been called so many times."""

    def __init__(self, wanted: int) -> None:
        self.calls = 0
        self.reached = Event()
        self._wanted = wanted

    def __call__(self) -> None:
        self.calls += 1
        if self.calls >= self._wanted:
            self.reached.set()


def test_the_first_call_comes_at_once_and_not_after_the_interval() -> None:
    counter = Counter(1)
    with every(3600, counter):
        assert counter.reached.wait(PATIENCE_SECONDS)


def test_calls_repeat_until_the_end_and_not_beyond() -> None:
    counter = Counter(3)
    with every(0.001, counter):
        assert counter.reached.wait(PATIENCE_SECONDS)
    calls = counter.calls
    time.sleep(0.05)
    assert counter.calls == calls


def test_one_that_hangs_does_not_hold_up_the_others() -> None:
    release, counter = Event(), Counter(3)
    with every(0.001, release.wait, counter):
        assert counter.reached.wait(PATIENCE_SECONDS)
        release.set()


def test_an_exception_does_not_end_the_calls() -> None:
    counter = Counter(3)

    def fail() -> None:
        counter()
        raise ValueError("again")

    with every(0.001, fail):
        assert counter.reached.wait(PATIENCE_SECONDS)


def test_a_call_under_way_is_finished_at_the_end() -> None:
    started, finished = Barrier(2), Event()

    def work() -> None:
        started.wait(PATIENCE_SECONDS)
        time.sleep(0.05)
        finished.set()

    with every(3600, work):
        started.wait(PATIENCE_SECONDS)
    assert finished.is_set()


@pytest.fixture
def stopped_wall_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    now = time.time()
    places = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now - 3600 * next(places))
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("stopped_wall_clock")
def test_a_wall_clock_that_runs_backwards_stops_nothing() -> None:
    counter = Counter(3)
    with every(0.001, counter):
        assert counter.reached.wait(PATIENCE_SECONDS)
