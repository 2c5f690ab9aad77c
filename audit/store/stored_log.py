"""A pool's log in Postgres, as a replay reads it."""

from __future__ import annotations

from collections.abc import Iterator

from ledger.errors import LedgerCorruptError
from ledger.files.layout import MAX_FILE_BYTES, body_path, bounded
from ledger.journal import Transfer
from ledger.log.leaves import EncodedLeaf
from ledger.store.logs import log
from ledger.store.logs.bodies import Bodies
from ledger.store.logs.log import PoolRef
from ledger.store.money import journal
from ledger.store.postgres.database import Database


class StoredLog:
    """A pool's log for a replay. Each call is a short transaction of its own."""

    def __init__(self, database: Database, pool: PoolRef, bodies: Bodies) -> None:
        self.pool = pool.name
        self._database, self._bodies = database, bodies
        self._pool = pool

    def size(self) -> int:
        """Leaves in the log."""
        with self._database.transaction() as connection:
            return log.read_head(connection, self._pool).size

    def leaves(self, start: int, end: int) -> Iterator[EncodedLeaf]:
        """The leaves in [start, end), in order.

        Raises:
            LedgerCorruptError: the log has a gap; the leaves before it have been yielded.
        """
        while start < end:
            chunk, hole = self._chunk(start, min(start + 1000, end))
            yield from chunk
            if hole:
                raise hole
            if not chunk:
                return
            start += len(chunk)

    def _chunk(self, start: int, end: int) -> tuple[list[EncodedLeaf], LedgerCorruptError | None]:
        chunk = []
        with self._database.transaction() as connection:
            try:
                for leaf in log.read_leaves(connection, self._pool, start, end):
                    chunk.append(leaf)  # noqa: PERF402  # what was read is kept when the next one is missing
            except LedgerCorruptError as hole:
                return chunk, hole
        return chunk, None

    def body(self, sha256: bytes, *, bytes_max: int = MAX_FILE_BYTES) -> bytes:
        """The body under a hash.

        Raises:
            NotFoundError: there is no such body.
            FormatError: it is longer than `bytes_max`.
        """
        return bounded(self._bodies.fetch(self._database, self._pool, sha256), body_path(sha256), bytes_max)

    def transfers(self, leaf_index: int, most: int) -> list[Transfer]:  # noqa: ARG002 - the database's are not bounded
        """What the journal says that a leaf moved, in order."""
        with self._database.transaction() as connection:
            return journal.transfers_of_leaf(connection, self._pool, leaf_index)
