"""What can be checked of the registry, which is not a projection of any log: pools, and names that logs use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise, repeat
from typing import Any, Final

import numpy as np
import sqlalchemy as sa

from audit.fsck.report import CheckReport, shown_row
from audit.fsck.rows import compare
from audit.fsck.stored import key_of, read_by_index, stored_rows
from ledger.log.leaves import Leaf
from ledger.store import tables as lt
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.pools.turns import Turn
from ledger.store.tables import metadata
from ledger.usage.batch import Int64Array
from payout.entries import PoolContent


@dataclass(slots=True)
class Registry:
    """Pools, and the store's numbers of platforms and collectives by name.

    A missing name is looked up again before it is a finding: on a cluster, a node's snapshot starts when the node is
    first asked, so a pool's log may name what was registered after the registry was read.

    Attributes:
        pools: every pool but the registry.
        platform_ids: numbers of platforms.
        collective_ids: numbers of collectives.
        read_now: reads the registry as it is now; None if nothing can have been registered meanwhile.
    """

    pools: list[PoolRef]
    platform_ids: dict[str, int]
    collective_ids: dict[str, int]
    read_now: Callable[[], Registry] | None = None
    _in_vain: set[str] = field(default_factory=set)
    """Names that were looked up again and not found."""
    _numbered: tuple[Sequence[str], Int64Array] = ((), np.zeros(0, dtype=np.int64))
    """The names of the last batch, and the numbers of collectives that have them."""

    def look_again(self) -> None:
        """Take in what was registered meanwhile."""
        if self.read_now:
            now = self.read_now()
            self.pools = now.pools
            self.platform_ids |= now.platform_ids
            self.collective_ids |= now.collective_ids

    def _missing(self, names: Iterable[str], known: Mapping[str, int]) -> list[str]:
        wanted = [name for name in names if name not in known]
        if not self._in_vain.issuperset(wanted):
            self.look_again()
            wanted = [name for name in wanted if name not in known]
            self._in_vain.update(wanted)
        return wanted

    def require_platform(self, name: str, leaf_index: int, report: CheckReport) -> int | None:
        """Returns the platform's number; reports a finding if no platform has this name."""
        if self._missing([name], self.platform_ids):
            report.add("platform", f"name={name}", "row", "none", f"a row: leaf {leaf_index} names it")
        return self.platform_ids.get(name)

    def require_collectives(
        self, names: Sequence[str], named: Int64Array, leaf_index: int, report: CheckReport
    ) -> None:
        """Report each name, of those at the places `named`, that no collective has."""
        numbers = self.numbers_of(names)
        places = named[numbers[named] == 0].tolist()
        missing = self._missing([names[place] for place in places], self.collective_ids)
        for place in places:  # some may have been registered meanwhile
            numbers[place] = self.collective_ids.get(names[place], 0)
        for name in missing:
            expected = f"a row: leaf {leaf_index} names it"
            report.add("collective", f"name={name}", "row", "none", expected, leaf_index=leaf_index)

    def numbers_of(self, names: Sequence[str]) -> Int64Array:
        """Returns the numbers of collectives, (n,); 0 for those that have none. `names` may grow afterwards."""
        known, numbers = self._numbered
        if known is not names and known != names:
            known, numbers = names, np.zeros(0, dtype=np.int64)
        if len(numbers) < len(names):
            more = map(self.collective_ids.get, islice(names, len(numbers), None), repeat(0))
            numbers = np.concatenate([numbers, np.fromiter(more, dtype=np.int64)])
            self._numbered = known, numbers
        return numbers


def read_registry(connection: sa.Connection, read_now: Callable[[], Registry] | None = None) -> Registry:
    """Read everything that is registered; `read_now` reads it again, in a transaction of its own."""
    unheeded = CheckReport()  # what is wrong with these rows is found where they are compared

    def read(*columns: sa.Column[Any]) -> Iterator[tuple[Any, ...]]:
        rows = stored_rows(connection, sa.select(*columns).order_by(columns[-1]), unheeded)
        return (tuple(row.values()) for row in rows)

    pools = (
        PoolRef(number, name or f"pool_id={number}", currency, distribute)
        for distribute, currency, name, number in read(
            lt.pool.c.distribute, lt.pool.c.currency, lt.pool.c.name, lt.pool.c.pool_id
        )
    )
    return Registry(
        [pool for pool in pools if pool.pool_id != REGISTRY.pool_id],
        dict(read(lt.platform.c.name, lt.platform.c.platform_id)),
        dict(read(lt.collective.c.name, lt.collective.c.collective_id)),
        read_now,
    )


def check_pool_row(connection: sa.Connection, pool: PoolRef, first: Leaf[PoolContent], report: CheckReport) -> None:
    """Check that a pool's row agrees with the first leaf of its log."""
    query = sa.select(lt.pool).where(lt.pool.c.pool_id == pool.pool_id)
    following = {
        "name": first.pool,
        "display_name": first.content.display_name,
        "currency": first.content.currency,
        "distribute": first.content.distribute,
        "created_at": first.time,
    }
    for row in stored_rows(connection, query, report):
        report.count(lt.pool.name)
        for column, value in following.items():
            if row[column] != value:
                report.add(lt.pool.name, shown_row(row, key_of(lt.pool)), column, row[column], value)


def check_turns(connection: sa.Connection, pool_id: int, report: CheckReport) -> None:
    """Check that a pool has one row for each turn: without its row, a turn excludes nobody."""
    query = sa.select(lt.turn.c.kind).where(lt.turn.c.pool_id == pool_id).order_by(lt.turn.c.kind)
    stored = [{"kind": row["kind"]} for row in stored_rows(connection, query, report)]
    compare(report, lt.turn, stored, [{"kind": turn.value} for turn in Turn])


def check_strays(connection: sa.Connection, registry: Registry, report: CheckReport) -> Iterator[str]:
    """Report rows of pools that do not exist, in every table of pools; yields each table's name before reading it.

    The keys of these tables begin with the pool's number, so the index leads to the rows of no pool, and past others.
    """
    read_by_index(connection)
    for table in metadata.sorted_tables:
        if "pool_id" not in table.columns or table is lt.pool:
            continue
        yield table.name
        for pool_id, rows in _strays(connection, table, registry):
            key, expected = f"pool_id={pool_id}", "none: this pool does not exist"
            report.add(table.name, key, "row", f"{rows} rows", expected, count=rows)


_GAPS_AT_ONCE: Final = 50
"""Gaps between numbers of pools that one query asks for."""


def _strays(connection: sa.Connection, table: sa.Table, registry: Registry) -> list[tuple[int, int]]:
    """Returns (pool's number, rows) for each pool that does not exist, not even now."""
    known = sorted({REGISTRY.pool_id, *(pool.pool_id for pool in registry.pools)})
    gaps = [table.c.pool_id < known[0]]
    gaps += [
        (table.c.pool_id > before) & (table.c.pool_id < after)
        for before, after in pairwise(known)
        if after > before + 1
    ]
    gaps.append(table.c.pool_id > known[-1])
    strays: list[tuple[int, int]] = []
    for start in range(0, len(gaps), _GAPS_AT_ONCE):
        query = (
            sa.select(table.c.pool_id, sa.func.count().label("rows"))
            .where(sa.or_(*gaps[start : start + _GAPS_AT_ONCE]))
            .group_by(table.c.pool_id)
            .order_by(table.c.pool_id)
        )
        strays += [(row.pool_id, row.rows) for row in connection.execute(query)]
    if strays:
        registry.look_again()
    now = {pool.pool_id for pool in registry.pools}
    return [stray for stray in strays if stray[0] not in now]
