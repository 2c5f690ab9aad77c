"""Events: each accepted event has one row, or is in one page, with its batch's number; or none has, where a closed
pool's were dropped.

The store chooses the number, so the log does not contain it; but a batch and its events must have the same one.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from audit.fsck.report import LISTED_MAX, CheckReport
from audit.fsck.rows import Row, add_extra, columns_of, stored_rows
from ledger.store import tables as lt
from ledger.store.log import PoolRef
from ledger.store.usage.pages import find_numbers
from ledger.usage.pages import EventIds, Page, known_among, unpacked


class _Numbered:
    """How many rows of a table each batch number has: 16 bytes a batch."""

    def __init__(self, connection: sa.Connection, table: sa.Table, pool_id: int, report: CheckReport) -> None:
        numbers, counts = array("q"), array("q")
        query = sa.select(table.c.batch_number, sa.func.count().label("rows")).where(table.c.pool_id == pool_id)
        for row in stored_rows(connection, query.group_by("batch_number").order_by("batch_number")):
            numbers.append(row["batch_number"])
            counts.append(row["rows"])
        self.numbers, self._counts = np.array(numbers, dtype=np.int64), np.array(counts, dtype=np.int64)
        report.count(table.name, int(self._counts.sum()))

    def rows_of(self, number: int) -> int:
        """Returns how many rows a number has."""
        place = int(np.searchsorted(self.numbers, number))
        there = place < len(self.numbers) and self.numbers[place] == number
        return int(self._counts[place]) if there else 0

    def orphaned(self, known: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
        """Returns the numbers that are not among these, and how many rows they have."""
        among = ~np.isin(self.numbers, known)
        return self.numbers[among], int(self._counts[among].sum())


class StoredEvents:
    """A pool's rows of `event` and its pages of events."""

    def __init__(self, connection: sa.Connection, pool_id: int, report: CheckReport) -> None:
        self._connection, self._pool_id, self._report = connection, pool_id, report
        dropped = (lt.closing.c.pool_id == pool_id) & lt.closing.c.events_dropped
        self._are_dropped = bool(connection.execute(sa.select(sa.exists().where(dropped))).scalar_one())
        self._rows = _Numbered(connection, lt.event, pool_id, report)
        self._pages = _Numbered(connection, lt.claim_page, pool_id, report)

    def check(self, ids: EventIds, platform_id: int, stored_number: int | None) -> int | None:
        """Compare the rows and pages of a batch's accepted events, and all others with its number, with the batch.

        Returns the batch's number: the one in its row, unless all of its events agree on one that no batch has.
        """
        if self._are_dropped:
            return stored_number
        pages = self._pages_with(stored_number)
        tallies = self._tallies(ids, platform_id, stored_number, pages)
        number = stored_number
        if len(tallies) == 1 and stored_number not in tallies and None not in tallies:
            (agreed,) = tallies
            number = stored_number if self._is_taken(agreed) else agreed
        if number is None:
            return None
        if number != stored_number:
            pages = self._pages_with(number)
        rest = ids[~known_among(ids, self._fitting(pages, ids, platform_id))]
        right = tallies.get(number, 0) - (len(ids) - len(rest))
        if right < len(rest):
            self._add_wrong(rest, platform_id, number)
        if self._rows.rows_of(number) > right:
            self._add_extra(rest, platform_id, number)
        return number

    def finish(self, known: npt.NDArray[np.int64]) -> None:
        """Report rows and pages whose number belongs to no batch, and all where they were dropped.

        `known` are the numbers of all batches.
        """
        for table, stored in ((lt.event, self._rows), (lt.claim_page, self._pages)):
            numbers, count = stored.orphaned(known[:0] if self._are_dropped else known)
            if not count:
                continue
            listed = 0
            most = None if self._report.every else LISTED_MAX
            for row in self._with_number(table, numbers[:most].tolist(), limit=most):
                add_extra(self._report, table, row)
                listed += 1
            self._report.add_unlisted(table.name, "row", count - listed)

    def _pages_with(self, number: int | None) -> list[_StoredPage]:
        if number is None or not self._pages.rows_of(number):
            return []
        return [(row, _ids_of(row)) for row in self._with_number(lt.claim_page, [number])]

    def _tallies(
        self, ids: EventIds, platform_id: int, stored_number: int | None, pages: Sequence[_StoredPage]
    ) -> Counter[int | None]:
        """Returns how many of these events have which number, in a row or a page; None counts those without.

        `pages` are those with the stored number.
        """
        in_pages = known_among(ids, _all_ids(pages))
        tallies: Counter[int | None] = Counter({stored_number: int(np.count_nonzero(in_pages))})
        ids = ids[~in_pages]
        rows = self._connection.execute(_TALLY, self._offer(ids, platform_id)) if len(ids) else ()
        tallies.update({row.batch_number: row.events for row in rows})
        if tallies[None]:
            pool, asked = PoolRef(self._pool_id, "", ""), [UUID(bytes=each.tobytes()) for each in ids]
            found = find_numbers(self._connection, pool, platform_id, asked).values()
            elsewhere = Counter(number for number in found if number not in tallies)
            tallies[None] -= elsewhere.total()
            tallies.update(elsewhere)
        return +tallies

    def _fitting(self, pages: Sequence[_StoredPage], ids: EventIds, platform_id: int) -> EventIds:
        """Returns the ids of pages that have accepted events alone, each once; reports what is wrong with any."""
        stored = _all_ids(pages)
        fits, is_repeated = known_among(stored, ids), len(np.unique(stored)) < len(stored)
        fitting, start = [ids[:0]], 0
        for row, found in pages:
            is_sound = len(found) > 0 and bool(fits[start : start + len(found)].all())
            start += len(found)
            if is_sound and not (is_repeated and known_among(found, np.concatenate(fitting)).any()):
                self._compare(row, Page(found), platform_id)
                fitting.append(found)
            else:
                add_extra(self._report, lt.claim_page, row)
        return np.concatenate(fitting)

    def _compare(self, row: Row, page: Page, platform_id: int) -> None:
        follows = {
            "platform_id": platform_id,
            "level": page.level,
            "low": UUID(bytes=page.low),
            "high": UUID(bytes=page.high),
            "width": page.width,
        }
        for column, value in follows.items():
            if row[column] != value:
                key = f"batch_number={row['batch_number']} low={row['low']}"
                self._report.add(lt.claim_page.name, key, column, row[column], value)

    def _is_taken(self, number: int | None) -> bool:
        in_log = sa.exists().where(
            lt.leaf.c.pool_id == lt.batch.c.pool_id, lt.leaf.c.leaf_index == lt.batch.c.leaf_index
        )
        here = (lt.batch.c.pool_id == self._pool_id) & (lt.batch.c.batch_number == number) & in_log
        return bool(self._connection.execute(sa.select(sa.exists().where(here))).scalar_one())

    def _add_wrong(self, ids: EventIds, platform_id: int, number: int) -> None:
        for row in self._connection.execute(_WRONG, {**self._offer(ids, platform_id), "number": number}):
            key = f"platform_id={platform_id} event_id={row.event_id}"
            if row.batch_number is None:
                self._report.add("event", key, "row", "none", f"batch_number={number}")
            else:
                self._report.add("event", key, "batch_number", row.batch_number, number)

    def _add_extra(self, ids: EventIds, platform_id: int, number: int) -> None:
        accepted = {UUID(bytes=event_id.tobytes()) for event_id in ids}
        for row in self._with_number(lt.event, [number]):
            if row["platform_id"] != platform_id or row["event_id"] not in accepted:
                add_extra(self._report, lt.event, row)

    def _with_number(self, table: sa.Table, numbers: list[int], *, limit: int | None = None) -> Iterator[Row]:
        among = table.c.batch_number == sa.any_(sa.literal(numbers, sa.ARRAY(sa.BigInteger)))
        query = sa.select(*columns_of(table)).where(table.c.pool_id == self._pool_id, among)
        return stored_rows(self._connection, query.order_by(*table.primary_key.columns).limit(limit))

    def _offer(self, ids: EventIds, platform_id: int) -> dict[str, Any]:
        return {"pool_id": self._pool_id, "platform_id": platform_id, "ids": ids.tobytes(), "count": len(ids)}


_StoredPage = tuple[Row, EventIds]
"""A page's row, and the ids in it."""


def _all_ids(pages: Sequence[_StoredPage]) -> EventIds:
    return np.concatenate([np.empty(0, dtype="V16"), *(ids for _, ids in pages)])


def _ids_of(page: Row) -> EventIds:
    try:
        return unpacked(page["low"].bytes, page["width"], page["ids"])
    except ValueError:
        return np.empty(0, dtype="V16")


def _over_offered(query: str) -> sa.TextClause:
    """Returns a query over the events that are passed as one string of bytes, with the number in each one's row.

    A subquery for each, not a join: if the planner underestimates the table, a join reads all of it for every batch.
    """
    numbered = f"""
        WITH offered AS MATERIALIZED (
            SELECT encode(substring(:ids FROM 16 * place + 1 FOR 16), 'hex')::uuid AS event_id
            FROM generate_series(0, :count - 1) AS place
        ), numbered AS (
            SELECT event_id, (
                SELECT batch_number FROM event
                WHERE pool_id = :pool_id AND platform_id = :platform_id AND event.event_id = offered.event_id
            ) AS batch_number
            FROM offered
        )
        {query}
    """  # noqa: S608  # both queries are written below
    return sa.text(numbered).bindparams(
        sa.bindparam("ids", type_=sa.LargeBinary),
        *(sa.bindparam(name, type_=sa.Integer) for name in ("count", "pool_id", "platform_id")),
    )


_TALLY: Final = _over_offered("SELECT batch_number, count(*) AS events FROM numbered GROUP BY batch_number")
_WRONG: Final = _over_offered(
    "SELECT event_id, batch_number FROM numbered WHERE batch_number IS DISTINCT FROM :number"
).bindparams(sa.bindparam("number", type_=sa.BigInteger))
