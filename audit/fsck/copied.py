"""Rows of `event` as Postgres sends them: a COPY in binary, straight from libpq."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import psycopg
import sqlalchemy as sa
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from ledger.store.database import driver_connection
from ledger.usage.batch import BoolArray, Int64Array
from ledger.usage.pages import EventIds


class EventRows(NamedTuple):
    """Rows of `event`: the platform's number, the id and the batch's number of each, (n,)."""

    platforms: Int64Array
    ids: EventIds
    numbers: Int64Array

    def at(self, chosen: BoolArray | Int64Array) -> EventRows:
        """Returns some of them."""
        return EventRows(self.platforms[chosen], self.ids[chosen], self.numbers[chosen])

    def and_then(self, others: EventRows) -> EventRows:
        """Returns these, followed by others."""
        both = (np.concatenate(pair) for pair in zip(self, others, strict=True))
        return EventRows(*both)


_COPIED: Final = np.dtype(
    [
        ("fields", ">i2"),
        ("platform_bytes", ">i4"), ("platform", ">i4"),
        ("id_bytes", ">i4"), ("id", "V16"),
        ("number_bytes", ">i4"), ("number", ">i8"),
    ]
)  # fmt: skip
"""A row of `event` in Postgres' binary format of COPY; none of its columns may be null."""

_COPY_HEADER_BYTES: Final = 19
_COPIED_AT_ONCE: Final = 2**18 * _COPIED.itemsize


def copied_events(connection: sa.Connection, pool_id: int) -> Iterator[EventRows]:
    """Yields a pool's rows of `event` in the order in which they lie, some hundred thousand at a time."""
    query = f"SELECT platform_id, event_id, batch_number FROM event WHERE pool_id = {int(pool_id)}"  # noqa: S608  # a number
    copying = f"COPY ({query}) TO STDOUT (FORMAT BINARY)"
    waiting = bytearray()
    for some in _copied(driver_connection(connection).pgconn, copying):
        waiting += some
        yield _rows_in(waiting)


def _copied(connection: PGconn, statement: str) -> Iterator[bytearray]:
    """Yields what a COPY sends, some hundred thousand rows at a time.

    Straight from libpq, which gives a row at a time: psycopg's own way takes more than twice as long for each.

    Raises:
        psycopg.Error: Postgres ends the COPY with an error.
    """
    begun, is_over = connection.exec_(statement.encode()), False
    next_row = connection.get_copy_data
    try:
        size = 0 if begun.status == ExecStatus.COPY_OUT else -1
        while size >= 0:
            read = bytearray()
            while len(read) < _COPIED_AT_ONCE:
                size, row = next_row(0)
                if size < 0:
                    break
                read += row
            yield read
        results = [begun, *iter(connection.get_result, None)]
        is_over = True
    finally:
        if not is_over:  # nobody reads the rest, and no other statement could be sent before it
            connection.finish()
    for result in results:
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.errors.error_from_result(result)


def _rows_in(waiting: bytearray) -> EventRows:
    """Take the whole rows out of what was read. The header is longer than no row and starts like none."""
    start = _COPY_HEADER_BYTES if waiting[:4] == b"PGCO" else 0
    rows = (len(waiting) - start) // _COPIED.itemsize
    end = start + rows * _COPIED.itemsize
    found: npt.NDArray[Any] = np.frombuffer(bytes(waiting[start:end]), dtype=_COPIED)
    del waiting[:end]
    return EventRows(
        found["platform"].astype(np.int64), np.ascontiguousarray(found["id"]), found["number"].astype(np.int64)
    )
