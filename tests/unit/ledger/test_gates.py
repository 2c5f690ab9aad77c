"""Gates: how many are inside, whose turn it is, and what becomes of those who give up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from threading import Barrier, Event, Thread
from typing import Final

import pytest

from ledger.errors import QuotaError, StoreUnavailableError
from ledger.store.postgres.calls import Work, work_of_call
from ledger.store.postgres.gates import Gate
from tests.support.books import wait_until

A, B, C = "platforms/a", "platforms/b", "platforms/c"
WAITING: Final = 3


class Crowd:
    """People before a gate, each of whom goes in as `entered` says and leaves when told."""

    def __init__(self, gate: Gate, threads: ThreadPoolExecutor) -> None:
        self._gate, self._threads = gate, threads
        self.entered: list[str] = []
        self._leave: list[Event] = []
        self._promised: list[Future[None]] = []

    def come(self, holder: str, work: Work | None = None) -> Future[None]:
        """Have somebody come, who waits before the gate or is inside when this returns."""
        leave, came = Event(), Event()
        self._leave.append(leave)

        def go_in() -> None:
            work_of_call.set(work)
            came.set()
            with self._gate.passed(holder):
                self.entered.append(holder)
                leave.wait(10)

        before = self._seen()
        promised = self._threads.submit(copy_context().run, go_in)
        self._promised.append(promised)
        wait_until(lambda: self._seen() > before)
        return promised

    def _seen(self) -> int:
        return self.present() + sum(each.done() for each in self._promised)

    def present(self) -> int:
        """How many are inside or wait."""
        return self._gate._inside.total() + sum(map(len, self._gate._queues.values()))

    def leave(self, count: int) -> None:
        """Have the first so many who came leave, if they are inside."""
        for each in self._leave[:count]:
            each.set()


@pytest.fixture
def crowd_of() -> Iterator[Callable[[Gate], Crowd]]:
    with ExitStack() as stack:

        def make(gate: Gate) -> Crowd:
            crowd = Crowd(gate, stack.enter_context(ThreadPoolExecutor(16)))
            stack.callback(crowd.leave, 99)
            return crowd

        yield make


def test_who_asks_the_most_waits_for_the_others(crowd_of: Callable[[Gate], Crowd]) -> None:
    crowd = crowd_of(Gate(1, of_one=1))
    crowd.come(A)
    for holder in (A, A, A, B, C, B):
        crowd.come(holder)
    wait_until(lambda: crowd.entered == [A])
    crowd.leave(99)
    wait_until(lambda: len(crowd.entered) == 7)
    assert crowd.entered == [A, A, B, C, A, B, A]


def test_one_holder_leaves_a_place_to_others(crowd_of: Callable[[Gate], Crowd]) -> None:
    crowd = crowd_of(Gate(2, of_one=1))
    crowd.come(A)
    crowd.come(A)
    wait_until(lambda: crowd.entered == [A])
    crowd.come(B)
    wait_until(lambda: crowd.entered == [A, B])
    crowd.leave(1)
    wait_until(lambda: crowd.entered == [A, B, A])


def test_a_holder_may_be_inside_as_often_as_the_gate_says(crowd_of: Callable[[Gate], Crowd]) -> None:
    crowd = crowd_of(Gate(2, of_one=2))
    for _ in range(3):
        crowd.come(A)
    wait_until(lambda: crowd.entered == [A, A])


def test_so_many_wait_and_the_next_is_refused(crowd_of: Callable[[Gate], Crowd]) -> None:
    crowd = crowd_of(Gate(1, of_one=1, waiting=WAITING))
    for _ in range(1 + WAITING):
        crowd.come(A)
    with pytest.raises(QuotaError, match="platforms/a"):
        crowd.come(A).result(5)
    crowd.leave(99)
    wait_until(lambda: len(crowd.entered) == 1 + WAITING)
    assert crowd.present() == 0


def test_who_has_the_most_waiting_makes_room_for_another(crowd_of: Callable[[Gate], Crowd]) -> None:
    crowd = crowd_of(Gate(1, of_one=1, waiting=WAITING))
    waits = [crowd.come(A) for _ in range(1 + WAITING)]
    other = crowd.come(B)
    with pytest.raises(QuotaError, match="platforms/a"):
        waits[-1].result(5)
    crowd.come(C)
    with pytest.raises(QuotaError, match="platforms/a"):
        waits[-2].result(5)
    with pytest.raises(QuotaError, match="platforms/d"):  # each has one that waits: the newest has to go
        crowd.come("platforms/d").result(5)
    assert not other.done()
    crowd.leave(99)
    wait_until(lambda: crowd.entered == [A, A, B, C])


def test_who_gives_up_before_their_turn_leaves_the_queue(crowd_of: Callable[[Gate], Crowd]) -> None:
    crowd, work = crowd_of(Gate(1, of_one=1)), Work()
    crowd.come(A)
    waits = crowd.come(B, work)
    assert work.is_under_way
    work.give_up()
    with pytest.raises(StoreUnavailableError):
        waits.result(5)
    with pytest.raises(StoreUnavailableError):  # nor does work come in that was given up before
        crowd.come(B, work).result(5)
    assert crowd.present() == 1
    crowd.come(C)
    crowd.leave(99)
    wait_until(lambda: crowd.entered == [A, C])
    assert not work.is_under_way


def test_who_is_inside_stays_there_when_given_up_and_makes_room_at_the_end(crowd_of: Callable[[Gate], Crowd]) -> None:
    crowd, work = crowd_of(Gate(1, of_one=1)), Work()
    crowd.come(A, work)
    crowd.come(B)
    work.give_up()
    wait_until(lambda: crowd.entered == [A])
    crowd.leave(99)
    wait_until(lambda: crowd.entered == [A, B])


def test_an_error_inside_makes_room() -> None:
    gate = Gate(1, of_one=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate.passed(A):
            1 / 0  # noqa: B018  # it raises
    with gate.passed(B):
        pass


def test_no_more_are_ever_inside_than_may_be_whoever_gives_up() -> None:
    gate, inside, most = Gate(2, of_one=1, waiting=WAITING), [0], [0]
    start = Barrier(12)

    def go(number: int) -> None:
        start.wait()
        for turn in range(60):
            work = Work()
            work_of_call.set(work)
            if turn % 3 == 0:
                Thread(target=work.give_up).start()
            try:
                with gate.passed(f"platforms/{number % 4}"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    inside[0] -= 1
            except (QuotaError, StoreUnavailableError):
                pass

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(go, range(12)))
    assert most[0] <= 2
    with gate.passed(A), gate.passed(B):
        pass
