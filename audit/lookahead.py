"""Leaves read some way ahead of a fold, so that their batches are weighed while it takes in what comes before them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from audit.declared import Declared
from audit.findings import FoundError
from audit.pool_fold import PoolFold
from audit.weighing import Weighing
from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.log.leaves import EncodedLeaf, Leaf
from ledger.usage.entries import UsageContent

AHEAD: Final = 128
"""Leaves: half a second of work on large batches, for which a fold may be busy with the registry; and some 100 KB."""

ReadLeaf = tuple[EncodedLeaf, Leaf[Any] | None]
"""A leaf, and what the fold reads in it; None where that is left to the fold, for it may find something."""


class Lookahead:
    """Reads leaves ahead of a fold. What is wrong with one is left for the fold to find when it comes to it."""

    def __init__(self, fold: PoolFold, weighing: Weighing | None) -> None:
        self._fold, self._weighing = fold, weighing
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
                waiting.append((encoded, self._read(encoded, weigh_from)))
                if len(waiting) > AHEAD or self._weighing is None:
                    yield waiting.popleft()
        except LedgerCorruptError as error:
            hole = error
        yield from waiting
        if hole:
            raise hole

    def _read(self, encoded: EncodedLeaf, weigh_from: int) -> Leaf[Any] | None:
        if self._weighing is None:
            return None
        try:
            leaf = self._fold.read(encoded)
            self._declared.take_in(leaf.index, leaf.content)
            content = leaf.content
            if isinstance(content, UsageContent) and leaf.index >= weigh_from:
                self._begin(self._weighing, leaf.index, content)
        except (FoundError, InvalidInputError, LedgerCorruptError, ValueError):
            self._weighing = None
            return None
        return leaf

    def _begin(self, weighing: Weighing, leaf_index: int, content: UsageContent) -> None:
        if self._declared.has_shares(leaf_index, content):
            begun = weighing.begin(leaf_index, content)
            if begun is not None:
                self._fold.begun[leaf_index] = begun
