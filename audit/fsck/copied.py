"""Rows of `event` as Postgres sends them, those of each batch together: a COPY in binary, straight from libpq."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import sqlalchemy as sa
from psycopg.pq import ExecStatus

from ledger.store.postgres.transactions import driver_connection
from ledger.usage.pages import EventIds


class BatchRows(NamedTuple):
    """All rows of `event` that have a batch's number and a platform's: their ids, (n,), in any order."""

    platform_id: int
    number: int
    ids: EventIds


_HEADER_BYTES: Final = 19
"""Of COPY in binary, before the first row."""

_COUNT_BYTES: Final = 2
"""Of the number of columns, which comes first in a row, and says at the end that there is no other."""

_ROW: Final = struct.Struct(">h ii iq i 5i")
"""What precedes the ids: the number of columns, each with its length, and of the array its dimensions, whether there
are nulls, the number of its type, its length and its first index."""

_SOUND: Final = 4, 8, 0
"""In a row without nulls: the lengths of the first two columns, and that the array has none. No column may be null, but
where the table's constraints were dropped any can be."""

_LENGTH: Final = struct.Struct(">i")

_ARRAY_HEADER_BYTES: Final = 20

_ID: Final = np.dtype([("bytes", ">i4"), ("id", "V16")])

_WORK_MEM: Final = "64MB"
"""For putting together the rows of some two million events; those of more go through Postgres' files in between."""


class CopiedEvents:
    """A pool's rows of `event`, batch by batch, of which Postgres begins to send some when this is made.

    Postgres puts them together, for a row that is sent by itself takes a quarter of a microsecond to receive. Nothing
    else can be asked on the connection before all were read.
    """

    def __init__(self, connection: sa.Connection, pool_id: int) -> None:
        # By one process of Postgres: others would take the processors from those that weigh.
        settings = {"work_mem": _WORK_MEM, "max_parallel_workers_per_gather": "0"}
        connection.execute(sa.select(*(sa.func.set_config(name, value, True) for name, value in settings.items())))
        query = f"""
            SELECT platform_id, batch_number, array_agg(event_id) FROM event
            WHERE pool_id = {int(pool_id)} GROUP BY platform_id, batch_number
        """  # noqa: S608  # a number
        self.nulls = 0
        """Rows of which a column is null, of those read so far. They are left out."""
        self._connection = driver_connection(connection).pgconn
        self._connection.send_query(f"COPY ({query}) TO STDOUT (FORMAT BINARY)".encode())
        while self._connection.flush():
            pass

    def rows(self) -> Iterator[BatchRows]:
        """Yields them, once.

        Raises:
            psycopg.Error: Postgres ends with an error.
        """
        start = _HEADER_BYTES
        for row in self._received():
            if len(row) > start + _COUNT_BYTES:  # the last one only says that it is
                yield self._rows_in(row, start)
            start = 0

    def _received(self) -> Iterator[memoryview]:
        """Yields what the COPY sends, the first row after the header.

        Straight from libpq: psycopg's own way takes more than twice as long for each.
        """
        connection, is_over = self._connection, False
        try:
            begun = connection.get_result()
            size = 0 if begun is not None and begun.status == ExecStatus.COPY_OUT else -1
            while size >= 0:
                size, row = connection.get_copy_data(0)
                if size >= 0:
                    yield row
            results = [begun, *iter(connection.get_result, None)]
            is_over = True
        finally:
            if not is_over:  # nobody reads the rest, and no other statement could be sent before it
                connection.finish()
        for result in results:
            if result is not None and result.status == ExecStatus.FATAL_ERROR:
                raise psycopg.errors.error_from_result(result)

    def _rows_in(self, row: memoryview, start: int) -> BatchRows:
        if len(row) >= start + _ROW.size:
            _, first, platform_id, second, number, _, _, nulls, _, count, _ = _ROW.unpack_from(row, start)
            if (first, second, nulls) == _SOUND:
                found: Any = np.frombuffer(row, _ID, count, start + _ROW.size)
                return BatchRows(platform_id, number, np.ascontiguousarray(found["id"]))
        platform, batch, events = _values(bytes(row[start + _COUNT_BYTES :]))
        ids = _values(events[_ARRAY_HEADER_BYTES:])
        known = [each for each in ids if platform and batch and each]
        self.nulls += len(ids) - len(known)
        return BatchRows(int.from_bytes(platform, "big"), int.from_bytes(batch, "big"), np.array(known, dtype="V16"))


def _values(data: bytes) -> list[bytes]:
    """Values that follow their lengths, of which each null is empty."""
    found, place = [], 0
    while place < len(data):
        start = place + _LENGTH.size
        place = start + max(0, _LENGTH.unpack_from(data, place)[0])
        found.append(data[start:place])
    return found
