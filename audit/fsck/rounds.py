"""Rounds: each is distributed again from what was folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from audit.findings import Finding, FoundError, at
from audit.folds.pool import PoolFold
from audit.fsck.report import CheckReport
from audit.fsck.stored import stored_rows
from audit.reader import LogReader
from audit.replay import check_round
from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.log.leaves import Leaf, decode
from ledger.store import tables as lt
from payout.entries import CONTENTS, RoundContent
from payout.store import tables as t


class UnlistedRoundError(Exception):
    """The log has a round that no row names, and the leaf at which its interval ends was passed."""


class Rounds:
    """Checks the rounds of a pool when the fold reaches the end of each.

    Rows of `round` say where the rounds are. With `search` all leaves are searched for them: the rows are wrong.
    """

    def __init__(
        self,
        connection: sa.Connection,
        pool_id: int,
        log: LogReader,
        fold: PoolFold,
        take: Callable[[Finding], None],
        report: CheckReport,
        *,
        search: bool,
    ) -> None:
        self._log, self._fold, self._take = log, fold, take
        self._ends: dict[int, list[Leaf[RoundContent]]] = {}
        self._listed: set[int] = set()
        is_round = sa.func.position(
            sa.literal(f'"type":"{RoundContent.type}"'.encode(), sa.LargeBinary).op("in")(lt.leaf.c.entry)
        )
        named = sa.select(t.round_.c.leaf_index).where(t.round_.c.pool_id == pool_id)
        indexes = [] if search else list(connection.execute(named).scalars())
        among = lt.leaf.c.leaf_index == sa.any_(sa.literal(indexes, sa.ARRAY(sa.BigInteger)))
        query = sa.select(lt.leaf.c.leaf_index, lt.leaf.c.entry).where(
            lt.leaf.c.pool_id == pool_id, is_round > 0 if search else among
        )
        for row in stored_rows(connection, query.order_by(lt.leaf.c.leaf_index), report):
            try:
                leaf: Leaf[Any] = decode(row["entry"], CONTENTS)
            except LedgerCorruptError:
                continue  # The fold reports this when it reaches the leaf.
            if isinstance(leaf.content, RoundContent):
                self._listed.add(leaf.index)
                self._ends.setdefault(leaf.content.end, []).append(leaf)

    def require_listed(self, leaf: Leaf[Any]) -> None:
        """Check that a round was known before its leaf was reached.

        Raises:
            UnlistedRoundError: it was not.
        """
        if isinstance(leaf.content, RoundContent) and leaf.index not in self._listed:
            raise UnlistedRoundError

    def end_at(self, leaf_index: int, doubtful: list[int]) -> None:
        """Check the rounds that end before this leaf, unless one of the `doubtful` batches is in them."""
        for leaf in self._ends.pop(leaf_index, []):
            self._fold.usage.settle()
            content = leaf.content
            if not any(content.usage_start <= place < content.end for place in doubtful):
                try:
                    check_round(self._log, self._fold, leaf)
                except FoundError as found:
                    self._take(found.finding)
                except (InvalidInputError, LedgerCorruptError, ValueError, KeyError) as error:
                    self._take(at(leaf.index).error("round", error, "a sound round").finding)
            self._fold.usage.cut()
