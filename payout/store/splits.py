"""Member splits in Postgres."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ledger.errors import LostRaceError
from ledger.log.leaves import Leaf, decode
from ledger.store import tables as lt
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.conflicts import taken_keys
from payout.splits import SplitContent
from payout.store import tables as t


def find_split(connection: sa.Connection, pool: PoolRef, number: int, collective: str) -> Leaf[SplitContent] | None:
    """Returns a collective's split of its amount of a round, if there is one."""
    here = (lt.leaf.c.pool_id == t.split.c.pool_id) & (lt.leaf.c.leaf_index == t.split.c.leaf_index)
    query = sa.select(lt.leaf.c.entry).select_from(t.split).join(lt.leaf, here)
    row = connection.execute(
        query.where(t.split.c.pool_id == pool.pool_id, t.split.c.number == number, t.split.c.collective == collective)
    ).first()
    return decode(bytes(row.entry), {SplitContent.type: SplitContent}) if row else None


def append_split(connection: sa.Connection, pool: PoolRef, content: SplitContent, now: datetime) -> Leaf[SplitContent]:
    """Append a split's leaf, and its row.

    Raises:
        LostRaceError: the collective split this amount before.
    """
    (leaf,) = log.append(connection, pool, [content], now)
    row = {"number": content.round, "collective": content.collective, "leaf_index": leaf.index}
    with taken_keys(lambda _: LostRaceError(f"the split of {content.collective} of round {content.round}")):
        connection.execute(sa.insert(t.split).values(pool_id=pool.pool_id, **row))
    return Leaf(pool.name, leaf.index, now, content)
