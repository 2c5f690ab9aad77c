"""Leaves read some way ahead of a fold, so that their batches are weighed while it takes in what comes before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from audit.findings import UNSOUND, FoundError
from audit.folds.declared import Declared
from audit.folds.pool import PoolFold
from audit.folds.usage import Wait
from ledger.errors import LedgerCorruptError
from ledger.log.leaves import EncodedLeaf, Leaf
from ledger.usage.entries import UsageContent

AHEAD: Final = 128
"""Leaves: half a second of work on large batches, for which a fold may be busy with the registry; and some 100 KB."""

ReadLeaf = tuple[EncodedLeaf, Leaf[Any] | None]
"""A leaf, and what the fold reads in it; None where that is left to the fold, for it may find something."""


Begin = Callable[[int, UsageContent], Wait | None]
"""Starts to weigh the batch of a usage leaf, which holds shares, and returns what waits for it; None if it cannot now.
"""


class Lookahead:
    """Reads leaves ahead of a fold. What is wrong with one is left for the fold to find when it comes to it."""

    def __init__(self, fold: PoolFold, begin: Begin | None) -> None:
        self._fold, self._begin = fold, begin
        self._declared = Declared()

    def over(self, leaves: Iterable[EncodedLeaf], *, weigh_from: int) -> Iterator[ReadLeaf]:
        """Yields the leaves, which follow those of the call before. Batches from `weigh_from` on are begun to weigh.

        Raises:
            LedgerCorruptError: `leaves` does, once those before have been yielded.
        """
        waiting: deque[ReadLeaf] = deque()
        hole = None
        try:
            for encoded in leaves:
                waiting.append((encoded, self.read(encoded, weigh_from=weigh_from)))
                if len(waiting) > AHEAD or self._begin is None:
                    yield waiting.popleft()
        except LedgerCorruptError as error:
            hole = error
        yield from waiting
        if hole:
            raise hole

    def read(self, encoded: EncodedLeaf, *, weigh_from: int) -> Leaf[Any] | None:
        """Returns what the fold reads in the next leaf, whose batch is begun; None if that is left to the fold."""
        if self._begin is None:
            return None
        try:
            leaf = self._fold.read(encoded)
            self._declared.take_in(leaf.index, leaf.content)
            content = leaf.content
            is_usage = isinstance(content, UsageContent) and leaf.index >= weigh_from
            if is_usage and self._declared.has_shares(leaf.index, content):
                begun = self._begin(leaf.index, content)
                if begun is not None:
                    self._fold.usage.begun[leaf.index] = begun
        except (FoundError, *UNSOUND):
            self._begin = None
            return None
        return leaf
