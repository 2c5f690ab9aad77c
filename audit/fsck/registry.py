"""What can be checked of the registry, which is no projection of any log: pools, and names that logs use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa

from audit.fsck.report import CheckReport
from audit.fsck.rows import compare, stored_rows
from ledger.log.leaves import Leaf
from ledger.store import tables as lt
from ledger.store.acts import REGISTRY
from ledger.store.log import PoolRef
from ledger.store.tables import metadata
from ledger.store.turns import Turn
from payout.entries import PoolContent


@dataclass(frozen=True, slots=True)
class Registry:
    """Pools, and the store's numbers of platforms and collectives by name."""

    pools: list[PoolRef]
    platform_ids: dict[str, int]
    collective_ids: dict[str, int]

    def require_platform(self, name: str, leaf_index: int, report: CheckReport) -> int | None:
        """The platform's number; a finding where no platform has this name."""
        if name not in self.platform_ids:
            report.add("platform", f"name={name}", "row", "none", f"a row: leaf {leaf_index} names it")
        return self.platform_ids.get(name)

    def require_collectives(self, names: tuple[str, ...], leaf_index: int, report: CheckReport) -> None:
        """A finding for each name that no collective has."""
        for name in names:
            if name not in self.collective_ids:
                report.add("collective", f"name={name}", "row", "none", f"a row: leaf {leaf_index} names it")


def read_registry(connection: sa.Connection) -> Registry:
    """Everything that is registered."""
    pools = sa.select(lt.pool.c.pool_id, lt.pool.c.name, lt.pool.c.currency).order_by(lt.pool.c.pool_id)
    pools = pools.where(lt.pool.c.pool_id != REGISTRY.pool_id)
    return Registry(
        [PoolRef(**row) for row in stored_rows(connection, pools)],
        {row["name"]: row["platform_id"] for row in stored_rows(connection, sa.select(lt.platform))},
        {row["name"]: row["collective_id"] for row in stored_rows(connection, sa.select(lt.collective))},
    )


def check_pool_row(connection: sa.Connection, pool: PoolRef, first: Leaf[PoolContent], report: CheckReport) -> None:
    """A pool's row says what the first leaf of its log does."""
    query = sa.select(lt.pool).where(lt.pool.c.pool_id == pool.pool_id)
    following = {
        "name": first.pool,
        "display_name": first.content.display_name,
        "currency": first.content.currency,
        "created_at": first.time,
    }
    for row in stored_rows(connection, query):
        report.count(lt.pool.name)
        for column, value in following.items():
            if row[column] != value:
                report.add(lt.pool.name, f"pool_id={pool.pool_id}", column, row[column], value)


def check_turns(connection: sa.Connection, pool_id: int, report: CheckReport) -> None:
    """A pool has a row for each turn, and no other: without its row a turn keeps nobody out."""
    query = sa.select(lt.turn.c.kind).where(lt.turn.c.pool_id == pool_id).order_by(lt.turn.c.kind)
    stored = [{"kind": row["kind"]} for row in stored_rows(connection, query)]
    compare(report, lt.turn, stored, [{"kind": turn.value} for turn in Turn])


def check_strays(connection: sa.Connection, pools: list[PoolRef], report: CheckReport) -> Iterator[str]:
    """Rows of no pool, in every table that is parted by pool; gives each table's name before it is read."""
    pool_ids = sa.literal([REGISTRY.pool_id, *(pool.pool_id for pool in pools)], sa.ARRAY(sa.Integer))
    for table in metadata.sorted_tables:
        if "pool_id" not in table.columns or table is lt.pool:
            continue
        yield table.name
        query = (
            sa.select(table.c.pool_id, sa.func.count().label("rows"))
            .where(table.c.pool_id != sa.all_(pool_ids))
            .group_by(table.c.pool_id)
        )
        for row in stored_rows(connection, query):
            key = f"pool_id={row['pool_id']}"
            report.add(table.name, key, "row", f"{row['rows']} rows", "none: there is no such pool", count=row["rows"])
