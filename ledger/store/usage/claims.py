"""Claims on event ids by a row per event, each of which a unique index keeps from counting twice.

Ids that lie close together go into pages instead (`ledger/store/usage/pages.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

import numpy as np
import sqlalchemy as sa

from ledger.store.logs.log import PoolRef
from ledger.store.postgres.conflicts import taken_keys
from ledger.store.postgres.rows import uuids
from ledger.store.postgres.transactions import ask, driver_connection
from ledger.usage.batch import BoolArray, Int64Array
from ledger.usage.pages import Cut, EventIds, order_of


class EventsKnownError(Exception):
    """An event of the batch was recorded before; the transaction is rolled back."""


_COPY_ROW: Final = np.dtype(
    [
        ("fields", ">i2"),
        ("pool_bytes", ">i4"), ("pool_id", ">i4"),
        ("platform_bytes", ">i4"), ("platform_id", ">i4"),
        ("event_bytes", ">i4"), ("event_id", "V16"),
        ("batch_bytes", ">i4"), ("batch_number", ">i8"),
    ]
)  # fmt: skip
_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_TRAILER: Final = b"\xff\xff"


@dataclass(frozen=True, slots=True)
class EventClaim:
    """Claims event ids for a batch. Ids are ascending, so that two claims of the same ids cannot deadlock, and
    because Postgres fills an index fastest in its order.

    Attributes:
        cut: the same ids as pages, if they were cut before.
    """

    platform_id: int
    batch_number: int
    event_ids: EventIds
    cut: Cut | None = None

    def insert_free(self, connection: sa.Connection, pool: PoolRef) -> BoolArray:
        """Claim those that are free, and return which: (n,) in the order given. Waits for concurrent claims."""
        inserted = connection.execute(
            _INSERT_FREE,
            {
                "pool_id": pool.pool_id,
                "platform_id": self.platform_id,
                "batch_number": self.batch_number,
                "ids": self.event_ids.tobytes(),
                "count": len(self.event_ids),
            },
        )
        places = np.fromiter(inserted.scalars(), dtype=np.int64)
        taken = np.zeros(len(self.event_ids), dtype=np.bool_)
        taken[places] = True
        return taken

    def find_free(self, connection: sa.Connection, pool: PoolRef) -> BoolArray:
        """Return which are free now, without claiming any: (n,) in the order given."""
        # By the driver itself, for SQLAlchemy has no answer within a pipeline.
        asked = (uuids(self.event_ids).as_array(), pool.pool_id, self.platform_id)
        known = ask(connection, _FIND_KNOWN, asked).fetchall()
        free = np.ones(len(self.event_ids), dtype=np.bool_)
        free[[place - 1 for (place,) in known]] = False
        return free


_COPY: Final = "COPY event (pool_id, platform_id, event_id, batch_number) FROM STDIN (FORMAT BINARY)"


def copy_claims(connection: sa.Connection, pool: PoolRef, claims: Sequence[EventClaim]) -> None:
    """Claim the ids of each claim, many at once.

    Raises:
        EventsKnownError: one is taken or repeated.
    """
    platform_ids, event_ids, batch_numbers = ascending(claims)
    rows = np.empty(len(event_ids), dtype=_COPY_ROW)
    rows["fields"] = 4
    rows["pool_bytes"], rows["pool_id"] = 4, pool.pool_id
    rows["platform_bytes"], rows["platform_id"] = 4, platform_ids
    rows["event_bytes"], rows["event_id"] = 16, event_ids
    rows["batch_bytes"], rows["batch_number"] = 8, batch_numbers
    with (
        taken_keys(lambda _: EventsKnownError()),
        driver_connection(connection).cursor() as cursor,
        cursor.copy(_COPY) as copy,
    ):
        copy.write(_COPY_HEADER + rows.tobytes() + _COPY_TRAILER)


def ascending(claims: Sequence[EventClaim]) -> tuple[Int64Array, EventIds, Int64Array]:
    """Returns (n,) platform numbers, ids and batch numbers of all claims, ascending by id and platform."""
    lengths = [len(claim.event_ids) for claim in claims]
    platform_ids = np.repeat(np.array([claim.platform_id for claim in claims], dtype=np.int64), lengths)
    batch_numbers = np.repeat(np.array([claim.batch_number for claim in claims], dtype=np.int64), lengths)
    event_ids = np.concatenate([np.empty(0, dtype="V16"), *(claim.event_ids for claim in claims)])
    if len(claims) == 1:
        return platform_ids, event_ids, batch_numbers
    order = order_of(event_ids, platform_ids)
    return platform_ids[order], event_ids[order], batch_numbers[order]


_INSERT_FREE: Final = sa.text("""
WITH offered AS MATERIALIZED (
    SELECT place, encode(substring(:ids FROM 16 * place + 1 FOR 16), 'hex')::uuid AS event_id
    FROM generate_series(0, :count - 1) AS place
), inserted AS (
    INSERT INTO event (pool_id, platform_id, event_id, batch_number)
    SELECT :pool_id, :platform_id, event_id, :batch_number FROM offered ORDER BY place
    ON CONFLICT DO NOTHING
    RETURNING event_id
)
SELECT place FROM offered JOIN inserted USING (event_id)
""").bindparams(
    sa.bindparam("ids", type_=sa.LargeBinary),
    sa.bindparam("count", type_=sa.Integer),
    sa.bindparam("pool_id", type_=sa.Integer),
    sa.bindparam("platform_id", type_=sa.Integer),
    sa.bindparam("batch_number", type_=sa.BigInteger),
)


_FIND_KNOWN: Final = """
SELECT place FROM unnest(%b::uuid[]) WITH ORDINALITY AS offered (event_id, place)
JOIN event USING (event_id) WHERE pool_id = %s AND platform_id = %s
"""


BATCH_NUMBERS_AT_ONCE: Final = 32
"""Fetched from the database together. If a process ends, the rest stay unused: they only have to be different."""

_TAKE_NUMBERS: Final = "SELECT nextval('batch_number') FROM generate_series(1, %s)"


class BatchNumbers:
    """Numbers for batches, each returned once."""

    def __init__(self) -> None:
        self._free: SimpleQueue[int] = SimpleQueue()

    def take(self, connection: sa.Connection) -> int:
        """Returns the next free number."""
        try:
            return self._free.get_nowait()
        except Empty:
            (first,), *others = ask(connection, _TAKE_NUMBERS, (BATCH_NUMBERS_AT_ONCE,)).fetchall()
        for (number,) in others:
            self._free.put(number)
        return int(first)
