"""Platforms, collectives and pools in Postgres."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.acts.collectives import collective_content, collective_of
from ledger.acts.entries import CollectiveContent, PlatformContent
from ledger.errors import AlreadyExistsError, NotFoundError, stored
from ledger.income import Distribute
from ledger.registry import Collective, CollectiveStatus, Platform, is_resource_id
from ledger.store import domains, log, turns
from ledger.store import tables as t
from ledger.store.acts import REGISTRY, Effect, append_act
from ledger.store.conflicts import taken_keys
from ledger.store.database import Database
from ledger.store.log import PoolRef
from ledger.store.transactions import driver_connection
from ledger.usage.batch import Int64Array

_REF: Final = (t.pool.c.pool_id, t.pool.c.name, t.pool.c.currency, t.pool.c.distribute)


@dataclass(frozen=True, slots=True)
class PoolRecord:
    """A pool as people see it."""

    ref: PoolRef
    display_name: str
    log_size: int
    created_at: datetime


def _register_platform(connection: sa.Connection, pool: PoolRef, content: PlatformContent, now: datetime) -> Platform:
    leaf_index = append_act(connection, pool, content, now)
    row = {"name": content.platform, "display_name": content.display_name}
    connection.execute(sa.insert(t.platform).values(leaf_index=leaf_index, created_at=now, **row))
    return Platform(content.platform, content.display_name, now)


def _standing_platform(connection: sa.Connection, _: PoolRef, content: PlatformContent) -> Platform | None:
    """Returns the platform, if it is registered with this content.

    Raises:
        AlreadyExistsError: it is registered with other content.
    """
    for found in list_platforms(connection, only=content.platform, limit=1):
        if found.display_name != content.display_name:
            raise AlreadyExistsError(f"platforms/{content.platform}")
        return found
    return None


REGISTER_PLATFORM: Final = Effect(PlatformContent, _register_platform, _standing_platform)
"""Registers a platform. Returns a `Platform`."""


def get_platform(connection: sa.Connection, name: str) -> Platform:
    """Returns the platform.

    Raises:
        NotFoundError: no platform has this id.
    """
    for found in list_platforms(connection, only=name, limit=1):
        return found
    raise NotFoundError(f"platforms/{name}")


def list_platforms(
    connection: sa.Connection, *, after: str = "", limit: int = 1000, only: str | None = None
) -> list[Platform]:
    """Returns platforms by name."""
    rows = connection.execute(_page(t.platform, after, limit, only)).all()
    with stored("a platform"):
        return [Platform(row.name, row.display_name, row.created_at) for row in rows]


def platform_number(connection: sa.Connection, name: str) -> int:
    """Returns the store's number of a platform. Connections remember it, since platforms are never removed.

    Raises:
        NotFoundError: no platform has this id.
    """
    number = find_platform(connection, name)
    if number is None:
        raise NotFoundError(f"platforms/{name}")
    return number


def find_platform(connection: sa.Connection, name: str) -> int | None:
    """Returns the store's number of a platform, like `platform_number`; None if no platform has this id."""
    known: dict[str, int] = connection.info.setdefault(find_platform, {})
    if name not in known:
        found = connection.execute(sa.select(t.platform.c.platform_id).where(t.platform.c.name == name)).scalar()
        if found is None:
            return None
        known[name] = int(found)
    return known[name]


def platform_names(connection: sa.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Returns the ids of platforms by the store's numbers."""
    among = t.platform.c.platform_id == sa.any_(sa.literal(list(numbers), sa.ARRAY(sa.Integer)))
    query = sa.select(t.platform.c.platform_id, t.platform.c.name).where(among)
    return {row.platform_id: row.name for row in connection.execute(query)}


def _put_collective(connection: sa.Connection, pool: PoolRef, content: CollectiveContent, now: datetime) -> Collective:
    collective = collective_of(content, log.checked_body(connection, pool, bytes.fromhex(content.domains_sha256)))
    leaf_index = append_act(connection, pool, content, now)
    details = {**_details(collective), "leaf_index": leaf_index}
    added = insert(t.collective).values(name=collective.name, created_at=now, **details)
    upsert = added.on_conflict_do_update(index_elements=[t.collective.c.name], set_=details)
    number = connection.execute(upsert.returning(t.collective.c.collective_id)).scalar_one()
    domains.claim(connection, number, collective)
    return get_collective(connection, collective.name)


def _standing_collective(connection: sa.Connection, _: PoolRef, content: CollectiveContent) -> Collective | None:
    for found in list_collectives(connection, only=content.collective, limit=1):
        if collective_content(found).said() == content.said():
            return found
    return None


def _collective_version(connection: sa.Connection, _: PoolRef, content: CollectiveContent) -> dict[str, str]:
    query = sa.select(t.collective.c.leaf_index).where(t.collective.c.name == content.collective)
    return {f"collectives/{content.collective}": str(connection.execute(query).scalar())}


PUT_COLLECTIVE: Final = Effect(CollectiveContent, _put_collective, _standing_collective, rests_on=_collective_version)
"""Registers a collective, or replaces its data; the body of its domains is kept already.

Returns a `Collective`.

Raises StateError if another collective has one of its domains.
"""


def get_collective(connection: sa.Connection, name: str) -> Collective:
    """Returns the collective.

    Raises:
        NotFoundError: no collective has this id.
    """
    for found in list_collectives(connection, only=name, limit=1):
        return found
    raise NotFoundError(f"collectives/{name}")


# Raw SQL: this check is most of the cost of asking for a balance that does not exist yet.
_COLLECTIVE: Final = "SELECT FROM collective WHERE name = %s"


def require_collective(connection: sa.Connection, name: str) -> None:
    """Check that a collective is registered.

    Raises:
        NotFoundError: no collective has this id.
    """
    if not driver_connection(connection).execute(_COLLECTIVE, (name,), prepare=True).rowcount:
        raise NotFoundError(f"collectives/{name}")


def list_collectives(
    connection: sa.Connection, *, after: str = "", limit: int | None = None, only: str | None = None
) -> list[Collective]:
    """Returns collectives by the bytes of their name; all of them without a limit."""
    columns = t.collective.c
    query = _page(t.collective, after, limit, only).with_only_columns(
        columns.name,
        columns.display_name,
        columns.members,
        columns.equity_ppm,
        columns.status,
        domains.of_collective(),
        columns.created_at,
    )
    # There may be a million: one by one, and by the names of columns, they take half as long again.
    rows = connection.execute(query).all()
    with stored("a collective"):
        return [
            Collective(name, display_name, members, equity_ppm, _STATUSES[status], tuple(sorted(mapped or ())), created)
            for name, display_name, members, equity_ppm, status, mapped, created in rows
        ]


_STATUSES: Final = {status.value: status for status in CollectiveStatus}


# Raw SQL: every round reads all of them, of which there may be a million.
_PAID: Final = 'SELECT name, members, equity_ppm, status FROM collective ORDER BY name COLLATE "C"'
_CHANGED: Final = "SELECT FROM collective WHERE leaf_index >= %s LIMIT 1"


def paid_collectives(connection: sa.Connection) -> list[Collective]:
    """Returns all collectives by the bytes of their name, with whatever of them affects an amount.

    Like those of a round's snapshot, they have their ids in place of display names.
    """
    found = driver_connection(connection).cursor(binary=True).execute(_PAID, prepare=True).fetchall()
    with stored("a collective"):
        return [
            Collective(name, name, members, equity_ppm, _STATUSES[status])
            for name, members, equity_ppm, status in cast("list[tuple[str, int, int, str]]", found)
        ]


def changed_since(connection: sa.Connection, registry_size: int) -> bool:
    """Whether a collective was registered or changed after the registry's log had this size."""
    return bool(driver_connection(connection).execute(_CHANGED, (registry_size,), prepare=True).rowcount)


def _details(collective: Collective) -> dict[str, Any]:
    return {
        "display_name": collective.display_name,
        "members": collective.members,
        "equity_ppm": collective.equity_ppm,
        "status": collective.status.value,
    }


def collective_names(connection: sa.Connection) -> dict[int, str]:
    """Returns the name of every collective by the store's number."""
    found = driver_connection(connection).execute(_NAMES, prepare=True).fetchall()
    return dict(cast("list[tuple[int, str]]", found))


_NAMES: Final = "SELECT collective_id, name FROM collective"


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
    counted = driver_connection(connection).execute(query, asked, prepare=True)
    have_marks = _ask_marks(connection, marks)

    def require_numbers() -> None:
        if counted.fetchone() != (1 + len(platforms),) or not have_marks():
            raise NumbersChangedError

    return require_numbers


def _ask_marks(connection: sa.Connection, marks: Collection[Mark]) -> Callable[[], bool]:
    """Asks whether the database has these; returns what waits for the answer."""
    driver = driver_connection(connection)
    counted = [
        driver.execute(_COUNT_MARK, (mark.leaf_index, mark.leaf_hash, REGISTRY.pool_id), prepare=True) for mark in marks
    ]
    return lambda: all(each.fetchone() == (1,) for each in counted)


def insert_pool(
    connection: sa.Connection,
    name: str,
    display_name: str,
    currency: str,
    now: datetime,
    distribute: str = Distribute.RECEIVED,
) -> PoolRef:
    """Create a pool with an empty log.

    Raises:
        AlreadyExistsError: a pool has that name, or it is the name of the registry's log.
    """
    values = {
        "name": name,
        "display_name": display_name,
        "currency": currency,
        "distribute": distribute,
        "created_at": now,
    }
    pool_id = _inserted(connection, t.pool.c.pool_id, values)
    if pool_id is None:
        raise AlreadyExistsError(f"pools/{name}")
    log.open_log(connection, pool_id)
    turns.open_turns(connection, pool_id)
    return PoolRef(pool_id, name, currency, distribute)


def get_pool(connection: sa.Connection, name: str) -> PoolRecord:
    """Returns the pool.

    Raises:
        NotFoundError: no pool has this id.
    """
    for found in list_pools(connection, only=name, limit=1):
        return found
    raise NotFoundError(f"pools/{name}")


def pool_ref(connection: sa.Connection, name: str) -> PoolRef:
    """Returns the pool as the store knows it. Connections remember it, since none of it ever changes.

    Raises:
        NotFoundError: no pool has this id.
    """
    known: dict[str, PoolRef] = connection.info.setdefault(pool_ref, {})
    if name not in known:
        # Without the log's size: this asks only the registry, whatever nodes the pools are on.
        query = sa.select(*_REF).where(t.pool.c.name == name, t.pool.c.pool_id != REGISTRY.pool_id)
        row = connection.execute(query).first()
        if row is None:
            raise NotFoundError(f"pools/{name}")
        known[name] = PoolRef(*row)
    return known[name]


def pool_refs(connection: sa.Connection) -> list[PoolRef]:
    """Returns every pool as the store knows it, and the registry, which has a log like them."""
    return [PoolRef(*row) for row in connection.execute(sa.select(*_REF).order_by(t.pool.c.pool_id))]


def list_pools(
    connection: sa.Connection,
    *,
    after: str = "",
    limit: int | None = None,
    only: str | None = None,
    among: Collection[str] | None = None,
) -> list[PoolRecord]:
    """Returns pools by name; with `among`, those alone that it names."""
    query = _page(t.pool, after, limit, only).where(t.pool.c.pool_id != REGISTRY.pool_id)
    if among is not None:
        query = query.where(t.pool.c.name.in_(among))
    rows = {PoolRef(row.pool_id, row.name, row.currency, row.distribute): row for row in connection.execute(query)}
    if not rows:
        return []
    heads = log.read_heads(connection, list(rows))
    return [PoolRecord(ref, rows[ref].display_name, size, rows[ref].created_at) for ref, size, _ in heads]


def _inserted(connection: sa.Connection, number: sa.Column[int], values: dict[str, Any]) -> int | None:
    """Returns the store's number of the new row; None if a row has its name already."""
    # Not with ON CONFLICT: some distributed databases require rights for it that the service does not have.
    try:
        with connection.begin_nested(), taken_keys(_NameTakenError):
            return connection.execute(sa.insert(number.table).values(values).returning(number)).scalar_one()
    except _NameTakenError:
        return None


class _NameTakenError(Exception):
    """A row of the registry has this name already."""


def _page(table: sa.Table, after: str, limit: int | None, only: str | None) -> sa.Select[Any]:
    # The "C" collation orders by bytes, as allocation does.
    name = table.c.name.collate("C")
    query = sa.select(table).where(name > after).order_by(name).limit(limit)
    return query if only is None else query.where(table.c.name == only)
