"""Group commit: requests of concurrent callers are done together, and wait for the disk once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

GROUP_MAX: Final = 32
"""Items done together: bounds a transaction, and how long one caller works for others."""


class Groups(Generic[Item, Result]):
    """Does items of one key together. One caller does the work of all who wait; meanwhile others gather.

    Args:
        do_all: returns a result for each item, or raises and has done nothing.
        conflicts: errors that say that one item conflicts with another, or is at fault itself; each item is then done
            alone. Any other error is raised for all.
    """

    def __init__(
        self, do_all: Callable[[Sequence[Item]], Sequence[Result]], conflicts: tuple[type[Exception], ...]
    ) -> None:
        self._do_all = do_all
        self._conflicts = conflicts
        self._guard = Lock()
        self._waiting: defaultdict[int, list[tuple[Item, Future[Result]]]] = defaultdict(list)
        self._turns: defaultdict[int, Lock] = defaultdict(Lock)

    def do(self, key: int, item: Item) -> Result:
        """Returns the item's result, or raises its error."""
        answer: Future[Result] = Future()
        with self._guard:
            self._waiting[key].append((item, answer))
            turn = self._turns[key]
        with turn:
            while not answer.done():
                self._answer(self._next(key))
        return answer.result()

    def _next(self, key: int) -> list[tuple[Item, Future[Result]]]:
        with self._guard:
            group, self._waiting[key] = self._waiting[key][:GROUP_MAX], self._waiting[key][GROUP_MAX:]
        return group

    def _answer(self, group: list[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self._do_all([item for item, _ in group])
        except Exception as error:  # noqa: BLE001  # it is raised where the item was asked for
            if len(group) > 1 and isinstance(error, self._conflicts):
                for alone in group:
                    self._answer([alone])
                return
            for _, answer in group:
                answer.set_exception(error)
            return
        for (_, answer), result in zip(group, results, strict=True):
            answer.set_result(result)
