"""Rounds in Postgres: reading what a round is made of, and recording what became of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, LiteralString, cast

import sqlalchemy as sa

from ledger.acts.entries import Decision, DecisionContent
from ledger.errors import LostRaceError, NotFoundError
from ledger.journal import collectives_of
from ledger.log.leaves import decode
from ledger.store import tables as lt
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.conflicts import taken_keys
from ledger.store.postgres.transactions import ask, driver_connection
from ledger.store.registry.collectives import collective_names
from ledger.usage.weights import ModeWeights, unpack
from payout.entries import PostingContent, RoundContent
from payout.periods import Taken
from payout.store import tables as t
from payout.weights import UsageKey, UsageSum, WeightSum

_WEIGHTS: Final = """
    SELECT method, method_version, mode, events, unattributed, packed
    FROM batch_weights JOIN {table} ON {table}.pool_id = batch_weights.pool_id
        AND {table}.{number} = batch_weights.batch_number
    WHERE {table}.pool_id = %s AND {table}.leaf_index >= %s AND {table}.leaf_index < %s
"""
_SOME_MONTHS: Final = """
        AND batch_weights.month < %s AND ({table}.leaf_index >= %s OR batch_weights.month >= %s)
"""
_COUNTS: Final = _WEIGHTS.replace(
    "method, method_version, mode, events, unattributed, packed", "COALESCE(SUM(events), 0)"
)
AFTER_ALL: Final = 2**31
"""Beyond the number of any round."""

_NO_MONTH: Final = 2**31 - 1
"""After every month."""
_BATCHES: Final = {"table": "batch", "number": "batch_number"}
_RETRACTIONS: Final = {"table": "retraction", "number": "weights_number"}


class RoundState(StrEnum):
    """The state of a round."""

    CALCULATED = "CALCULATED"
    APPROVED = "APPROVED"
    POSTED = "POSTED"
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """A round with its decision."""

    leaf_index: int
    hash: bytes
    calculated_at: datetime
    content: RoundContent
    decision: DecisionContent | None = None
    decided_at: datetime | None = None
    posted_at: datetime | None = None

    @property
    def state(self) -> RoundState:
        """Follows from which leaves exist."""
        if self.decision is None:
            return RoundState.CALCULATED
        if self.decision.decision == Decision.REJECTED:
            return RoundState.REJECTED
        return RoundState.POSTED if self.posted_at else RoundState.APPROVED


def usage_sums(
    connection: sa.Connection, pool: PoolRef, taken: Taken, end: int, before: int | None = None
) -> dict[UsageKey, UsageSum]:
    """Returns the weights of usage before the leaf `end`, and before a month if one is given, that no round took: of
    every batch, less those of every retraction.
    """
    running = WeightSum()
    of_leaves: tuple[object, ...] = (pool.pool_id, taken.since, end)
    # Without periods every month counts, of leaves that are one after the other.
    every = before is None and taken.since == taken.end
    of_months = () if every else (_NO_MONTH if before is None else before, taken.end, taken.month)
    for names, sign in ((_BATCHES, 1), (_RETRACTIONS, -1)):
        query = (_WEIGHTS if every else _WEIGHTS + _SOME_MONTHS).format(**names)
        # In binary, and row by row: Postgres reads the next row while this one is added.
        rows = driver_connection(connection).cursor(binary=True).stream(query, of_leaves + of_months, binary=True)
        for row in rows:
            method, version, mode, events, unattributed, packed = cast("tuple[str, int, int, int, Decimal, bytes]", row)
            weights = ModeWeights(events, *unpack(packed), int(unattributed))
            running.add(UsageKey(method, version, mode), weights, sign=sign)
    return running.totals(collective_names(connection))


def usage_counts(connection: sa.Connection, pool: PoolRef, taken: Taken, end: int, before: int) -> tuple[int, int]:
    """Returns how many events before a leaf and a month no round took, and how many retractions of such."""
    counts = []
    for names in (_BATCHES, _RETRACTIONS):
        query = (_COUNTS + _SOME_MONTHS).format(**names)
        values = (pool.pool_id, taken.since, end, before, taken.end, taken.month)
        found = driver_connection(connection).execute(query, values).fetchone()
        counts.append(int(cast("tuple[Decimal]", found)[0]))
    return counts[0], counts[1]


def insert_round(
    connection: sa.Connection, pool: PoolRef, content: RoundContent, leaf_index: int, last_fire_time: datetime | None
) -> None:
    """Record a calculated round.

    Raises:
        LostRaceError: its number or request id exists.
    """
    row = (pool.pool_id, content.number, content.request_id, content.end, last_fire_time, leaf_index)
    _insert(connection, _ROUND, row)


_ROUND: Final = """
INSERT INTO round (pool_id, number, request_id, end_size, last_fire_time, leaf_index) VALUES (%s, %s, %s, %s, %s, %s)
"""
_POSTING: Final = "INSERT INTO posting (pool_id, number, leaf_index) VALUES (%s, %s, %s)"


def insert_posting(connection: sa.Connection, pool: PoolRef, number: int, leaf_index: int) -> None:
    """Record that a round was posted.

    Raises:
        LostRaceError: it was already posted.
    """
    _insert(connection, _POSTING, (pool.pool_id, number, leaf_index))


def _insert(connection: sa.Connection, statement: LiteralString, row: tuple[object, ...]) -> None:
    with taken_keys(lambda _: LostRaceError(f"round {row[1]}")):
        ask(connection, statement, row)


def get_round(connection: sa.Connection, pool: PoolRef, number: int) -> RoundRecord:
    """The round.

    Raises:
        NotFoundError: the pool has no round of this number.
    """
    for found in _records(connection, _rounds(pool).where(t.round_.c.number == number)):
        return found
    raise NotFoundError(f"pools/{pool.name}/rounds/{number}")


def leaf_of(connection: sa.Connection, pool: PoolRef, number: int) -> int:
    """Returns the round's place in the log, whatever its entry there says.

    Raises:
        NotFoundError: the pool has no round of this number.
    """
    query = sa.select(t.round_.c.leaf_index).where(t.round_.c.pool_id == pool.pool_id, t.round_.c.number == number)
    found = connection.execute(query).scalar()
    if found is None:
        raise NotFoundError(f"pools/{pool.name}/rounds/{number}")
    return int(found)


def posting_leaf(connection: sa.Connection, pool: PoolRef, number: int) -> int | None:
    """Where the round was posted; None where it was not."""
    here = (t.posting.c.pool_id == pool.pool_id) & (t.posting.c.number == number)
    return connection.execute(sa.select(t.posting.c.leaf_index).where(here)).scalar()


def find_request(connection: sa.Connection, pool: PoolRef, request_id: str) -> RoundRecord | None:
    """Returns the round that a request made, if any."""
    return next(_records(connection, _rounds(pool).where(t.round_.c.request_id == request_id)), None)


def with_open_round(connection: sa.Connection, pools: Sequence[PoolRef]) -> list[PoolRef]:
    """Returns those of these pools that have a round which waits for its decision."""
    decided = sa.exists().where(
        lt.decision.c.pool_id == t.round_.c.pool_id, lt.decision.c.subject == t.round_.c.leaf_index
    )
    query = sa.select(t.round_.c.pool_id).where(log.of_pools(t.round_, pools), ~decided).distinct()
    waiting = set(connection.execute(query).scalars())
    return [pool for pool in pools if pool.pool_id in waiting]


def latest_round(connection: sa.Connection, pool: PoolRef) -> RoundRecord | None:
    """Returns the round with the highest number, if any."""
    return next(_records(connection, _LATEST, {"pool_id": pool.pool_id}), None)


def open_round(connection: sa.Connection, pool: PoolRef) -> RoundRecord | None:
    """Returns the round that waits to be decided or posted, if any."""
    latest = latest_round(connection, pool)
    return latest if latest and latest.state in (RoundState.CALCULATED, RoundState.APPROVED) else None


def latest_posted(connection: sa.Connection, pool: PoolRef) -> RoundRecord | None:
    """Returns the last round that was posted, if any."""
    query = _rounds(pool).where(t.posting.c.number.is_not(None)).order_by(t.round_.c.number.desc()).limit(1)
    return next(_records(connection, query), None)


def distributed_size(connection: sa.Connection, pool: PoolRef) -> int:
    """Returns the size of the log of which the last posted round distributed the revenue; 0 if none was posted."""
    query = (
        sa.select(sa.func.max(t.round_.c.leaf_index))
        .join_from(
            t.round_, t.posting, (t.posting.c.pool_id == t.round_.c.pool_id) & (t.posting.c.number == t.round_.c.number)
        )
        .where(t.round_.c.pool_id == pool.pool_id)
    )
    return connection.execute(query).scalar() or 0


def list_rounds(
    connection: sa.Connection, pool: PoolRef, *, after: int = 0, limit: int = 1000, newest_first: bool = False
) -> list[RoundRecord]:
    """Returns rounds after the number `after`, oldest first; or those before it, newest first."""
    number, place = t.round_.c.number, sa.literal(after, sa.BigInteger)
    query = _rounds(pool).where(number < place if newest_first else number > place)
    return list(_records(connection, query.order_by(number.desc() if newest_first else number).limit(limit)))


def paid_at_least(connection: sa.Connection, pool: PoolRef, numbers: Sequence[int], fewest: int) -> set[int]:
    """Returns which of these posted rounds gave something to at least so many collectives.

    However large the rounds, only the first transfers of each posting are read: it has the fee first, and then at most
    two of each collective.
    """
    moved = lt.transfer
    at = (moved.c.pool_id == t.posting.c.pool_id) & (moved.c.leaf_index == t.posting.c.leaf_index)
    query = (
        sa.select(t.posting.c.number, moved.c.to_account)
        .join_from(t.posting, moved, at & (moved.c.ordinal <= 2 * fewest))
        .where(t.posting.c.pool_id == pool.pool_id, t.posting.c.number.in_(numbers))
    )
    accounts: dict[int, list[str]] = defaultdict(list)
    for number, account in connection.execute(query):
        accounts[number].append(account)
    return {number for number, found in accounts.items() if len(collectives_of(found)) >= fewest}


def _rounds(pool: PoolRef) -> sa.Select[Any]:
    return _ROUNDS.where(t.round_.c.pool_id == pool.pool_id)


def _joined() -> sa.Select[Any]:
    calculated, decided, posted = (lt.leaf.alias(name) for name in ("calculated", "decided", "posted"))

    def at(leaf: Any, table: sa.Table) -> Any:
        return (leaf.c.pool_id == table.c.pool_id) & (leaf.c.leaf_index == table.c.leaf_index)

    def same_round(table: sa.Table) -> Any:
        return (table.c.pool_id == t.round_.c.pool_id) & (table.c.number == t.round_.c.number)

    of_round = (lt.decision.c.pool_id == t.round_.c.pool_id) & (lt.decision.c.subject == t.round_.c.leaf_index)
    return (
        sa.select(
            calculated.c.entry.label("calculated"),
            calculated.c.hash.label("hash"),
            decided.c.entry.label("decided"),
            posted.c.entry.label("posted"),
        )
        .select_from(t.round_)
        .join(calculated, at(calculated, t.round_))
        .outerjoin(lt.decision, of_round)
        .outerjoin(decided, at(decided, lt.decision))
        .outerjoin(t.posting, same_round(t.posting))
        .outerjoin(posted, at(posted, t.posting))
    )


_ROUNDS: Final = _joined()
"""Every round with its entries. Made once: making it takes longer than Postgres takes to run it."""


_LATEST: Final = (
    _ROUNDS.where(t.round_.c.pool_id == sa.bindparam("pool_id")).order_by(t.round_.c.number.desc()).limit(1)
)


def _records(
    connection: sa.Connection, query: sa.Select[Any], values: dict[str, Any] | None = None
) -> Iterator[RoundRecord]:
    for row in connection.execute(query, values):
        calculated = decode(bytes(row.calculated), {RoundContent.type: RoundContent})
        decided = decode(bytes(row.decided), {DecisionContent.type: DecisionContent}) if row.decided else None
        posted = decode(bytes(row.posted), {PostingContent.type: PostingContent}) if row.posted else None
        yield RoundRecord(
            calculated.index,
            bytes(row.hash),
            calculated.time,
            calculated.content,
            decided.content if decided else None,
            decided.time if decided else None,
            posted.time if posted else None,
        )
