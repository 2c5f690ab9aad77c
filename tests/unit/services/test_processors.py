"""Which processors threads and processes run on."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from subprocess import check_output
from typing import Final

import pytest

from services.api.calls.queues import FairThreads
from services.forks import Forks
from services.process.weighers import Weighers
from services.processors import anywhere, keep_to_one, run_anywhere
from tests.support.books import wait_until
from tests.support.programs import children_of

if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) == 1:
    pytest.skip("there is one processor, or nobody says how many", allow_module_level=True)

ALL: Final = os.sched_getaffinity(0)
SAY: Final = "import os; print(sorted(os.sched_getaffinity(0)))"


def kept(look: Callable[[], object]) -> object:
    """What a thread finds that is kept to the first processor."""

    def in_thread() -> object:
        keep_to_one(0, len(ALL))
        return look()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(in_thread).result()


def allowed() -> set[int]:
    return os.sched_getaffinity(0)


def of_a_process() -> str:
    return check_output([sys.executable, "-c", SAY], text=True).strip()


def test_each_of_as_many_as_processors_keeps_to_one_of_its_own() -> None:
    def at(place: int) -> set[int]:
        keep_to_one(place, len(ALL))
        return allowed()

    with ThreadPoolExecutor(1) as thread:
        found = list(thread.map(at, range(len(ALL))))
    assert [len(each) for each in found] == [1] * len(ALL)
    assert set().union(*found) == ALL


@pytest.mark.parametrize("processes", [1, len(ALL) + 1])
def test_fewer_or_more_than_processors_run_anywhere(processes: int) -> None:
    def at() -> set[int]:
        keep_to_one(0, processes)
        return allowed()

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(at).result() == ALL


def test_what_a_kept_thread_starts_is_kept_too_but_for_what_may_run_anywhere() -> None:
    first = min(ALL)

    def started() -> tuple[object, ...]:
        before = of_a_process()
        with anywhere():
            free = of_a_process()
        after = of_a_process()
        threads = FairThreads(1, "kept"), FairThreads(1, "free", begin=run_anywhere)
        found = [each.submit("folk", allowed).result() for each in threads]
        for each in threads:
            each.shutdown()
        return (before, free, after, *found)

    assert kept(started) == (str([first]), str(sorted(ALL)), str([first]), {first}, ALL)


def test_processes_forked_for_a_kept_thread_run_anywhere() -> None:
    before = {*children_of(os.getpid())}
    forks = Forks("services.replaying", lambda: os.environ)

    def forked() -> object:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            forks.fork([theirs.fileno()] * 2)
        (process,) = {*children_of(os.getpid())} - before
        return os.sched_getaffinity(process)

    try:
        assert kept(forked) == ALL
    finally:
        forks.close()


def test_as_many_weighers_as_processors_keep_to_one_each() -> None:
    before = {*children_of(os.getpid())}
    with Weighers(len(ALL), lambda: nullcontext(lambda *_: {})):
        weighers = {*children_of(os.getpid())} - before
        wait_until(lambda: all(len(os.sched_getaffinity(each)) == 1 for each in weighers))
        found = [os.sched_getaffinity(each) for each in weighers]
    assert len(found) == len(ALL)
    assert set().union(*found) == ALL


def test_a_thread_is_kept_again_where_what_it_started_failed() -> None:
    def failed() -> set[int]:
        with pytest.raises(OSError, match="none"), anywhere():
            raise OSError("none")
        return allowed()

    assert kept(failed) == {min(ALL)}
