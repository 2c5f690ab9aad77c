"""What the database holds, seen by its owner: every table counted, the log checked, and a pool stopped on purpose."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from ledger.log.merkle import Coordinate, Frontier, leaf_hash, root
from ledger.store import tables as t
from ledger.store.logs.log import REGISTRY
from ledger.store.tables import metadata


def row_counts(owner: sa.Engine) -> dict[str, int]:
    """Rows in every table but that of keys; those of the registry's log, in which keys are, are left out.

    An event that is in a page counts as one that has a row.
    """
    with owner.connect() as connection:
        rows = {table.name: _rows(connection, table) for table in metadata.sorted_tables if table is not t.api_key}
    return rows | {t.event.name: sum(event_counts(owner).values())}


def event_counts(owner: sa.Engine) -> dict[int, int]:
    """Recorded events by pool, whether a row or a page holds them."""
    in_rows = sa.select(t.event.c.pool_id, sa.func.count()).group_by(t.event.c.pool_id)
    ids_of_page = sa.func.octet_length(t.claim_page.c.ids) / t.claim_page.c.width
    in_pages = sa.select(t.claim_page.c.pool_id, sa.func.sum(ids_of_page)).group_by(t.claim_page.c.pool_id)
    counts: Counter[int] = Counter()
    with owner.connect() as connection:
        for pool_id, count in (*connection.execute(in_rows), *connection.execute(in_pages)):
            counts[pool_id] += int(count)
    return counts


def _rows(connection: sa.Connection, table: sa.Table) -> int:
    query = sa.select(sa.func.count()).select_from(table)
    if "pool_id" in table.columns:
        query = query.where(table.c.pool_id != REGISTRY.pool_id)
    return connection.execute(query).scalar_one()


def require_sound_log(owner: sa.Engine, pool: str) -> int:
    """Check that a pool's log is dense and its hashes, nodes and head are those of RFC 6962; gives its size."""
    with owner.connect() as connection:
        pool_id = connection.execute(sa.select(t.pool.c.pool_id).where(t.pool.c.name == pool)).scalar_one()
        head = connection.execute(sa.select(t.head).where(t.head.c.pool_id == pool_id)).one()
        leaves = connection.execute(
            sa.select(t.leaf).where(t.leaf.c.pool_id == pool_id).order_by(t.leaf.c.leaf_index)
        ).all()
        nodes = connection.execute(sa.select(t.node).where(t.node.c.pool_id == pool_id)).all()
    assert [leaf.leaf_index for leaf in leaves] == list(range(head.size))
    hashes = [leaf_hash(leaf.entry) for leaf in leaves]
    assert [leaf.hash for leaf in leaves] == hashes
    growing, wanted = Frontier(), {}
    for each in hashes:
        wanted.update(growing.append(each))
    assert {Coordinate(node.level, node.node_index): node.hash for node in nodes} == wanted
    assert Frontier.from_bytes(head.size, head.frontier) == growing
    assert growing.root() == root(hashes)
    return int(head.size)


def execute(owner: sa.Engine, statement: str, **values: Any) -> int:
    """Run a statement as the owner, who may do what the service may not; gives how many rows it touched."""
    with owner.begin() as connection:
        return connection.execute(sa.text(statement), values).rowcount


@contextmanager
def head_held(owner: sa.Engine, pool: str) -> Iterator[None]:
    """Keep everyone from appending to a pool's log, so that a call stops in the middle of its transaction."""
    with owner.connect() as connection:
        connection.execute(
            sa.text("SELECT 1 FROM head JOIN pool USING (pool_id) WHERE pool.name = :pool FOR UPDATE OF head"),
            {"pool": pool},
        )
        yield
        connection.rollback()


def waiting_backends(owner: sa.Engine) -> list[int]:
    """The Postgres processes that wait for a lock in this database."""
    with owner.connect() as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return list(connection.execute(sa.text(query)).scalars())


def wait_until(holds: Callable[[], Any], *, seconds: float = 240) -> Any:
    """What `holds` gives as soon as it is true; the limit is for what hangs, and not for what is slow."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.01)
    return found
