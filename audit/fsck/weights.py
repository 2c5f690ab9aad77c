"""Weights: the packed vectors of batches and retractions, recomputed from the bodies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from audit.batch_check import WeighedBatch
from audit.fsck.report import LISTED_MAX, CheckReport
from audit.fsck.rows import Row, add_extra, columns_of, compare, stored_rows
from ledger.store import tables as lt
from ledger.usage.entries import UsageContent
from ledger.usage.weights import pack


@dataclass(frozen=True, slots=True)
class Owner:
    """The row that determines under which number weights are: its table, its readable key, and the column."""

    table: str
    key: str
    figure: str


class WeightRows:
    """A pool's rows of `batch_weights`."""

    def __init__(
        self, connection: sa.Connection, pool_id: int, collective_ids: dict[str, int], report: CheckReport
    ) -> None:
        self._connection, self._report = connection, report
        self._all = sa.select(*columns_of(lt.batch_weights)).where(lt.batch_weights.c.pool_id == pool_id)
        self._collective_ids = collective_ids
        self._absent: list[tuple[Owner, int, list[Row]]] = []
        """Weights without any row under their number: possibly the number is wrong."""

    def check(self, owner: Owner | None, usage: UsageContent, weighed: WeighedBatch, number: int) -> None:
        """Check for one row for each month and mode that has events, with their weights.

        `owner` is the only row that says the weights are under this number; None if other rows say so too.
        """
        under = lt.batch_weights.c.batch_number == number
        stored = list(stored_rows(self._connection, self._all.where(under)))
        following = list(self._following(usage, weighed, number))
        if owner is not None and following and not stored and len(self._absent) < LISTED_MAX:
            self._absent.append((owner, number, following))
        else:
            compare(self._report, lt.batch_weights, stored, following)

    def _following(self, usage: UsageContent, weighed: WeighedBatch, number: int) -> Iterator[Row]:
        names = weighed.batch.names
        ids: npt.NDArray[np.int64] = np.array([self._collective_ids.get(name, 0) for name in names], dtype=np.int64)
        for month, mode, of_mode in weighed.weights.parts():
            row: Row = {
                "batch_number": number,
                "month": month,
                "mode": mode,
                "method": usage.method,
                "method_version": usage.method_version,
                "events": of_mode.events,
                "unattributed": of_mode.unattributed,
            }
            # An unregistered collective is reported elsewhere, and has no number to pack.
            yield {**row, "packed": pack(of_mode, ids)} if ids[of_mode.index].all() else row

    def finish(self, known: npt.NDArray[np.int64]) -> None:
        """Report rows whose number no batch or retraction has; `known` are the numbers of all that do, ascending."""
        orphans: dict[int, list[Row]] = {}
        for row in stored_rows(self._connection, self._all.with_only_columns(*_KEY)):
            number = row["batch_number"]
            place = int(np.searchsorted(known, number))
            if place < len(known) and known[place] == number:
                continue
            self._report.count(lt.batch_weights.name)
            if number in orphans or len(orphans) < LISTED_MAX:
                orphans.setdefault(number, [])
            else:
                add_extra(self._report, lt.batch_weights, row)
        for number in orphans:
            under = lt.batch_weights.c.batch_number == number
            orphans[number] = list(stored_rows(self._connection, self._all.where(under)))
        self._settle_absent(orphans)
        for rows in orphans.values():
            for row in rows:
                add_extra(self._report, lt.batch_weights, row)

    def _settle_absent(self, orphans: dict[int, list[Row]]) -> None:
        """If orphaned rows are just the weights that are missing, one of the two numbers is wrong: name both."""
        for owner, number, following in self._absent:
            found = next((other for other, rows in orphans.items() if _same_weights(rows, following)), None)
            if found is None:
                compare(self._report, lt.batch_weights, [], following)
            else:
                self._report.add(owner.table, owner.key, owner.figure, number, found)


_KEY: Final = (lt.batch_weights.c.batch_number, lt.batch_weights.c.mode, lt.batch_weights.c.month)


def _same_weights(rows: list[Row], following: list[Row]) -> bool:
    def by_part(of: list[Row]) -> dict[Any, dict[str, Any]]:
        names = following[0].keys() - {"batch_number"}
        return {(row["month"], row["mode"]): {name: row.get(name) for name in names} for row in of}

    return by_part(rows) == by_part(following)
