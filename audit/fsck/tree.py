"""The tree of a pool's log: hashes of leaves, nodes and the head, each recomputed from the entries."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from audit.fsck.report import CheckReport
from audit.fsck.rows import LeafRows, compare
from audit.fsck.stored import Row, stored_rows
from ledger.log.leaves import time_of
from ledger.log.merkle import HASH_BYTES, Coordinate, Frontier, leaf_hash, node_hash
from ledger.store import tables as lt

_NODE_INDEX_MAX: Final = 2**61

COMPLETED_AT: Final = sa.case(
    (
        lt.node.c.node_index.between(0, _NODE_INDEX_MAX) & lt.node.c.level.between(0, 62),
        # A shift by more than 64 bits means that the place is wrong, and so the row is one too many.
        (lt.node.c.node_index + 1).op("<<")(sa.cast(lt.node.c.level, sa.Integer)) - 1,
    ),
    else_=sa.literal(-1, sa.BigInteger),
)
"""Returns the leaf that completes a node's subtree."""


class Tree:
    """Follows the leaves of a log, and compares each stored hash with the one that it computes."""

    def __init__(self, connection: sa.Connection, pool_id: int, report: CheckReport) -> None:
        self._connection, self._pool_id, self._report = connection, pool_id, report
        self._nodes = LeafRows(connection, pool_id, lt.node, report, COMPLETED_AT)
        self.frontier = Frontier()
        query = sa.select(lt.head.c.size, lt.head.c.frontier, lt.head.c.last_time).where(lt.head.c.pool_id == pool_id)
        heads = list(stored_rows(connection, query, report))
        self.head: Row | None = heads[0] if heads else None
        self._last_entry = b""
        report.count(lt.head.name, int(self.head is not None))

    def ends_here(self) -> bool:
        """Returns whether both figures of the head say that the log has no more leaves than were taken in."""
        head = self.head
        return head is not None and self.frontier.size == head["size"] and self.frontier.to_bytes() == head["frontier"]

    def take(self, row: Row) -> bool:
        """Take in the next leaf. Returns False if its entry is not the one that was logged."""
        index, entry, stored = row["leaf_index"], row["entry"], row["hash"]
        true_hash, sound = leaf_hash(entry), True
        if stored != true_hash:
            key = f"leaf_index={index}"
            if len(stored) == HASH_BYTES and self._fits(index, stored):
                # The tree was built from the stored hash, so it is the entry that was changed.
                self._report.add("leaf", key, "entry", f"hashes to {true_hash.hex()}", f"hashes to {stored.hex()}")
                true_hash, sound = stored, False
            else:
                self._report.add("leaf", key, "hash", stored, true_hash)
        self._last_entry = entry if sound else b""
        completed = self.frontier.append(true_hash)
        self._compare_nodes(index, completed)
        return sound

    def _compare_nodes(self, leaf_index: int, completed: dict[Coordinate, bytes]) -> None:
        following = (
            {"level": place.level, "node_index": place.index, "hash": digest} for place, digest in completed.items()
        )
        compare(self._report, lt.node, self._nodes.take(leaf_index), following)

    def _fits(self, index: int, digest: bytes) -> bool:
        """Returns whether the tree above a leaf was built from this hash of it."""
        sibling = self._scalar(lt.leaf, lt.leaf.c.hash, leaf_index=index ^ 1)
        parent = self._scalar(lt.node, lt.node.c.hash, level=1, node_index=index >> 1)
        if sibling is None or parent is None:
            return self.head is not None and self.head["frontier"][-HASH_BYTES:] == digest
        pair = (digest, sibling) if index % 2 == 0 else (sibling, digest)
        return node_hash(*pair) == parent

    def _scalar(self, table: sa.Table, column: sa.Column[Any], **key: int) -> bytes | None:
        query = sa.select(column).where(table.c.pool_id == self._pool_id)
        found = self._connection.execute(query.filter_by(**key)).scalar()
        return None if found is None else bytes(found)

    def finish(self, *, whole: bool) -> None:
        """Check the remaining nodes and the head against a log that ends here; `whole` if it has no gap."""
        size = self.frontier.size
        for place, row in self._nodes.rest():
            if whole or self.head is None or place >= self.head["size"]:
                compare(self._report, lt.node, [row], [])
        if self.head is None:
            self._report.add("head", "", "row", "none", f"size={size}")
        elif whole:
            if self.head["size"] != size:
                self._report.add("head", "", "size", self.head["size"], size)
            if self.head["frontier"] != self.frontier.to_bytes():
                self._report.add("head", "", "frontier", self.head["frontier"], self.frontier.to_bytes())
            if self._last_entry:
                expected, stored = time_of(self._last_entry), self.head["last_time"]
                if expected is not None and stored != expected:
                    self._report.add("head", "", "last_time", stored, expected)
