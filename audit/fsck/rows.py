"""Rows of a table in the order of the log, compared with those that follow from a leaf."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from audit.fsck.report import CheckReport, shown_row
from audit.fsck.stored import Row, columns_of, key_of, stored_rows

UNSAID: Final = object()
"""Marks a value of a row that the log does not determine."""

_PLACE: Final = "place_in_log"


class LeafRows:
    """A pool's rows of a table, leaf by leaf."""

    def __init__(
        self,
        connection: sa.Connection,
        pool_id: int,
        table: sa.Table,
        report: CheckReport,
        place: sa.ColumnElement[int] | None = None,
    ) -> None:
        self.table = table
        at = (table.c.leaf_index if place is None else place).label(_PLACE)
        query = sa.select(*columns_of(table), at).where(table.c.pool_id == pool_id)
        self._rows = stored_rows(connection, query.order_by(at, *(table.c[name] for name in key_of(table))), report)
        self._waiting: deque[Row] = deque()
        self._look_ahead(1)

    def take(self, leaf_index: int) -> list[Row]:
        """Returns the rows of this leaf, preceded by those of earlier leaves, or of none, that nobody asked for."""
        if not self._waiting or self._waiting[0][_PLACE] > leaf_index:
            return []
        return [row for _, row in self._until(leaf_index)]

    def rest(self) -> Iterator[tuple[int, Row]]:
        """Yields all other rows, with the leaf that each names."""
        return self._until(None)

    def place(self) -> int | None:
        """The leaf that the next row names; None if there is no other row."""
        return self._waiting[0][_PLACE] if self._waiting else None

    def upcoming(self, rows: int) -> list[Row]:
        """Returns the next rows, up to so many, which are still to be taken."""
        self._look_ahead(rows)
        return list(islice(self._waiting, rows))

    def _look_ahead(self, rows: int) -> None:
        self._waiting += islice(self._rows, max(0, rows - len(self._waiting)))

    def _until(self, leaf_index: int | None) -> Iterator[tuple[int, Row]]:
        while self._waiting and (leaf_index is None or self._waiting[0][_PLACE] <= leaf_index):
            row = self._waiting.popleft()
            self._look_ahead(1)
            yield row.pop(_PLACE), row


class LogRows:
    """A pool's rows of several tables, leaf by leaf. Most leaves have rows in few of them."""

    def __init__(
        self, connection: sa.Connection, pool_id: int, tables: Sequence[sa.Table], report: CheckReport
    ) -> None:
        are_there = [sa.exists().where(table.c.pool_id == pool_id).label(table.name) for table in tables]
        found = connection.execute(sa.select(*are_there)).one()
        self._tables = [
            LeafRows(connection, pool_id, table, report)
            for table, is_there in zip(tables, found, strict=True)
            if is_there
        ]
        self._next: list[tuple[int, int]] = []
        """A heap: the leaf of each table's next row, and which table."""
        for number, table in enumerate(self._tables):
            self._await(number, table)

    def take(self, leaf_index: int) -> dict[str, list[Row]]:
        """Returns what each table has of a leaf (`LeafRows.take`), by the table's name, of those that have any."""
        found = {}
        while self._next and self._next[0][0] <= leaf_index:
            _, number = heappop(self._next)
            table = self._tables[number]
            found[table.table.name] = table.take(leaf_index)
            self._await(number, table)
        return found

    def rest(self) -> Iterator[tuple[sa.Table, int, Row]]:
        """Yields all other rows, each with its table and the leaf that it names."""
        for table in self._tables:
            for place, row in table.rest():
                yield table.table, place, row

    def _await(self, number: int, table: LeafRows) -> None:
        place = table.place()
        if place is not None:
            heappush(self._next, (place, number))


Find = Callable[[sa.Table, Row], Row | None]
"""Finds a row by the key of another, anywhere in the log."""


def compare(
    report: CheckReport, table: sa.Table, stored: list[Row], following: Iterable[Row], find: Find | None = None
) -> None:
    """Compare a leaf's stored rows of a table with those that follow from it.

    Rows are paired by their key. Those left on both sides are paired in order, as rows whose key was edited. A missing
    row may name another leaf; `find` looks for it, if given.
    """
    following = list(following)
    if not stored and not following:
        return
    report.count(table.name, len(stored))
    if stored == following:
        return
    key = key_of(table)
    wanted = {_values(row, key): row for row in following}
    unpaired = []
    for row in stored:
        match = wanted.pop(_values(row, key), None)
        if match is None:
            unpaired.append(row)
        else:
            _differences(report, table, row, match)
    missing = list(wanted.values())
    for row, match in zip(unpaired, missing, strict=False):
        _differences(report, table, row, match)
    for row in unpaired[len(missing) :]:
        add_extra(report, table, row)
    for row in missing[len(unpaired) :]:
        elsewhere = find(table, row) if find else None
        if elsewhere is not None:
            _differences(report, table, elsewhere, row)
            continue
        said = {name: value for name, value in row.items() if value is not UNSAID}
        report.add(table.name, shown_row(said, [name for name in key if name in said]), "row", "none", shown_row(said))


def compare_all(
    report: CheckReport,
    tables: Iterable[sa.Table],
    stored: Mapping[str, list[Row]],
    following: Mapping[str, Iterable[Row]],
    find: Find | None = None,
) -> None:
    """Compare a leaf's stored rows with those that follow from it, both by table, where there are any."""
    for table in tables:
        if table.name in stored or table.name in following:
            compare(report, table, stored.get(table.name, []), following.get(table.name, ()), find)


def add_extra(report: CheckReport, table: sa.Table, row: Row) -> None:
    """Report a row that follows from nothing."""
    key = shown_row(row, key_of(table))
    if not any(report.has(table.name, key, moved) for moved in ("leaf_index", "batch_number")):
        report.add(table.name, key, "row", shown_row(row), "none")


def find_row(connection: sa.Connection, pool_id: int, report: CheckReport, table: sa.Table, like: Row) -> Row | None:
    """Returns the pool's row with the same key, if there is one and the whole key is known."""
    key = {name: like[name] for name in key_of(table)}
    if UNSAID in key.values():
        return None
    query = sa.select(*columns_of(table)).where(table.c.pool_id == pool_id).filter_by(**key)
    return next(iter(list(stored_rows(connection, query, report))), None)


def _differences(report: CheckReport, table: sa.Table, stored: Row, following: Row) -> None:
    for name, value in following.items():
        if value is not UNSAID and stored[name] != value:
            report.add(table.name, shown_row(stored, key_of(table)), name, stored[name], value)


def _values(row: Row, names: list[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)
