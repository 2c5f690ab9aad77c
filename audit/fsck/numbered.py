"""Rows that name a batch by its number, read once in the order of the numbers and handed out by number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import sqlalchemy as sa

from audit.fsck.report import CheckReport
from audit.fsck.stored import Row, columns_of, stored_rows

WAITING_MAX: Final = 2_000
"""Rows that are kept until their number is asked for. Numbers are given out nearly in the order of the log, so a sound
database has a few dozen; rows beyond this are read again when they are."""


_CHUNK_ROWS: Final = 100
"""Rows that are read at a time: of weights and pages a thousand are some 50 MB, which others would wait for."""


class NumberedRows:
    """A pool's rows of a table that begins its key with a batch's number. They are read from the first `take` on."""

    def __init__(self, connection: sa.Connection, pool_id: int, table: sa.Table, report: CheckReport) -> None:
        self.table = table
        self._connection, self._report = connection, report
        self._query = sa.select(*columns_of(table)).where(table.c.pool_id == pool_id)
        ordered = self._query.order_by(*table.primary_key.columns)
        self._rows = stored_rows(connection, ordered, report, chunk_rows=_CHUNK_ROWS)
        self._next: Row | None = None
        self._is_begun = False
        self._waiting: dict[int, list[Row]] = {}
        self._kept = 0
        self._passed: set[int] = set()
        """Numbers whose rows were passed and not kept."""

    def take(self, number: int) -> list[Row]:
        """Returns the rows with a number; only the first time that it is asked for."""
        self._begin()
        while self._next is not None and self._next["batch_number"] <= number:
            self._pass(self._next, keep=self._next["batch_number"] == number)
            self._next = next(self._rows, None)
        if number in self._passed:
            self._passed.discard(number)
            return list(self._again(number))
        rows = self._waiting.pop(number, [])
        self._kept -= len(rows)
        return rows

    def rest(self) -> Iterator[Row]:
        """Yields the rows that nobody asked for."""
        self._begin()
        waiting, self._waiting = self._waiting, {}
        for rows in waiting.values():
            yield from rows
        for number in sorted(self._passed):
            yield from self._again(number)
        while self._next is not None:
            yield self._next
            self._next = next(self._rows, None)

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun, self._next = True, next(self._rows, None)

    def _pass(self, row: Row, *, keep: bool) -> None:
        number = row["batch_number"]
        if number in self._passed or (self._kept >= WAITING_MAX and not keep):
            self._kept -= len(self._waiting.pop(number, []))
            self._passed.add(number)
        else:
            self._waiting.setdefault(number, []).append(row)
            self._kept += 1

    def _again(self, number: int) -> Iterator[Row]:
        query: sa.Select[Any] = self._query.where(self.table.c.batch_number == number)
        return stored_rows(self._connection, query.order_by(*self.table.primary_key.columns), self._report)
