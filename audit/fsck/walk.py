"""A log read from its table leaf by leaf: tree, head, checkpoints and gaps, whatever its entries say."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from audit.fsck.checkpoints import CheckpointRows
from audit.fsck.report import CheckReport
from audit.fsck.rows import LeafRows, add_extra
from audit.fsck.stored import Row
from audit.fsck.tree import Tree
from ledger.store import tables as lt


class LeafWalk:
    """Reads the rows of a log's leaves in order, and compares the tree above them."""

    def __init__(self, connection: sa.Connection, pool_id: int, report: CheckReport) -> None:
        self._report = report
        self._leaves = LeafRows(connection, pool_id, lt.leaf, report)
        self._tree = Tree(connection, pool_id, report)
        self._checkpoints = CheckpointRows(connection, pool_id, report)

    @property
    def total(self) -> int:
        """The number of leaves, as far as it is known before all are read."""
        return self._tree.head["size"] if self._tree.head else self._report.leaves

    def rows(self) -> Iterator[tuple[Row, bool]]:
        """Yields each leaf's row, and whether its entry is the one that was logged."""
        while (row := self._next()) is not None:
            sound = self._tree.take(row)
            self._checkpoints.check(self._tree.frontier)
            self._report.leaves += 1
            yield row, sound

    def upcoming(self, leaves: int) -> list[Row]:
        """Returns the rows of the next leaves, up to so many, as they lie in the table."""
        return self._leaves.upcoming(leaves)

    def finish(self) -> int:
        """Report what is left. Returns how many leaves the log has, or had; a gap ends what can be followed."""
        whole, size = self._end_of_log()
        self._tree.finish(whole=whole)
        self._checkpoints.finish(size)
        return size

    def _next(self) -> Row | None:
        if self._tree.ends_here():
            return None
        found = None
        for row in self._leaves.take(self._tree.frontier.size):
            if row["leaf_index"] == self._tree.frontier.size:
                found = row
            else:
                add_extra(self._report, lt.leaf, row)
        self._report.count(lt.leaf.name, int(found is not None))
        return found

    def _end_of_log(self) -> tuple[bool, int]:
        """Returns whether the log has no gap, and how many leaves it has, or had."""
        index, head, ended = self._tree.frontier.size, self._tree.head, self._tree.ends_here()
        beyond = 0
        for place, row in self._leaves.rest():
            beyond = place + 1
            if ended:
                add_extra(self._report, lt.leaf, row)
        if ended:
            return True, index
        lost = head is not None and head["size"] > index and head["frontier"] != self._tree.frontier.to_bytes()
        if not beyond and not lost:
            return True, index
        size = max(beyond, head["size"] if head else 0)
        self._report.add(lt.leaf.name, f"leaf_index={index}", "row", "none", f"a leaf: the log has {size}")
        self._report.unfollowed_from = index if self._report.unfollowed_from is None else self._report.unfollowed_from
        return False, size
