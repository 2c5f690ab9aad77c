"""A store in memory that behaves as Postgres does where the rules rest on it: READ COMMITTED, row locks, unique keys.

A model to check the rules with, and no stand-in for storage: whether Postgres behaves like this is what the tests on
Postgres are for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Key = tuple[Any, ...]


class TakenError(Exception):
    """A row with this key is there."""


class Store:
    """Committed rows, the locks that transactions hold, and every commit in order, for a standby to lag behind by."""

    def __init__(self) -> None:
        self.rows: dict[Key, Any] = {}
        self.commits: list[dict[Key, Any]] = []
        self.locks: dict[Key, Transaction] = {}
        self.timeline = 0

    def fail_over(self, lost: int) -> None:
        """Become the standby that lacks the last commits; whoever has a transaction loses it."""
        del self.commits[max(1, len(self.commits) - lost) :]
        self.rows = {}
        for commit in self.commits:
            self.rows.update(commit)
        self.locks.clear()
        self.timeline += 1


class Transaction:
    """One transaction. It sees its own rows, and those of others once they are committed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.timeline = store.timeline
        self._rows: dict[Key, Any] = {}
        self._locked: list[Key] = []

    def get(self, *key: Any) -> Any:
        """A row; None where there is none."""
        return self._rows[key] if key in self._rows else self._store.rows.get(key)

    def put(self, *key: Any, row: Any) -> None:
        """Write a row that only whoever has its lock writes."""
        self._rows[key] = row

    def lock(self, *key: Any) -> Iterator[None]:
        """Wait for a lock, which is kept until the end."""
        while (holder := self._store.locks.setdefault(key, self)) is not self:
            assert holder is not None
            yield
        self._locked.append(key)

    def insert(self, *key: Any, row: Any) -> Iterator[None]:
        """Insert a row, once nobody else is about to insert one with its key.

        Raises:
            TakenError: there is one.
        """
        yield from self.lock("unique", *key)
        if self.get(*key) is not None:
            raise TakenError(key)
        self._rows[key] = row

    def commit(self) -> None:
        """Make the rows visible, and let go of the locks."""
        if self._rows:
            self._store.rows.update(self._rows)
            self._store.commits.append(self._rows)
        self._let_go()

    def abort(self) -> None:
        """Forget the rows, and let go of the locks."""
        self._let_go()

    def _let_go(self) -> None:
        for key in self._locked:
            if self._store.locks.get(key) is self:
                del self._store.locks[key]
        self._locked.clear()
        self._rows = {}
