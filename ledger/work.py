"""Work that may be begun before its result is waited for: by threads, where a caller has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Submit(Protocol):
    """Begins work, and gives what waits for its result."""

    def __call__(self, work: Callable[[], T], /) -> Callable[[], T]: ...


def at_once(work: Callable[[], T]) -> Callable[[], T]:
    """Do the work before going on."""
    done = work()
    return lambda: done
