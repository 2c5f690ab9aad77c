"""Turns: locks for acts on a pool that only one process at a time may do.

A turn is the lock on a row of the pool. An advisory lock would only work on a single Postgres: it belongs to the node
that a connection enters by, so it excludes nobody if servers connect to several nodes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import sqlalchemy as sa

from ledger.errors import LedgerCorruptError
from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.transactions import ask


class Turn(StrEnum):
    """What only one process at a time may do with a pool."""

    RETRACTIONS = "RETRACTIONS"
    ROUNDS = "ROUNDS"
    SIGNING = "SIGNING"


def open_turns(connection: sa.Connection, pool_id: int) -> None:
    """Create the turns of a new pool."""
    connection.execute(sa.insert(t.turn).values([{"pool_id": pool_id, "kind": kind.value} for kind in Turn]))


_EXISTS: Final = "SELECT FROM turn WHERE pool_id = %s AND kind = %s"
_WAIT: Final = f"{_EXISTS} FOR UPDATE"
_TRY: Final = f"{_WAIT} SKIP LOCKED"


def take(connection: sa.Connection, pool: PoolRef, turn: Turn) -> None:
    """Take the turn until the transaction ends; waits for whoever has it. What is read next is the latest.

    Raises:
        LedgerCorruptError: the pool has no row for this turn, so nobody would be excluded.
    """
    if not _found(connection, _WAIT, pool, turn):
        raise _missing(pool, turn)


def try_take(connection: sa.Connection, pool: PoolRef, turn: Turn) -> bool:
    """Take the turn until the transaction ends; returns False if somebody else has it.

    Raises:
        LedgerCorruptError: as `take` does.
    """
    if _found(connection, _TRY, pool, turn):
        return True
    if not _found(connection, _EXISTS, pool, turn):
        raise _missing(pool, turn)
    return False


def _found(connection: sa.Connection, statement: str, pool: PoolRef, turn: Turn) -> bool:
    return bool(ask(connection, statement, (pool.pool_id, turn.value)).rowcount)


def _missing(pool: PoolRef, turn: Turn) -> LedgerCorruptError:
    return LedgerCorruptError(f"pools/{pool.name}", f"has no row for the turn {turn.value}")
