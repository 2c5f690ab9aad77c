"""Remembers what was derived last from what never changes, within a limit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

V = TypeVar("V")


class Kept(Generic[V]):
    """Values by key. Those that were asked for last are kept; the last one always is. Threads may share it.

    Args:
        most: the sizes of all of them together, at most.
        size: how large a value is.
    """

    def __init__(self, most: int, size: Callable[[V], int] = lambda _: 1) -> None:
        self._most, self._size = most, size
        self._values: OrderedDict[Hashable, V] = OrderedDict()
        self._sizes = 0
        self._lock = Lock()

    def find(self, key: Hashable) -> V | None:
        """The value under a key, if it is kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: Hashable, value: V) -> None:
        """Keep a value; one that is there already stays, for it was derived from the same."""
        with self._lock:
            if key in self._values:
                return
            self._values[key] = value
            self._sizes += self._size(value)
            while self._sizes > self._most and len(self._values) > 1:
                self._sizes -= self._size(self._values.popitem(last=False)[1])
