"""Work of concurrent callers that is done together: a transaction that waits for the disk once, or one statement."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Final, Generic, TypeVar, cast

from ledger.errors import or_raise
from ledger.store.postgres.sleepers import Sleeper

Item = TypeVar("Item")
Result = TypeVar("Result")

GROUP_MAX: Final = 32
"""Items done together: bounds a transaction, and how long one caller works for others."""


class Groups(Generic[Item, Result]):
    """Does items of one key together. One caller does the work of all who wait; meanwhile others gather.

    Nobody waits on purpose: an item that comes alone is done alone. Each caller that waits is woken once, when its
    item is done, or as the next one who works.

    Args:
        do_all: returns a result for each item, which is never None, or the error of that item; or raises and has done
            nothing.
        most: items done together.
        at_once: how many callers work at the same time for a key.
        conflicts: errors that say that one item conflicts with another, or is at fault itself; each item is then done
            alone. Any other error is raised for all.
    """

    def __init__(
        self,
        do_all: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        conflicts: tuple[type[Exception], ...] = (),
        *,
        most: int = GROUP_MAX,
        at_once: int = 1,
    ) -> None:
        self._do_all = do_all
        self._conflicts = conflicts
        self._most = most
        self._at_once = at_once
        self._guard = Lock()
        self._waiting: dict[Hashable, list[_Asked[Item, Result]]] = {}
        """Those who wait for a caller that works now, by key; a key without such a caller is absent."""
        self._working: Counter[Hashable] = Counter()

    def do(self, key: Hashable, item: Item) -> Result:
        """Returns the item's result, or raises its error."""
        return or_raise(*self.do_all(key, [item]))

    def do_all(self, key: Hashable, items: Sequence[Item]) -> list[Result | Exception]:
        """Returns of each item of one caller its result or its error."""
        asked = [_Asked[Item, Result](item) for item in items]
        with self._guard:
            works = self._working[key] < self._at_once
            self._working[key] += works
            self._waiting.setdefault(key, []).extend(asked[works:])
        for place, each in enumerate(asked):
            if place or not works:
                each.wait()
            if each.outcome is None:
                self._work(key, each)
        return [cast("Result | Exception", each.outcome) for each in asked]

    def _work(self, key: Hashable, first: _Asked[Item, Result]) -> None:
        with self._guard:
            waiting = self._waiting[key]
            group = [first, *waiting[: self._most - 1]]
            del waiting[: self._most - 1]
        try:
            self._answer(group)
        finally:
            with self._guard:
                following = waiting.pop(0) if waiting else None
                if following is None:
                    self._working[key] -= 1
                    if not self._working[key]:
                        del self._waiting[key], self._working[key]
            for each in (following, *group[1:]):
                if each is not None:
                    each.wake()

    def _answer(self, group: Sequence[_Asked[Item, Result]]) -> None:
        try:
            found = self._do_all([each.item for each in group])
        except Exception as error:  # noqa: BLE001  # it is raised where the item was asked for
            if len(group) > 1 and isinstance(error, self._conflicts):
                for alone in group:
                    self._answer([alone])
                return
            for each in group:
                each.outcome = error
            return
        for each, outcome in zip(group, found, strict=True):
            each.outcome = outcome


class _Asked(Sleeper, Generic[Item, Result]):
    """An item that a caller waits for."""

    __slots__ = ("item", "outcome")

    def __init__(self, item: Item) -> None:
        super().__init__()
        self.item = item
        self.outcome: Result | Exception | None = None
        """What `do_all` found; None until then."""
