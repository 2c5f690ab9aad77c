"""What a pool owes to collectives and has not paid, by the rounds that it is of, and how old that is."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.journal import Purpose, held_account
from ledger.log.leaves import decode
from ledger.store import tables as lt
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.transactions import driver_connection
from payout.entries import CONTENTS
from payout.store import tables as t


@dataclass(frozen=True, slots=True)
class Owed:
    """What an account still has of one round, or of something else that came to it.

    Attributes:
        account: `collective/<id>` or `held/<id>`.
        leaf_index: the posting of the round, or the leaf by which it came.
        round: 0 if it is of none.
        since: when that leaf was logged.
    """

    account: str
    amount_minor: int
    leaf_index: int
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

_LEFT: Final = """
    WITH owed AS (
        SELECT account, amount_minor FROM (
            SELECT DISTINCT ON (account COLLATE "C") account, amount_minor FROM balance
            WHERE pool_id = %(pool)s AND account COLLATE "C" >= %(first)s
                AND (account LIKE 'collective/%%' OR account LIKE 'held/%%')
            ORDER BY account COLLATE "C", leaf_index DESC
        ) AS latest WHERE amount_minor > 0 ORDER BY account COLLATE "C" LIMIT %(limit)s
    ), came AS (
        SELECT owed.account, leaf_index, purpose, sum(transfer.amount_minor) AS came, min(owed.amount_minor) AS owed
        FROM owed JOIN transfer ON pool_id = %(pool)s AND to_account = owed.account
        WHERE purpose <> ALL(%(comes_back)s) GROUP BY owed.account, leaf_index, purpose
    ), summed AS (
        SELECT *, sum(came) OVER (PARTITION BY account ORDER BY leaf_index DESC, purpose) - came AS newer FROM came
    )
    SELECT account, leaf_index, purpose, least(came, owed - newer)::bigint FROM summed WHERE newer < owed
    ORDER BY account COLLATE "C", leaf_index
"""


def list_owed(connection: sa.Connection, pool: PoolRef, *, after: tuple[str, int] = ("", -1), limit: int) -> list[Owed]:
    """Returns what a pool owes or holds, by account and oldest first, after an account and a leaf; in five queries.

    Payments count against the oldest rounds first. What was held and then released is as old as the round that it is
    of.
    """
    first, _ = after
    values = {"pool": pool.pool_id, "first": first, "limit": limit + 1, "comes_back": _COMES_BACK}
    left: dict[tuple[str, int], int] = {}
    released: dict[tuple[str, int], int] = {}
    for row in driver_connection(connection).execute(_LEFT, values).fetchall():
        place, amount = (str(row[0]), int(str(row[1]))), int(str(row[3]))
        into = released if row[2] == Purpose.RELEASE else left
        into[place] = into.get(place, 0) + amount
    for place, amount in _as_old_as_held(connection, pool, released):
        left[place] = left.get(place, 0) + amount
    page = sorted(place for place in left if place > after)[:limit]
    leaves = sorted({leaf_index for _, leaf_index in page})
    rounds, times = _rounds(connection, pool, leaves), _times(connection, pool, leaves)
    return [Owed(account, left[account, leaf], leaf, rounds.get(leaf, 0), times[leaf]) for account, leaf in page]


def _as_old_as_held(
    connection: sa.Connection, pool: PoolRef, released: Mapping[tuple[str, int], int]
) -> Iterable[tuple[tuple[str, int], int]]:
    """Yields what is left of releases by the leaves by which it had come to be held."""
    if not released:
        return
    held = {held_account(account.partition("/")[2]) for account, _ in released}
    transfer, among = lt.transfer.c, sa.any_(sa.literal(sorted(held), sa.ARRAY(sa.Text)))
    query = (
        sa.select(transfer.leaf_index, transfer.from_account, transfer.to_account, transfer.amount_minor)
        .where(transfer.pool_id == pool.pool_id, (transfer.from_account == among) | (transfer.to_account == among))
        .order_by(transfer.leaf_index, transfer.ordinal)
    )
    queues: dict[str, deque[tuple[int, int]]] = {account: deque() for account in held}
    for row in connection.execute(query):
        if row.to_account in held:
            queues[row.to_account].append((row.leaf_index, row.amount_minor))
            continue
        parts = list(_taken(queues[row.from_account], row.amount_minor))
        # Of a release that was paid in part, the newest of it is left.
        left = released.get((row.to_account, row.leaf_index), 0)
        for leaf_index, amount in reversed(parts):
            if used := min(left, amount):
                yield (row.to_account, leaf_index), used
            left -= used


def _taken(queue: deque[tuple[int, int]], amount_minor: int) -> Iterable[tuple[int, int]]:
    """Yields what an amount takes of a queue, the oldest first."""
    while amount_minor:
        leaf_index, there = queue.popleft()
        used = min(there, amount_minor)
        if used < there:
            queue.appendleft((leaf_index, there - used))
        amount_minor -= used
        yield leaf_index, used


def _rounds(connection: sa.Connection, pool: PoolRef, leaves: Sequence[int]) -> dict[int, int]:
    query = sa.select(t.posting.c.leaf_index, t.posting.c.number).where(
        t.posting.c.pool_id == pool.pool_id, t.posting.c.leaf_index.in_(leaves)
    )
    return {row.leaf_index: row.number for row in connection.execute(query)}


def _times(connection: sa.Connection, pool: PoolRef, leaves: Sequence[int]) -> dict[int, datetime]:
    query = sa.select(lt.leaf.c.leaf_index, lt.leaf.c.entry).where(
        lt.leaf.c.pool_id == pool.pool_id, lt.leaf.c.leaf_index.in_(leaves)
    )
    return {row.leaf_index: decode(bytes(row.entry), CONTENTS).time for row in connection.execute(query)}
