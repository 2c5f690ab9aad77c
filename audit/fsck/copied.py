"""Rows of `event` as Postgres sends them, those of each batch together: a COPY in binary, straight from libpq."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
import sqlalchemy as sa
from psycopg.pq import ExecStatus

from ledger.store.database import driver_connection
from ledger.usage.pages import EventIds


class BatchRows(NamedTuple):
    """All rows of `event` that have a batch's number and a platform's: their ids, (n,), in any order."""

    platform_id: int
    number: int
    ids: EventIds


_HEADER_BYTES: Final = 19
"""Of COPY in binary, before the first row."""

_ROW: Final = struct.Struct(">h ii iq i 5i")
"""What precedes the ids: the number of columns, each with its length, and of the array its dimensions, whether there
are nulls, the number of its type, its length and its first index. No column may be null."""

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
            if len(row) >= start + _ROW.size:  # the last one only says that it is
                yield _rows_in(row, start)
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


def _rows_in(row: memoryview, start: int) -> BatchRows:
    _, _, platform_id, _, number, _, _, _, _, count, _ = _ROW.unpack_from(row, start)
    found: Any = np.frombuffer(row, _ID, count, start + _ROW.size)
    return BatchRows(platform_id, number, np.ascontiguousarray(found["id"]))
