"""The store's numbers of collectives: remembered, and checked again in the transaction that writes them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import sqlalchemy as sa

from ledger.registry import is_resource_id
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import ask
from ledger.usage.batch import Int64Array


class NumbersChangedError(Exception):
    """The database does not have the numbers that something was prepared with: it is not the one that was asked."""


class Mark(NamedTuple):
    """A leaf of the registry's log. A database that has it has the whole log before it, and the rows that follow."""

    leaf_index: int
    leaf_hash: bytes


class Numbered(NamedTuple):
    """Collectives by the store's numbers.

    numbers: (c,) the number of each name; 0 for a name that is not registered.
    mark: what a database must have for these numbers to be its own; None if there is none among them.
    """

    numbers: Int64Array
    mark: Mark | None


class CollectiveNumbers:
    """The store's numbers of collectives, by name.

    The cache is never relied on: after a failover or a restore, the database may have given the same number to
    another collective, or to none. So whoever writes with a number calls `ask_numbers` in that transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: tuple[dict[str, int], Mark | None] = {}, None
        self._last: tuple[tuple[str, ...], Numbered] = (), Numbered(np.zeros(0, dtype=np.int64), None)

    def of(self, names: tuple[str, ...]) -> Numbered:
        """Returns the number of each name; `names` are ids, each once."""
        # The batches of a stream mostly have the same dictionary.
        last_names, last = self._last
        if names == last_names:
            return last
        known, mark = self._known
        missing = [name for name in names if name not in known]
        if missing:
            with self._database.transaction() as asked:
                if mark and not _ask_marks(asked, [mark])():
                    known, mark, missing = {}, None, list(names)
                found, newest = _numbers_as_of(asked, missing)
            known, mark = known | found, max(filter(None, (mark, newest)), default=None)
            self._known = known, mark
        found_all = Numbered(_in_order(names, known), mark)
        if found_all.numbers.all():
            self._last = names, found_all
        return found_all

    def forget(self) -> None:
        """Look up every number again, on new connections: old connections remember numbers too."""
        self._known = {}, None
        self._last = (), Numbered(np.zeros(0, dtype=np.int64), None)
        self._database.close()


def collective_numbers(connection: sa.Connection, names: Sequence[str]) -> Int64Array:
    """Returns (c,) the number of each name, 0 for one that is not registered. All are looked up here and now."""
    return _in_order(names, {row.name: row.collective_id for row in _registered(connection, names)})


def _numbers_as_of(connection: sa.Connection, names: Sequence[str]) -> tuple[dict[str, int], Mark | None]:
    rows = _registered(connection, names)
    if not rows:
        return {}, None
    newest = max(row.leaf_index for row in rows)
    leaf_hash = log.read_leaf(connection, REGISTRY, newest).hash
    return {row.name: row.collective_id for row in rows}, Mark(newest, leaf_hash)


def _registered(connection: sa.Connection, names: Sequence[str]) -> Sequence[Any]:
    # No collective has any other name; one may be megabytes, or what a Postgres text cannot contain.
    asked = [name for name in names if is_resource_id(name)]
    among = t.collective.c.name == sa.any_(sa.literal(asked, sa.ARRAY(sa.Text)))
    return connection.execute(
        sa.select(t.collective.c.name, t.collective.c.collective_id, t.collective.c.leaf_index).where(among)
    ).all()


def _in_order(names: Sequence[str], numbers: Mapping[str, int]) -> Int64Array:
    return np.fromiter((numbers.get(name, 0) for name in names), dtype=np.int64, count=len(names))


# By scalars: Postgres plans a statement with an array anew each time, which takes longer than to run it.
_COUNT_POOL: Final = "SELECT (SELECT count(*) FROM pool WHERE name = %s AND pool_id = %s)"
_COUNT_PLATFORM: Final = " + (SELECT count(*) FROM platform WHERE name = %s AND platform_id = %s)"
_COUNT_MARK: Final = "SELECT count(*) FROM leaf WHERE leaf_index = %s AND hash = %b AND pool_id = %s"


def ask_numbers(
    connection: sa.Connection, pool: PoolRef, platforms: Mapping[str, int], marks: Collection[Mark]
) -> Callable[[], None]:
    """Ask whether the database has the pool, platforms and collectives under the numbers that something was prepared
    with, which stays true until the end of the transaction. Returns what waits for the answer.

    Args:
        connection: the one that writes; in a pipeline, this does not wait for the answer.
        pool: the pool.
        platforms: the number of each platform by name.
        marks: those of `CollectiveNumbers`. A few bytes, where the names of a large batch take as long as its ids.

    Raises:
        NumbersChangedError: while waiting, if the database does not have them, so they came from another one.
    """
    asked = (pool.name, pool.pool_id, *(part for platform in sorted(platforms.items()) for part in platform))
    query = _COUNT_POOL + _COUNT_PLATFORM * len(platforms)
    counted = ask(connection, query, asked)
    have_marks = _ask_marks(connection, marks)

    def require_numbers() -> None:
        if counted.fetchone() != (1 + len(platforms),) or not have_marks():
            raise NumbersChangedError

    return require_numbers


def _ask_marks(connection: sa.Connection, marks: Collection[Mark]) -> Callable[[], bool]:
    """Asks whether the database has these; returns what waits for the answer."""
    counted = [ask(connection, _COUNT_MARK, (mark.leaf_index, mark.leaf_hash, REGISTRY.pool_id)) for mark in marks]
    return lambda: all(each.fetchone() == (1,) for each in counted)
