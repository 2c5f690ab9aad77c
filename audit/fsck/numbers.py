"""The numbers of a pool's batches and retractions, some bytes each: which leaf has which number."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field


def _integers() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Numbers:
    """Takes in the number that the row of each batch says, and those by which retractions name their batches."""

    unfollowed: set[int] = field(default_factory=set)
    """Numbers of batches and retractions that were not checked."""
    _leaves: array[int] = field(default_factory=_integers)
    _batches: array[int] = field(default_factory=_integers)
    _retractions: array[int] = field(default_factory=_integers)
    """Of each retraction its leaf, its batch's, and the number in its row."""

    def add_batch(self, leaf_index: int, number: int) -> None:
        """Take in the number of the batch at the next leaf that has one."""
        self._leaves.append(leaf_index)
        self._batches.append(number)

    def add_retraction(self, leaf_index: int, batch_leaf: int, number: int) -> None:
        """Take in by which number a retraction names its batch."""
        self._retractions.extend((leaf_index, batch_leaf, number))

    def wrong_retractions(self, agreed: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """Yields the leaf of each retraction that names another number than its batch has, and that number.

        `agreed` are numbers of batches, by leaf, that are not those of their rows.
        """
        for place in range(0, len(self._retractions), 3):
            leaf_index, batch_leaf, said = self._retractions[place : place + 3]
            number = agreed.get(batch_leaf, self._of_batch(batch_leaf))
            if number is not None and number != said:
                yield leaf_index, number

    def _of_batch(self, leaf_index: int) -> int | None:
        place = bisect_left(self._leaves, leaf_index)
        there = place < len(self._leaves) and self._leaves[place] == leaf_index
        return self._batches[place] if there else None
