"""Events: each accepted event has one row, or is in one page, with its batch's number; or none has, where a closed
pool's were dropped.

The store chooses the number, so the log does not contain it; but a batch and its events must have the same one. Pages
are compared batch by batch. Rows are read once, after the log, those of each number together, and matched by id.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Collection, Sequence
from uuid import UUID

import numpy as np
import sqlalchemy as sa

from audit.batches.means import Means
from audit.fsck.claims import LOGGED, NOWHERE, PAGED, ROW, Claims, Matched, ids_of
from audit.fsck.copied import CopiedEvents
from audit.fsck.logged import LoggedEvents
from audit.fsck.numbered import NumberedRows
from audit.fsck.report import LISTED_MAX, CheckReport
from audit.fsck.rows import add_extra
from audit.fsck.stored import Row
from ledger.store import tables as lt
from ledger.usage.batch import BoolArray, Int64Array
from ledger.usage.pages import EventIds, Page, ascending, known_among, unpacked


class StoredEvents:
    """A pool's rows of `event` and its pages of events.

    On a connection `beside`, which sees the same, Postgres begins with the rows at once.
    """

    def __init__(
        self,
        connection: sa.Connection,
        pool_id: int,
        report: CheckReport,
        means: Means,
        beside: sa.Connection | None = None,
    ) -> None:
        self._connection, self._pool_id, self._report = connection, pool_id, report
        self._copied = None if beside is None else CopiedEvents(beside, pool_id)
        dropped = (lt.closing.c.pool_id == pool_id) & lt.closing.c.events_dropped
        self._are_dropped = bool(connection.execute(sa.select(sa.exists().where(dropped))).scalar_one())
        self._pages = NumberedRows(connection, pool_id, lt.claim_page, report)
        self._claims = Claims(means.new_spill, means.salt, means.submit)
        self._logged = LoggedEvents(means.new_spill)
        self._batches = _Batches()
        self._unchecked = array("q")
        self._orphans: list[Row] = []
        self._unlisted: Counter[int] = Counter()
        """How many pages without a batch are not among those, by number."""

    def take(self, leaf_index: int, ids: EventIds, platform_id: int, number: int | None) -> None:
        """Take in a batch's accepted events, and compare the pages with its number, which its row says."""
        rest = ids
        if not self._are_dropped:
            rows = [] if number is None else self._pages.take(number)
            self._report.count(lt.claim_page.name, len(rows))
            rest = self._without_pages(rows, ids, platform_id)
            if not self._logged.takes(leaf_index, platform_id, rest, number):
                self._claims.add(LOGGED, platform_id, rest, leaf_index)
        self._batches.add(leaf_index, number, len(rest), whole=len(rest) == len(ids))

    def skip(self, number: int) -> None:
        """Take in the number of a batch whose events are not known: nothing can be said of what has it."""
        self._unchecked.append(number)

    def give_up(self) -> None:
        """Read what Postgres has begun to send, so that the connection is free."""
        for _ in self._copied.rows() if self._copied else ():
            pass

    def finish(self, weightless: Collection[int]) -> dict[int, int]:
        """Compare all rows with the events that were taken in.

        Returns the numbers of batches, by leaf, that are not those of their rows: all of a batch's events agree on one
        that no other batch has, and its weights are not under its row's number either, which `weightless` says.
        """
        self._take_orphans()
        copied = self._copied or CopiedEvents(self._connection, self._pool_id)
        for rows in copied.rows():
            self._report.count(lt.event.name, len(rows.ids))
            if not self._logged.finds(rows):
                self._claims.add(ROW, rows.platform_id, rows.ids, rows.number)
        if copied.nulls:
            self._report.add(lt.event.name, "", "row", f"{copied.nulls} rows with a null", "none", count=copied.nulls)
        for batch in self._logged.unfound():
            self._claims.add(LOGGED, batch.platform_id, batch.ids, batch.leaf_index)
        expected = self._batches.numbers()
        tally = _Tally()
        for matched in self._claims.matched():
            tally.take(matched, expected.of(matched.logged["value"]))
        agreed = self._batches.agreed(tally, weightless)
        self._batches.correct(agreed)
        if tally.found or self._orphans:
            self._report_all(set(agreed.values()))
        return agreed

    def _take_orphans(self) -> None:
        """Take in the pages that no batch has: a batch whose row has a wrong number may have had them."""
        unchecked = set(self._unchecked)
        for row in self._pages.rest():
            self._report.count(lt.claim_page.name)
            if row["batch_number"] in unchecked:
                continue
            if not self._are_dropped:
                self._claims.add(PAGED, row["platform_id"], _ids_of(row), row["batch_number"])
            if self._report.every or len(self._orphans) < LISTED_MAX:
                self._orphans.append(row)
            else:
                self._unlisted[row["batch_number"]] += 1

    def _report_all(self, corrected: Collection[int]) -> None:
        numbers = self._batches.numbers()
        extra = 0
        for matched in self._claims.matched():
            expected = numbers.of(matched.logged["value"])
            self._add_wrong(matched, expected)
            rows = matched.extra[matched.extra["source"] == ROW]
            rows = rows[~np.isin(rows["value"], np.array(self._unchecked, dtype=np.int64))]
            most = len(rows) if self._report.every else max(0, LISTED_MAX - extra)
            for row, event_id in zip(rows[:most].tolist(), ids_of(rows[:most]), strict=True):
                found = {"platform_id": row[3], "event_id": UUID(bytes=event_id.tobytes()), "batch_number": row[2]}
                add_extra(self._report, lt.event, found)
            self._report.add_unlisted(lt.event.name, "row", len(rows[most:]))
            extra += len(rows)
        for page in self._orphans:
            if page["batch_number"] not in corrected:
                add_extra(self._report, lt.claim_page, page)
        unlisted = sum(count for number, count in self._unlisted.items() if number not in corrected)
        self._report.add_unlisted(lt.claim_page.name, "row", unlisted)

    def _add_wrong(self, matched: Matched, expected: Int64Array) -> None:
        # Where a batch has no row, its number is not known, and the row that is missing is the finding.
        wrong = np.flatnonzero((matched.numbers != expected) & (expected != NOWHERE))
        ids = ids_of(matched.logged[wrong])
        for place, event_id in zip(wrong.tolist(), ids, strict=True):
            key = f"platform_id={matched.logged['platform'][place]} event_id={UUID(bytes=event_id.tobytes())}"
            number = int(expected[place])
            if matched.sources[place] == ROW:
                self._report.add(lt.event.name, key, "batch_number", int(matched.numbers[place]), number)
            else:
                self._report.add(lt.event.name, key, "row", "none", f"batch_number={number}")

    def _without_pages(self, rows: Sequence[Row], ids: EventIds, platform_id: int) -> EventIds:
        """Returns the ids that are in none of a batch's pages; reports what is wrong with any."""
        if not rows:
            return ids
        if _are_pages_of(rows, ids, platform_id):
            return ids[:0]
        pages = [(row, _ids_of(row)) for row in rows]
        return ids[~known_among(ids, self._fitting(pages, ids, platform_id))]

    def _fitting(self, pages: Sequence[_StoredPage], ids: EventIds, platform_id: int) -> EventIds:
        """Returns the ids of pages that have accepted events alone, each once; reports what is wrong with any."""
        stored = _all_ids(pages)
        fits, is_repeated = known_among(stored, ids), len(np.unique(stored)) < len(stored)
        fitting, start = [ids[:0]], 0
        for row, found in pages:
            is_sound = len(found) > 0 and bool(fits[start : start + len(found)].all())
            start += len(found)
            if is_sound and not (is_repeated and known_among(found, np.concatenate(fitting)).any()):
                self._compare(row, Page.of(found), platform_id)
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


_StoredPage = tuple[Row, EventIds]
"""A page's row, and the ids in it."""


class _Tally:
    """How many of a batch's events have which other number, and whether there is anything to report."""

    def __init__(self) -> None:
        self.wrong: dict[int, Counter[int]] = {}
        self.found = False

    def take(self, matched: Matched, expected: Int64Array) -> None:
        """Take in a part; `expected` are the numbers of the batches of its events."""
        differ: BoolArray = matched.numbers != expected
        self.found |= bool(differ.any()) or len(matched.extra) > 0
        pairs = np.stack([matched.logged["value"][differ], matched.numbers[differ]], axis=1)
        for (leaf, number), count in zip(*(each.tolist() for each in _counted(pairs)), strict=True):
            self.wrong.setdefault(leaf, Counter())[number] += count


def _counted(pairs: Int64Array) -> tuple[Int64Array, Int64Array]:
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    return unique, counts.astype(np.int64)


class _Numbers:
    """The number of each batch, by its leaf."""

    def __init__(self, leaves: Int64Array, numbers: Int64Array) -> None:
        self._leaves, self._numbers = leaves, numbers

    def of(self, leaves: Int64Array) -> Int64Array:
        """(n,) the numbers of the batches at these leaves, each of which was taken in."""
        found: Int64Array = self._numbers[np.searchsorted(self._leaves, leaves)]
        return found


class _Batches:
    """Of each batch its leaf, the number in its row, and how many of its events are in no page: 24 bytes a batch."""

    def __init__(self) -> None:
        self._leaves, self._numbers, self._rest = array("q"), array("q"), array("q")
        self._paged: set[int] = set()
        """Leaves of batches that have pages with their number."""

    def add(self, leaf_index: int, number: int | None, rest: int, *, whole: bool) -> None:
        """Take in the batch of the next leaf that has one."""
        self._leaves.append(leaf_index)
        self._numbers.append(NOWHERE if number is None else number)
        self._rest.append(rest)
        if not whole:
            self._paged.add(leaf_index)

    def numbers(self) -> _Numbers:
        return _Numbers(np.array(self._leaves, dtype=np.int64), np.array(self._numbers, dtype=np.int64))

    def agreed(self, tally: _Tally, weightless: Collection[int]) -> dict[int, int]:
        """Returns the numbers on which all events of a batch agree, of those whose row has another or is missing."""
        taken, agreed = set(self._numbers), {}
        for leaf, wrong in tally.wrong.items():
            place = int(np.searchsorted(np.array(self._leaves, dtype=np.int64), leaf))
            number, count = wrong.most_common(1)[0]
            if leaf in self._paged or leaf not in weightless or number == NOWHERE or number in taken:
                continue
            if count == self._rest[place] or self._numbers[place] == NOWHERE:
                agreed[leaf] = number
        return agreed

    def correct(self, agreed: dict[int, int]) -> None:
        """Take these for the numbers of their batches."""
        for place, leaf in enumerate(self._leaves if agreed else ()):
            self._numbers[place] = agreed.get(leaf, self._numbers[place])


def _are_pages_of(rows: Sequence[Row], ids: EventIds, platform_id: int) -> bool:
    """Returns whether rows are pages of just these ids, each once, as nearly all are: that is quickly told."""
    ids, begin = ascending(ids), 0
    data = ids.tobytes()
    for row in rows:
        end = begin + len(row["ids"]) // max(row["width"], 1)
        if not begin < end <= len(ids):
            return False
        page = Page.between(ids[begin:end], data[16 * begin : 16 * begin + 16], data[16 * end - 16 : 16 * end])
        follows = platform_id, page.low, page.high, page.level, page.width, page.packed()
        stored = row["platform_id"], row["low"].bytes, row["high"].bytes, row["level"], row["width"], row["ids"]
        if stored != follows:
            return False
        begin = end
    return begin == len(ids)


def _all_ids(pages: Sequence[_StoredPage]) -> EventIds:
    return np.concatenate([np.empty(0, dtype="V16"), *(ids for _, ids in pages)])


def _ids_of(page: Row) -> EventIds:
    try:
        return unpacked(page["low"].bytes, page["width"], page["ids"])
    except ValueError:
        return np.empty(0, dtype="V16")
