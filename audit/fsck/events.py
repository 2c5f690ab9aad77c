"""Events: each accepted event has one row, with its batch's number; or none has, where a closed pool's were dropped.

The store chooses the number, so the log does not contain it; but a batch and its events must have the same one.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from audit.fsck.report import LISTED_MAX, CheckReport
from audit.fsck.rows import Row, add_extra, stored_rows
from ledger.store import tables as lt

EventIds = npt.NDArray[np.void]
"""(n,) of 16 bytes each."""


class EventRows:
    """A pool's rows of `event`. It keeps how many rows each number has, 16 bytes a batch, and nothing else."""

    def __init__(self, connection: sa.Connection, pool_id: int, report: CheckReport) -> None:
        self._connection, self._pool_id, self._report = connection, pool_id, report
        dropped = (lt.closing.c.pool_id == pool_id) & lt.closing.c.events_dropped
        self._are_dropped = bool(connection.execute(sa.select(sa.exists().where(dropped))).scalar_one())
        numbers, counts = array("q"), array("q")
        query = sa.select(lt.event.c.batch_number, sa.func.count().label("rows")).where(lt.event.c.pool_id == pool_id)
        for row in stored_rows(connection, query.group_by("batch_number").order_by("batch_number")):
            numbers.append(row["batch_number"])
            counts.append(row["rows"])
        self._numbers, self._counts = np.array(numbers, dtype=np.int64), np.array(counts, dtype=np.int64)
        report.count(lt.event.name, int(self._counts.sum()))

    def check(self, ids: EventIds, platform_id: int, stored_number: int | None) -> int | None:
        """Compare the rows of a batch's accepted events, and all others with its number, with the batch.

        Returns the batch's number: the one in its row, unless all of its events agree on one that no batch has.
        """
        if self._are_dropped:
            return stored_number
        tallies = self._tallies(ids, platform_id)
        number = stored_number
        if len(tallies) == 1 and stored_number not in tallies and None not in tallies:
            (agreed,) = tallies
            number = stored_number if self._is_taken(agreed) else agreed
        if number is None:
            return None
        right = tallies.get(number, 0)
        if right < len(ids):
            self._add_wrong(ids, platform_id, number)
        if self._rows_of(number) > right:
            self._add_extra(ids, platform_id, number)
        return number

    def finish(self, known: npt.NDArray[np.int64]) -> None:
        """Report rows whose number belongs to no batch, and all where they were dropped.

        `known` are the numbers of all batches.
        """
        orphaned = ~np.isin(self._numbers, known[:0] if self._are_dropped else known)
        numbers, count = self._numbers[orphaned], int(self._counts[orphaned].sum())
        if not count:
            return
        listed = 0
        most = None if self._report.every else LISTED_MAX
        for row in self._with_number(numbers[:most].tolist(), limit=most):
            add_extra(self._report, lt.event, row)
            listed += 1
        self._report.add_unlisted(lt.event.name, "row", count - listed)

    def _tallies(self, ids: EventIds, platform_id: int) -> dict[int | None, int]:
        """Returns how many of these events have a row with which number; None counts those without a row."""
        rows = self._connection.execute(_TALLY, self._offer(ids, platform_id))
        return {row.batch_number: row.events for row in rows}

    def _is_taken(self, number: int | None) -> bool:
        in_log = sa.exists().where(
            lt.leaf.c.pool_id == lt.batch.c.pool_id, lt.leaf.c.leaf_index == lt.batch.c.leaf_index
        )
        here = (lt.batch.c.pool_id == self._pool_id) & (lt.batch.c.batch_number == number) & in_log
        return bool(self._connection.execute(sa.select(sa.exists().where(here))).scalar_one())

    def _rows_of(self, number: int) -> int:
        place = int(np.searchsorted(self._numbers, number))
        there = place < len(self._numbers) and self._numbers[place] == number
        return int(self._counts[place]) if there else 0

    def _add_wrong(self, ids: EventIds, platform_id: int, number: int) -> None:
        for row in self._connection.execute(_WRONG, {**self._offer(ids, platform_id), "number": number}):
            key = f"platform_id={platform_id} event_id={row.event_id}"
            if row.batch_number is None:
                self._report.add("event", key, "row", "none", f"batch_number={number}")
            else:
                self._report.add("event", key, "batch_number", row.batch_number, number)

    def _add_extra(self, ids: EventIds, platform_id: int, number: int) -> None:
        accepted = {UUID(bytes=event_id.tobytes()) for event_id in ids}
        for row in self._with_number([number]):
            if row["platform_id"] != platform_id or row["event_id"] not in accepted:
                add_extra(self._report, lt.event, row)

    def _with_number(self, numbers: list[int], *, limit: int | None = None) -> Iterator[Row]:
        among = lt.event.c.batch_number == sa.any_(sa.literal(numbers, sa.ARRAY(sa.BigInteger)))
        query = sa.select(lt.event.c.platform_id, lt.event.c.event_id, lt.event.c.batch_number)
        return stored_rows(self._connection, query.where(lt.event.c.pool_id == self._pool_id, among).limit(limit))

    def _offer(self, ids: EventIds, platform_id: int) -> dict[str, Any]:
        return {"pool_id": self._pool_id, "platform_id": platform_id, "ids": ids.tobytes(), "count": len(ids)}


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
