"""Weights: the packed vectors of batches and retractions, recomputed from the bodies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from audit.batches.check import WeighedBatch
from audit.fsck.numbered import NumberedRows
from audit.fsck.registry import Registry
from audit.fsck.report import LISTED_MAX, CheckReport
from audit.fsck.rows import add_extra, compare
from audit.fsck.stored import Row
from ledger.store import tables as lt
from ledger.usage.entries import UsageContent
from ledger.usage.weights import pack


@dataclass(frozen=True, slots=True)
class Owner:
    """The row that determines under which number weights are: its table, its readable key, and the column."""

    table: str
    key: str
    figure: str


@dataclass(frozen=True, slots=True)
class _Absent:
    """Weights of which there is no row under the number of the batch or retraction."""

    owner: Owner | None
    leaf_index: int
    number: int | None
    following: list[Row]


class WeightRows:
    """A pool's rows of `batch_weights`, read once in the order of their numbers."""

    def __init__(self, connection: sa.Connection, pool_id: int, registry: Registry, report: CheckReport) -> None:
        self._report = report
        self._rows = NumberedRows(connection, pool_id, lt.batch_weights, report)
        self._registry = registry
        self._absent: list[_Absent] = []
        self.weightless: set[int] = set()
        """Leaves without any row under the number of their batch: possibly the number is wrong."""

    def check(
        self, owner: Owner | None, leaf_index: int, usage: UsageContent, weighed: WeighedBatch, number: int | None
    ) -> None:
        """Check for one row for each month and mode that has events, with their weights.

        `owner` is the only row that says the weights are under this number; None if other rows say so too. `number` is
        None where no row says it.
        """
        stored = [] if number is None else self._rows.take(number)
        following = list(self._following(usage, weighed, number or 0))
        if following and not stored and len(self._absent) < LISTED_MAX:
            self._absent.append(_Absent(owner, leaf_index, number, following))
            self.weightless.add(leaf_index)
        elif number is not None:
            compare(self._report, lt.batch_weights, stored, following)

    def _following(self, usage: UsageContent, weighed: WeighedBatch, number: int) -> Iterator[Row]:
        ids = self._registry.numbers_of(weighed.names)
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

    def finish(self, agreed: Mapping[int, int], unfollowed: Collection[int]) -> None:
        """Report rows whose number no batch or retraction has, and weights that are missing.

        `agreed` are numbers of batches, by leaf, that are not those of their rows; `unfollowed` those of batches and
        retractions that were not checked.
        """
        orphans: dict[int, list[Row]] = {}
        for row in self._rows.rest():
            number = row["batch_number"]
            if number in unfollowed:
                continue
            self._report.count(lt.batch_weights.name)
            if number in orphans or len(orphans) < LISTED_MAX:
                orphans.setdefault(number, []).append(row)
            else:
                add_extra(self._report, lt.batch_weights, row)
        self._settle_absent(orphans, agreed)
        for rows in orphans.values():
            for row in rows:
                add_extra(self._report, lt.batch_weights, row)

    def _settle_absent(self, orphans: dict[int, list[Row]], agreed: Mapping[int, int]) -> None:
        """If orphaned rows are just the weights that are missing, one of the two numbers is wrong: name both."""
        for absent in self._absent:
            number = agreed.get(absent.leaf_index, absent.number)
            if absent.owner is not None:
                same = (other for other, rows in orphans.items() if _same_weights(rows, absent.following))
                found = next(same, None)
                if found is not None:
                    self._report.add(absent.owner.table, absent.owner.key, absent.owner.figure, number, found)
                    continue
            if number is not None:
                following = [{**row, "batch_number": number} for row in absent.following]
                stored = orphans.pop(number, [])
                self._report.count(lt.batch_weights.name, -len(stored))  # they were counted as orphans
                compare(self._report, lt.batch_weights, stored, following)


def _same_weights(rows: list[Row], following: list[Row]) -> bool:
    def by_part(of: list[Row]) -> dict[Any, dict[str, Any]]:
        names = following[0].keys() - {"batch_number"}
        return {(row["month"], row["mode"]): {name: row.get(name) for name in names} for row in of}

    return by_part(rows) == by_part(following)
