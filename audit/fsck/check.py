"""The check of a pool: folds its log from entries and bodies, and compares every table with what follows.

1. Each leaf's hash, the nodes that it completes and, at the end, the head are recomputed from the entries.
2. The entries are folded: bodies have their hashes, batches are weighed again, rounds distributed again.
3. After each leaf, the rows that name it are compared with those that follow from it.
4. Rows that are then left in the tables follow from nothing; those of events are matched with the log's by their ids.

Each table is passed over once: most in the order of the log, those that name a batch in the order of its number, events
in the order in which they lie, and bodies by their hashes, of which the index is read again at the end. Only `round` is
read before too, to know where rounds end. What is found to be wrong may be looked up again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa

from audit.batches.check import WeighedBatch
from audit.batches.means import Means
from audit.batches.unique_events import UniqueEvents
from audit.findings import Finding, FoundError
from audit.folds.pool import PoolFold
from audit.folds.registry_history import RegistryHistory, RegistryView
from audit.folds.usage import UsageFold
from audit.fsck.bodies import BodyRows
from audit.fsck.events import StoredEvents
from audit.fsck.numbers import Numbers
from audit.fsck.projections import POOL_TABLES, Followed, rows_following
from audit.fsck.registry import Registry, check_pool_row, check_turns
from audit.fsck.report import CheckReport, shown_row
from audit.fsck.rounds import Rounds, UnlistedRoundError
from audit.fsck.rows import (
    LogRows,
    compare,
    compare_all,
    find_row,
)
from audit.fsck.schedules import ScheduleRow
from audit.fsck.stored import Row, columns_of, key_of, read_by_index, stored_rows
from audit.fsck.walk import LeafWalk
from audit.fsck.weights import Owner, WeightRows
from audit.lookahead import Lookahead
from audit.progress import Progress
from audit.reader import found_body
from audit.store.snapshot_log import SnapshotLog
from ledger.errors import LedgerCorruptError
from ledger.journal import Transfer
from ledger.log.leaves import (
    Content,
    EncodedLeaf,
    Leaf,
    decode,
)
from ledger.log.merkle import leaf_hash
from ledger.store import tables as lt
from ledger.store.logs.bodies import Bodies
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.usage.entries import RetractionContent, UsageContent
from ledger.usage.reading import Reading
from payout.entries import CONTENTS, PoolContent


def registry_history(connection: sa.Connection, bodies: Bodies) -> RegistryHistory:
    """The registry's log as the connection's transaction sees it, to be folded once for all pools."""
    return RegistryHistory(SnapshotLog(connection, REGISTRY, bodies))


def check_pool(
    connection: sa.Connection,
    pool: PoolRef,
    registry: Registry,
    bodies: Bodies,
    means: Means,
    *,
    history: RegistryHistory | None = None,
    beside: sa.Connection | None = None,
    every: bool = False,
) -> Generator[Progress, None, CheckReport]:
    """Check every table of a pool; yields progress and returns the report.

    `history` is the registry's, which checks of several pools share. The connection's transaction must see one state
    throughout, and is used by this thread alone; so does and is that of `beside`, on which much is read meanwhile.
    `every` says whether the report lists all findings.
    """
    history = history or registry_history(connection, bodies)
    for each in (connection, beside):
        if each is not None:
            read_by_index(each)

    def anew(*, search_rounds: bool) -> _PoolCheck:
        report = CheckReport(pool.name, every=every)
        seen = _Seen(connection, beside)
        return _PoolCheck(seen, pool, registry, bodies, means, report, history, search_rounds=search_rounds)

    check = anew(search_rounds=False)
    try:
        yield from check.run()
    except UnlistedRoundError:
        # Where rounds end must be known before they are read, and the rows that say so are not to be trusted.
        check.give_up()
        check = anew(search_rounds=True)
        yield from check.run()
    return check.report


class _Seen(NamedTuple):
    """Connections whose transactions see the same state."""

    connection: sa.Connection
    beside: sa.Connection | None


class _PoolCheck:
    def __init__(
        self,
        seen: _Seen,
        pool: PoolRef,
        registry: Registry,
        bodies: Bodies,
        means: Means,
        report: CheckReport,
        history: RegistryHistory,
        *,
        search_rounds: bool,
    ) -> None:
        connection, beside = seen
        self._connection, self._pool, self._registry = connection, pool, registry
        self.report = report
        pool_id = pool.pool_id
        self._walk = LeafWalk(connection, pool_id, self.report)
        self._tables = LogRows(connection, pool_id, POOL_TABLES, self.report)
        self._log = SnapshotLog(connection, replace(pool, name=_name_in_log(connection, pool)), bodies)
        self._fold = PoolFold(
            self._log,
            RegistryView(history),
            UsageFold(
                self._log,
                weigh=means.weigh,
                ahead=means.ahead,
                observe=self._see,
                observe_retraction=self._see_retraction,
                spoil=self._spoil,
            ),
            refuse=self._take_in,
            move=self._move,
        )
        self._means, self._lookahead = means, Lookahead(self._fold, self._begin if means.begun_ahead else None)
        self._read: dict[int, Leaf[Any] | None] = {}
        """By index, leaves that were read ahead; None where that is left to the fold."""
        self._looked = 0
        """The index of the first leaf that was not."""
        self._rounds = Rounds(connection, pool_id, self._log, self._fold, self._take_in, report, search=search_rounds)
        self._bodies = BodyRows(self._log, self.report)
        self._schedule = ScheduleRow()
        self._numbers = Numbers()
        self._events = StoredEvents(connection, pool_id, self.report, means, beside)
        self._weights = WeightRows(connection, pool_id, registry, self.report)
        self._unique = UniqueEvents(means.new_spill, means.salt, means.submit)
        self._find = partial(find_row, connection, pool_id, self.report)
        self._doubtful: list[int] = []
        """Leaves whose weights could not be recomputed."""
        self._batch_rows: dict[int, list[Row]] = {}
        """By leaf, the rows of batches that are still weighed."""
        self._seen: deque[tuple[Leaf[UsageContent], WeighedBatch | None]] = deque()
        """Batches that were weighed, or could not be, in the order of the log."""
        self._taken_back: WeighedBatch | None = None
        self._transfers: Sequence[Transfer] = ()

    def run(self) -> Generator[Progress, None, None]:
        """Take in all leaves, then check which rows are left."""
        for row, sound in self._walk.rows():
            if self.report.unfollowed_from is None:
                if sound:
                    self._follow(row)
                else:
                    self.report.unfollowed_from = row["leaf_index"]
            yield Progress(self.report.leaves, self._walk.total, self.report.events, self._fold.usage.shares)
        self._finish()

    def give_up(self) -> None:
        """Leave it, so that another one may begin."""
        self._events.give_up()

    # What follows from a leaf.

    def _follow(self, row: Row) -> None:
        index, entry = row["leaf_index"], row["entry"]
        self._taken_back, self._transfers = None, []
        self._rounds.end_at(index, self._doubtful)
        self._look_ahead(row)
        leaf = self._folded(EncodedLeaf(index, entry, leaf_hash(entry)))
        if leaf is None:
            self.report.unfollowed_from = index
            return
        self._rounds.require_listed(leaf)
        stored = self._tables.take(index)
        self._bodies.follow(leaf.content)
        self._schedule.follow(leaf)
        match leaf.content:
            case PoolContent():
                check_pool_row(self._connection, self._pool, leaf, self.report)
            case UsageContent():
                self._batch_rows[index] = stored.get(lt.batch.name, [])
            case RetractionContent():
                self._follow_retraction(leaf, stored.get(lt.retraction.name, []))
        touched = {account for each in self._transfers for account in (each.from_account, each.to_account)}
        followed = Followed(
            leaf,
            self._registry.platform_ids,
            self._transfers,
            {account: self._fold.accounts.balances[account] for account in sorted(touched)},
        )
        compare_all(self.report, POOL_TABLES, stored, rows_following(followed), self._find)
        self._follow_batches()

    def _look_ahead(self, row: Row) -> None:
        """Have the batches of the next leaves begun while this one is taken in, unless enough of them are."""
        ahead = self._means.begun_ahead
        if not ahead or len(self._read) > ahead // 2:
            return
        for each in [row, *self._walk.upcoming(ahead)]:
            index, entry = each["leaf_index"], each["entry"]
            if index >= self._looked:
                self._looked = index + 1
                self._read[index] = self._lookahead.read(EncodedLeaf(index, entry, leaf_hash(entry)), weigh_from=0)

    def _begin(self, leaf_index: int, content: UsageContent) -> Callable[[], WeighedBatch]:
        read = partial(found_body, self._log, leaf_index, "body_sha256", content.body_sha256)
        return self._means.weigh(read, leaf_index, content, Reading())

    def _folded(self, encoded: EncodedLeaf) -> Leaf[Any] | None:
        """Take in the leaf. Returns None if what follows from it and from later leaves cannot be told."""
        try:
            return self._fold.fold(encoded, weigh_from=0, read=self._read.pop(encoded.index, None))
        except FoundError as found:
            content = _content(encoded.entry)
            self._take_in(found.finding)
            if self._fold.frontier.size == encoded.index or not isinstance(content, UsageContent | RetractionContent):
                return None
            leaf = self._fold.read(encoded)
            self._doubtful.append(leaf.index)
            if isinstance(content, UsageContent):
                self._seen.append((leaf, None))
            return leaf

    def _take_in(self, finding: Finding) -> None:
        if not self._bodies.takes(finding):
            line = f" line={finding.where.line}" if finding.where.line else ""
            key = f"{finding.where.log} leaf_index={finding.where.leaf_index}{line}".strip()
            self.report.add(lt.leaf.name, key, finding.figure, finding.claimed, finding.expected)

    def _see(self, leaf: Leaf[Any], weighed: WeighedBatch) -> None:
        self._seen.append((leaf, weighed))

    def _spoil(self, leaf: Leaf[Any], finding: Finding) -> None:
        self._take_in(finding)
        self._doubtful.append(leaf.index)
        self._seen.append((leaf, None))

    def _see_retraction(self, _leaf: Leaf[Any], weighed: WeighedBatch) -> None:
        self._taken_back = weighed

    def _move(self, _leaf_index: int, transfers: Sequence[Transfer]) -> None:
        self._transfers = transfers

    def _follow_batches(self) -> None:
        """Check what follows from the batches that were weighed since the last time."""
        while self._seen:
            leaf, weighed = self._seen.popleft()
            self._follow_batch(leaf, self._batch_rows.pop(leaf.index), weighed)

    def _follow_batch(self, leaf: Leaf[UsageContent], rows: list[Row], weighed: WeighedBatch | None) -> None:
        content = leaf.content
        number: int | None = rows[0]["batch_number"] if len(rows) == 1 else None
        if number is not None:
            self._numbers.add_batch(leaf.index, number)
        platform_id = self._registry.require_platform(content.platform, leaf.index, self.report)
        if weighed is not None:
            self.report.events += len(weighed)
            self._unique.add(content.platform, leaf.index, weighed.event_ids, weighed.accepted)
            self._registry.require_collectives(weighed.names, weighed.named, leaf.index, self.report)
            self._weights.check(None, leaf.index, content, weighed, number)
        if weighed is not None and platform_id is not None:
            self._events.take(leaf.index, weighed.event_ids[weighed.accepted], platform_id, number)
        elif number is not None:
            self._events.skip(number)
        if weighed is None and number is not None:
            self._numbers.unfollowed.add(number)

    def _follow_retraction(self, leaf: Leaf[RetractionContent], rows: list[Row]) -> None:
        self._registry.require_platform(leaf.content.platform, leaf.index, self.report)
        if len(rows) != 1:
            self._numbers.unfollowed.update(row["weights_number"] for row in rows)
            return
        (row,) = rows
        self._numbers.add_retraction(leaf.index, leaf.content.batch_leaf, row["batch_number"])
        if self._taken_back is None:
            self._numbers.unfollowed.add(row["weights_number"])
            return
        (encoded,) = self._log.leaves(leaf.content.batch_leaf, leaf.content.batch_leaf + 1)
        usage: UsageContent = self._fold.read(encoded).content
        owner = Owner(lt.retraction.name, shown_row(row, key_of(lt.retraction)), "weights_number")
        self._weights.check(owner, leaf.index, usage, self._taken_back, row["weights_number"])

    # Rows that are left.

    def _finish(self) -> None:
        self._fold.usage.settle()
        self._follow_batches()
        check_turns(self._connection, self._pool.pool_id, self.report)
        size = self._walk.finish()
        unfollowed = self.report.unfollowed_from
        for table, place, row in self._tables.rest():
            if unfollowed is None or not unfollowed <= place < size:
                compare(self.report, table, [row], [])
            elif table is lt.batch:
                self._numbers.unfollowed.add(row["batch_number"])
                self._events.skip(row["batch_number"])
            elif table is lt.retraction:
                self._numbers.unfollowed.add(row["weights_number"])
        agreed = self._events.finish(self._weights.weightless)
        self._weights.finish(agreed, self._numbers.unfollowed)
        for leaf_index, number in agreed.items():
            self._add_number(lt.batch, leaf_index, number)
        for leaf_index, number in self._numbers.wrong_retractions(agreed):
            self._add_number(lt.retraction, leaf_index, number)
        if unfollowed is None:
            self._bodies.finish(self._connection, self._pool.pool_id)
            self._schedule.finish(self._connection, self._pool.pool_id, self.report)
        if unfollowed is None and not self._doubtful:
            self._check_unique()

    def _add_number(self, table: sa.Table, leaf_index: int, number: int) -> None:
        """Report the number of a batch in the row of a leaf, if it has one: another follows from the batch's events."""
        here = (table.c.pool_id == self._pool.pool_id) & (table.c.leaf_index == leaf_index)
        for row in stored_rows(self._connection, sa.select(*columns_of(table)).where(here), self.report):
            self.report.add(table.name, shown_row(row, key_of(table)), "batch_number", row["batch_number"], number)

    def _check_unique(self) -> None:
        conflict = self._unique.first_conflict()
        if conflict is None:
            return
        follows = "the first with its id"
        if conflict.earlier is not None:
            leaf_index, position = conflict.earlier
            follows = f"a duplicate of event {position} in leaf {leaf_index}"
        figure = f"event {conflict.position}, {conflict.event_id.hex()}"
        said = "accepted" if conflict.accepted else "a duplicate"
        self.report.add(lt.leaf.name, f"leaf_index={conflict.leaf_index}", figure, said, follows)


def _content(entry: bytes) -> Content | None:
    try:
        return decode(entry, CONTENTS).content
    except LedgerCorruptError:
        return None


def _name_in_log(connection: sa.Connection, pool: PoolRef) -> str:
    """Returns the pool's name from its first leaf, so that another name in its row is a finding and not a failure."""
    query = sa.select(lt.leaf.c.entry).where(lt.leaf.c.pool_id == pool.pool_id, lt.leaf.c.leaf_index == 0)
    entry = connection.execute(query).scalar()
    try:
        return pool.name if entry is None else decode(bytes(entry), CONTENTS).pool
    except LedgerCorruptError:
        return pool.name
