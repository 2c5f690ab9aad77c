"""Reads parts of a round's tables: a page of lines, or one collective's, at the cost of that part.

The first read of a table checks all of it by its hash, and keeps where its blocks are, with a hash of each. A later
read fetches only the blocks that it needs and checks them by these, so every byte that is told is one that the round
commits to.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from threading import Lock
from typing import Final, NamedTuple, cast

import sqlalchemy as sa

from ledger.errors import LedgerCorruptError
from ledger.store.kept import Kept
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.transactions import driver_connection
from payout.statement import lines_of, page_of_lines

BLOCK_BYTES: Final = 64 * 1024
"""A block ends with the line that reaches this. A page of 1,000 lines needs two or three."""

MAX_KEPT_BLOCKS: Final = 32_768
"""Blocks of all tables that are known: 2 GB of tables, in some 10 MB of memory."""


class _Block(NamedTuple):
    """Whole lines of a table: where they begin, how many bytes they have, and their SHA-256."""

    at: int
    size: int
    digest: bytes
    before: int
    """How many lines of the table are before these."""
    first: bytes
    """The collective of the first line."""


@dataclass(frozen=True, slots=True)
class _Index:
    """Where a table's blocks are."""

    header: bytes
    blocks: tuple[_Block, ...]

    @classmethod
    def over(cls, table: bytes) -> _Index:
        view, blocks = memoryview(table), []
        at, before = table.find(b"\n") + 1, 0
        header = table[:at]
        while at < len(table):
            end = table.find(b"\n", at + BLOCK_BYTES - 1) + 1 or len(table)
            first = table[at : table.find(b",", at, end)]
            blocks.append(_Block(at, end - at, sha256(view[at:end]).digest(), before, first))
            before += table.count(b"\n", at, end)
            at = end
        return cls(header, tuple(blocks))

    def of_page(self, after: int, limit: int) -> tuple[_Block, ...]:
        """The blocks that have the lines of a page."""
        begin = bisect_right(self.blocks, after, key=lambda block: block.before) - 1
        end = bisect_left(self.blocks, after + limit, key=lambda block: block.before)
        return self.blocks[max(begin, 0) : end]

    def of_collective(self, collective: bytes) -> tuple[_Block, ...]:
        """The blocks that have a collective's lines, if there are any: lines are sorted by its bytes."""
        begin = bisect_left(self.blocks, collective, key=lambda block: block.first) - 1
        end = bisect_right(self.blocks, collective, key=lambda block: block.first)
        return self.blocks[max(begin, 0) : end]


class Own(NamedTuple):
    """A collective's lines of a table, below its header, and how many lines are before them."""

    before: int
    table: bytes


_INDEXES: Final = Kept[_Index](MAX_KEPT_BLOCKS, lambda index: 1 + len(index.blocks))
"""By the table's hash, so that none is ever stale."""

_INDEXING: Final = Lock()
"""One thread at a time reads a table whole: those who ask for the same table at once then find its index."""


def page_of_table(connection: sa.Connection, pool: PoolRef, digest: bytes, after: int, limit: int) -> bytes:
    """Returns the header of the table with a hash, and up to `limit` lines after the first `after`.

    Raises:
        LedgerCorruptError: the table is missing, or is not what has this hash.
    """
    index = _index(connection, pool, digest)
    blocks = index.of_page(after, limit)
    before = blocks[0].before if blocks else 0
    return page_of_lines(_read(connection, pool, digest, index, blocks), after - before, limit)


def lines_of_table(connection: sa.Connection, pool: PoolRef, digest: bytes, collective: str) -> Own:
    """Returns the lines for one collective of the table with a hash; only the header where there are none.

    Raises:
        LedgerCorruptError: the table is missing, or is not what has this hash.
    """
    index = _index(connection, pool, digest)
    blocks = index.of_collective(collective.encode())
    table = _read(connection, pool, digest, index, blocks)
    before = blocks[0].before if blocks else 0
    at = max(table.find(f"\n{collective},".encode()), 0)
    return Own(before + table.count(b"\n", 0, at), lines_of(table, collective))


def _index(connection: sa.Connection, pool: PoolRef, digest: bytes) -> _Index:
    known = _INDEXES.find(digest)
    if known is not None:
        return known
    with _INDEXING:
        known = _INDEXES.find(digest)
        if known is None:
            known = _Index.over(log.checked_body(connection, pool, digest))
            if any(earlier.first > later.first for earlier, later in pairwise(known.blocks)):
                raise LedgerCorruptError(_subject(pool, digest), "is not sorted by collective")
            _INDEXES.keep(digest, known)
        return known


def _read(connection: sa.Connection, pool: PoolRef, digest: bytes, index: _Index, blocks: tuple[_Block, ...]) -> bytes:
    """Returns the header of a table and some blocks of it, which lie side by side."""
    if not blocks:
        return index.header
    start = blocks[0].at
    content = memoryview(_part(connection, pool, digest, start, blocks[-1].at + blocks[-1].size - start))
    for block in blocks:
        if sha256(content[block.at - start : block.at - start + block.size]).digest() != block.digest:
            raise LedgerCorruptError(_subject(pool, digest), "does not have this hash")
    return index.header + content


# Bodies are stored uncompressed, so Postgres reads no more of one than this asks for. Its first byte is number 1.
_PART: Final = "SELECT substring(bytes FROM %s::int + 1 FOR %s::int) FROM body WHERE pool_id = %s AND sha256 = %s"


def _part(connection: sa.Connection, pool: PoolRef, digest: bytes, at: int, size: int) -> bytes:
    cursor = driver_connection(connection).cursor(binary=True)
    found = cursor.execute(_PART, (at, size, pool.pool_id, digest)).fetchone()
    if found is None:
        raise LedgerCorruptError(_subject(pool, digest), "is missing")
    return cast("bytes", found[0])


def _subject(pool: PoolRef, digest: bytes) -> str:
    return f"pools/{pool.name}/bodies/{digest.hex()}"
