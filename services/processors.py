"""On which processors a thread runs.

Threads of one process take the interpreter from each other. On several processors, each time another one has to be
woken for that; on a single one, the next thread goes on where the last one stopped, with what is in the cache. Nor has
a process that computes all the time to fill another processor's cache there. A thread runs where the one that starts it
may run, and so does a process. Source: sched_setaffinity(2).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final


def _allowed() -> frozenset[int]:
    """Those that this thread may run on; none where a system does not say."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


_ALLOWED: Final = _allowed()
"""Those that this process was given."""


def keep_to_one(place: int, processes: int) -> None:
    """Keep this thread, and what it starts, to the processor of this process, which is one of so many of a kind.

    This does nothing unless there is one processor for each: whoever runs fewer of them may run others beside, which
    would choose the same ones.
    """
    if processes == len(_ALLOWED):
        _run_on(frozenset({sorted(_ALLOWED)[place]}))


def run_anywhere() -> None:
    """Let this thread, and what it starts, run on all processors again: it computes without the interpreter."""
    _run_on(_ALLOWED)


@contextmanager
def anywhere() -> Iterator[None]:
    """What is started within may run on all processors."""
    before = _allowed()
    run_anywhere()
    try:
        yield
    finally:
        _run_on(before)


def _run_on(processors: frozenset[int]) -> None:
    if processors:
        with suppress(OSError):  # those that it had were taken from it meanwhile; it runs on what is left
            os.sched_setaffinity(0, processors)
