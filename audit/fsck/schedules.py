"""A pool's schedule: its row says what the latest leaves say of it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from audit.fsck.report import CheckReport
from audit.fsck.rows import UNSAID, compare
from audit.fsck.stored import Row, columns_of, stored_rows
from ledger.log.leaves import Leaf
from ledger.store.logs.log import CLOCK_AHEAD_MAX
from ledger.store.postgres.transactions import read_time
from payout.entries import PauseContent, ScheduleContent
from payout.rounds import Nothing
from payout.store import tables as t


class ScheduleRow:
    """A pool's row of `schedule`: each leaf that says something of the schedule replaces what the row says."""

    def __init__(self) -> None:
        self._row: Row = {}

    def follow(self, leaf: Leaf[Any]) -> None:
        """Take in what a leaf says of the schedule, if it says anything."""
        match leaf.content:
            case ScheduleContent(cron=cron, time_zone=time_zone, paused=paused):
                times: Row = {"cron": cron, "time_zone": time_zone}
                is_same = times.items() <= self._row.items()
                # Fire times count from the leaf that set them, whatever was paused and resumed since.
                updated_at = self._row["updated_at"] if is_same else leaf.time
                # Fire times that cut no round are in no log.
                unsaid = {"skipped_at": UNSAID, "skipped_because": UNSAID}
                self._row = {**times, "paused": paused, "updated_at": updated_at, "leaf_index": leaf.index, **unsaid}
            case PauseContent() if self._row:
                self._row |= {"paused": True, "leaf_index": leaf.index}

    def finish(self, connection: sa.Connection, pool_id: int, report: CheckReport) -> None:
        """Compare the stored row with what the log says."""
        query = sa.select(*columns_of(t.schedule)).where(t.schedule.c.pool_id == pool_id)
        stored = list(stored_rows(connection, query, report))
        compare(report, t.schedule, stored, [self._row] if self._row else [])
        for row in stored:
            _check_skipped(row, connection, report)


def _check_skipped(row: Row, connection: sa.Connection, report: CheckReport) -> None:
    """Check that what was skipped had come since the times were set: a later time would keep rounds from being cut.

    The clock may have been set back since, or be that of another machine after a failover.
    """
    at, because, since = row["skipped_at"], row["skipped_because"], row["updated_at"]
    if at is not None and not since < at <= read_time(connection) + CLOCK_AHEAD_MAX:
        report.add(t.schedule.name, "", "skipped_at", at, f"a time that has come, after {since}")
    if because not in ([None] if at is None else list(Nothing)):
        report.add(t.schedule.name, "", "skipped_because", because, "null" if at is None else "why no round was cut")
