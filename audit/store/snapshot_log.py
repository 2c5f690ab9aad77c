"""A pool's log for the fold of a check: entries and bodies, read in the transaction of the check."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from ledger.files.layout import MAX_FILE_BYTES, body_path, bounded
from ledger.journal import Transfer
from ledger.log.leaves import EncodedLeaf
from ledger.log.merkle import leaf_hash
from ledger.store.logs import log
from ledger.store.logs.bodies import Bodies
from ledger.store.logs.log import PoolRef
from ledger.store.money import journal


class SnapshotLog:
    """Reads like `StoredLog`, but in one transaction, and hashes each entry: stored hashes are checked separately."""

    def __init__(self, connection: sa.Connection, pool: PoolRef, bodies: Bodies) -> None:
        self.pool = pool.name
        self._connection, self._pool, self._bodies = connection, pool, bodies

    def size(self) -> int:
        """The number of leaves in the log, according to its head."""
        return log.read_head(self._connection, self._pool).size

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:
        """The leaves in [start, end), in order."""
        for leaf in log.read_leaves(self._connection, self._pool, start, end):
            yield EncodedLeaf(leaf.index, leaf.entry, leaf_hash(leaf.entry))

    def body(self, sha256: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        """The body under a hash.

        Raises:
            NotFoundError: there is no such body.
            FormatError: it is longer than `bytes_max`.
        """
        return bounded(self._bodies.read(self._connection, self._pool, sha256), body_path(sha256), bytes_max)

    def rows_behind(self) -> Iterator[tuple[bytes, bytes]]:
        """The rows of bodies that nobody reads, by their hash: a nearer store has bodies under the same hashes."""
        return self._bodies.rows_behind(self._connection, self._pool)

    def transfers(self, leaf_index: int, most: int) -> list[Transfer]:  # noqa: ARG002 - the database's are not bounded
        """What the journal says that a leaf moved, in order."""
        return journal.transfers_of_leaf(self._connection, self._pool, leaf_index)
