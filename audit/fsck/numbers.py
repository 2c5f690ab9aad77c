"""The numbers of a pool's batches and retractions, 8 bytes each: which leaf has which number."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


def _integers() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Numbers:
    """Takes in the number of each batch in log order, and the numbers under which retractions have weights."""

    _leaves: array[int] = field(default_factory=_integers)
    _batches: array[int] = field(default_factory=_integers)
    _others: array[int] = field(default_factory=_integers)
    _retractions: array[int] = field(default_factory=_integers)

    def add_batch(self, leaf_index: int, number: int) -> None:
        """Take in the number of the batch at the next leaf that has one."""
        self._leaves.append(leaf_index)
        self._batches.append(number)

    def add_unfollowed(self, number: int) -> None:
        """Take in the number of a batch that was not checked."""
        self._others.append(number)

    def add_retraction(self, number: int) -> None:
        """Take in the number that a retraction's weights are under."""
        self._retractions.append(number)

    def of_batch(self, leaf_index: int) -> int | None:
        """Returns the number of the batch at a leaf, if known."""
        place = bisect_left(self._leaves, leaf_index)
        there = place < len(self._leaves) and self._leaves[place] == leaf_index
        return self._batches[place] if there else None

    def of_batches(self) -> npt.NDArray[np.int64]:
        """The numbers of all batches, ascending."""
        return np.unique(np.array(self._batches + self._others, dtype=np.int64))

    def of_all(self) -> npt.NDArray[np.int64]:
        """The numbers of all batches and retractions, ascending."""
        return np.unique(np.array(self._batches + self._others + self._retractions, dtype=np.int64))
