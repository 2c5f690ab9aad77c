"""Work that can start before anyone waits for its result, in threads if the caller has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Submit(Protocol):
    """Starts work, and returns what waits for its result."""

    def __call__(self, work: Callable[[], T], /) -> Callable[[], T]: ...


def at_once(work: Callable[[], T]) -> Callable[[], T]:
    """Do the work at once."""
    done = work()
    return lambda: done
