"""Claims on event ids: a row per event, which makes an event count once."""

from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

import numpy as np
import numpy.typing as npt
import psycopg
import sqlalchemy as sa

from ledger.store import tables as t
from ledger.store.database import driver_connection
from ledger.usage import BoolArray

EventIds = npt.NDArray[np.void]
"""(n,) of 16 bytes each (`V16`)."""


class EventsKnownError(Exception):
    """An event of the batch is recorded already; the transaction is rolled back."""


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
    """Claims event ids for a batch. Ids come ascending, so that two claims of the same ids cannot deadlock, and
    because Postgres fills an index fastest in its order.
    """

    pool_id: int
    platform_id: int
    batch_number: int

    def insert_free(self, connection: sa.Connection, event_ids: EventIds) -> BoolArray:
        """Claim those that are free, and tell which: (n,) in the order given. Waits for a claim under way elsewhere."""
        inserted = connection.execute(
            _INSERT_FREE,
            {
                "pool_id": self.pool_id,
                "platform_id": self.platform_id,
                "batch_number": self.batch_number,
                "ids": event_ids.tobytes(),
                "count": len(event_ids),
            },
        )
        places = np.fromiter(inserted.scalars(), dtype=np.int64)
        taken = np.zeros(len(event_ids), dtype=np.bool_)
        taken[places] = True
        return taken


def claim_all(connection: sa.Connection, claims: Sequence[EventClaim], event_ids: Sequence[EventIds]) -> None:
    """Claim the ids of each claim, all of one pool, by COPY. Raises EventsKnownError where one is taken or repeated."""
    rows = _copy_rows(claims, [len(ids) for ids in event_ids], np.concatenate(event_ids))
    if len(claims) > 1:
        halves = rows["event_id"].copy().view(">u8").reshape(-1, 2)
        rows = rows[np.lexsort((rows["platform_id"], halves[:, 1], halves[:, 0]))]
    statement = "COPY event (pool_id, platform_id, event_id, batch_number) FROM STDIN (FORMAT BINARY)"
    try:
        with driver_connection(connection).cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(_COPY_HEADER + rows.tobytes() + _COPY_TRAILER)
    except psycopg.errors.UniqueViolation:
        raise EventsKnownError from None


def _copy_rows(claims: Sequence[EventClaim], lengths: list[int], event_ids: EventIds) -> npt.NDArray[np.void]:
    rows = np.empty(len(event_ids), dtype=_COPY_ROW)
    rows["fields"] = 4
    rows["pool_bytes"], rows["pool_id"] = 4, claims[0].pool_id
    rows["platform_bytes"], rows["platform_id"] = 4, np.repeat([claim.platform_id for claim in claims], lengths)
    rows["event_bytes"], rows["event_id"] = 16, event_ids
    rows["batch_bytes"], rows["batch_number"] = 8, np.repeat([claim.batch_number for claim in claims], lengths)
    return rows


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


BATCH_NUMBERS_AT_ONCE: Final = 32
"""Taken from the database together. What a process leaves stays unused: they only have to differ."""

_TAKE_NUMBERS: Final = sa.select(t.batch_number.next_value()).select_from(
    sa.func.generate_series(1, BATCH_NUMBERS_AT_ONCE).table_valued()
)


class BatchNumbers:
    """Numbers for batches, each given once."""

    def __init__(self) -> None:
        self._free: SimpleQueue[int] = SimpleQueue()

    def take(self, connection: sa.Connection) -> int:
        """The next free number."""
        try:
            return self._free.get_nowait()
        except Empty:
            first, *others = connection.execute(_TAKE_NUMBERS).scalars()
        for number in others:
            self._free.put(number)
        return int(first)
