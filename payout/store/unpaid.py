"""What a pool owes to collectives and has not paid, and how old it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.journal import Purpose
from ledger.log.leaves import decode
from ledger.store import log
from ledger.store import tables as lt
from ledger.store.database import driver_connection
from ledger.store.log import PoolRef
from payout.entries import CONTENTS
from payout.store import tables as t


@dataclass(frozen=True, slots=True)
class Owed:
    """An amount that is owed or held.

    Attributes:
        account: `collective/<id>` or `held/<id>`.
        round: the oldest round that it is of; 0 if it is of none.
        since: when that was posted, or when what is not of a round came.
    """

    account: str
    amount_minor: int
    round: int
    since: datetime

    @property
    def collective(self) -> str:
        """Whose it is."""
        return self.account.partition("/")[2]

    @property
    def is_held(self) -> bool:
        """Whether it is held, and no pay run pays it."""
        return self.account.startswith("held/")


_COMES_BACK: Final = [Purpose.RETURNED.value, Purpose.UNPAID.value]
"""What comes back is as old as it was: it is no new money."""


def list_owed(connection: sa.Connection, pool: PoolRef, *, after: str = "", limit: int | None = None) -> list[Owed]:
    """Returns what a pool owes or holds, by account, after the account `after`.

    Payments count against the oldest rounds first.
    """
    query = f"""
        SELECT account, amount_minor FROM (
            SELECT DISTINCT ON (account COLLATE "C") account, amount_minor FROM {lt.balance.name}
            WHERE pool_id = %s AND account COLLATE "C" > %s AND (account LIKE 'collective/%%' OR account LIKE 'held/%%')
            ORDER BY account COLLATE "C", leaf_index DESC
        ) AS latest WHERE amount_minor > 0 ORDER BY account COLLATE "C" LIMIT %s
    """  # noqa: S608  # the name of a table of ours
    rows = driver_connection(connection).execute(query, (pool.pool_id, after, limit)).fetchall()
    return [_owed(connection, pool, str(account), int(str(amount))) for account, amount in rows]


def _owed(connection: sa.Connection, pool: PoolRef, account: str, amount_minor: int) -> Owed:
    transfer = lt.transfer.c
    query = (
        sa.select(transfer.leaf_index, sa.func.sum(transfer.amount_minor).label("amount_minor"))
        .where(transfer.pool_id == pool.pool_id, transfer.to_account == account, transfer.purpose.not_in(_COMES_BACK))
        .group_by(transfer.leaf_index)
        .order_by(transfer.leaf_index.desc())
    )
    left, oldest = amount_minor, 0
    for row in connection.execute(query):
        left, oldest = left - int(row.amount_minor), int(row.leaf_index)
        if left <= 0:
            break
    posted = sa.select(t.posting.c.number).where(t.posting.c.pool_id == pool.pool_id, t.posting.c.leaf_index == oldest)
    number = connection.execute(posted).scalar()
    since = decode(log.read_leaf(connection, pool, oldest).entry, CONTENTS).time
    return Owed(account, amount_minor, number or 0, since)
