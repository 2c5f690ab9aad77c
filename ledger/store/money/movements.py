"""Leaves that move money, in Postgres: each appended with what it moves, and once by its request id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import sqlalchemy as sa

from ledger.acts.act import ActContent, without_salt
from ledger.entries import CollectiveMovement, GrantContent, Movement, PaymentContent, ReleaseContent
from ledger.errors import IdentityReusedError, LostRaceError
from ledger.income import MatchContent, ReceiptContent, ReversalContent
from ledger.log.leaves import Content, Leaf, decode
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.money.journal import latest_balance, post, transfers_of
from ledger.store.postgres.conflicts import taken_keys
from ledger.store.registry.acts import Effect
from ledger.store.registry.collectives import require_collective

M = TypeVar("M", PaymentContent, ReleaseContent, GrantContent)


@dataclass(frozen=True, slots=True)
class RecordedLeaf:
    """A leaf that moved money, with its hash."""

    leaf: Leaf[Any]
    hash: bytes


def append_moving(
    connection: sa.Connection, pool: PoolRef, content: Content, now: datetime, *at_hand: Content
) -> RecordedLeaf:
    """Append a leaf and write what it moves; `at_hand` are the earlier entries that it refers to.

    Raises:
        StateError: as `post` does.
    """
    (leaf,) = log.append(connection, pool, [content], now)
    if transfers := transfers_of(connection, pool, content, *at_hand):
        post(connection, pool, leaf.index, transfers)
    return RecordedLeaf(Leaf(pool.name, leaf.index, now, content), leaf.hash)


def append_movement(connection: sa.Connection, pool: PoolRef, content: Movement, now: datetime) -> RecordedLeaf:
    """Append what an operator moves, with its request id.

    Raises:
        StateError: as `post` does.
        LostRaceError: the request id was taken at the same time.
    """
    moved = append_moving(connection, pool, content, now)
    claim(connection, pool, t.movement, {"request_id": content.request_id}, moved.leaf.index)
    return moved


def _record_movement(
    connection: sa.Connection, pool: PoolRef, content: CollectiveMovement, now: datetime
) -> RecordedLeaf:
    require_collective(connection, content.collective)
    return append_movement(connection, pool, content, now)


def find_movement(connection: sa.Connection, pool: PoolRef, request_id: str) -> RecordedLeaf | None:
    """Returns what was moved under a request id, if anything."""
    return recorded(connection, pool, t.movement, t.movement.c.request_id == request_id, *MOVEMENTS)


def standing_movement(connection: sa.Connection, pool: PoolRef, content: Movement) -> RecordedLeaf | None:
    """Returns what was moved under a request id before, if anything.

    Raises:
        IdentityReusedError: it was another content.
    """
    found = find_movement(connection, pool, content.request_id)
    return require_same(found, content) if found else None


def _giving_balance(connection: sa.Connection, pool: PoolRef, content: Movement) -> dict[str, str]:
    (moved,) = transfers_of(connection, pool, content)
    amount, _ = latest_balance(connection, pool, moved.from_account)
    return {f"accounts/{moved.from_account}": str(amount or 0)}


def _movement(kind: type[M]) -> Effect[M]:
    return Effect(kind, _record_movement, standing_movement, rests_on=_giving_balance)


MOVEMENTS: Final = (PaymentContent, ReleaseContent, GrantContent, ReceiptContent, MatchContent, ReversalContent)
"""Every type that takes a request id of `movement`."""

RECORD_PAYMENT: Final = _movement(PaymentContent)
RELEASE_HELD: Final = _movement(ReleaseContent)
GRANT_FROM_COMMONS: Final = _movement(GrantContent)
"""What an operator moves, exactly once by request id. Each returns a `RecordedLeaf`.

Raises IdentityReusedError for another content under a known request id, StateError if the account that gives has too
little, NotFoundError if there is no such collective.
"""


def leaves_of(pool: PoolRef, table: sa.Table) -> sa.Select[Any]:
    """Returns the query of the leaves that a table's rows project."""
    on = (t.leaf.c.pool_id == table.c.pool_id) & (t.leaf.c.leaf_index == table.c.leaf_index)
    columns = sa.select(t.leaf.c.entry, t.leaf.c.hash)
    return columns.select_from(table).join(t.leaf, on).where(table.c.pool_id == pool.pool_id)


def recorded(
    connection: sa.Connection, pool: PoolRef, table: sa.Table, key: Any, *kinds: type[Content]
) -> RecordedLeaf | None:
    """Returns the leaf of the row with this key, if any; its content is one of `kinds`."""
    row = connection.execute(leaves_of(pool, table).where(key)).first()
    return recorded_leaf(row, *kinds) if row else None


def recorded_leaf(row: Any, *kinds: type[Content]) -> RecordedLeaf:
    """Returns the leaf of a row of `leaves_of`."""
    return RecordedLeaf(decode(bytes(row.entry), {kind.type: kind for kind in kinds}), bytes(row.hash))


def require_same(found: RecordedLeaf, content: Content) -> RecordedLeaf:
    """Returns the record, if its content is the same; an act's actor and time may differ.

    Raises:
        IdentityReusedError: it is not.
    """
    logged = found.leaf.content
    both_said = (
        (without_salt(logged.said()), without_salt(content.said()))
        if isinstance(logged, ActContent) and isinstance(content, ActContent)
        else (logged, content)
    )
    if type(logged) is not type(content) or both_said[0] != both_said[1]:
        raise IdentityReusedError.of("request_id", "was recorded with other content")
    return found


def claim(connection: sa.Connection, pool: PoolRef, table: sa.Table, row: dict[str, Any], leaf_index: int) -> None:
    """Insert the row that a request id is taken by.

    Raises:
        LostRaceError: it was taken at the same time.
    """
    with taken_keys(lambda _: LostRaceError(f"request {row['request_id']}")):
        connection.execute(sa.insert(table).values(pool_id=pool.pool_id, leaf_index=leaf_index, **row))
