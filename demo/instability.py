"""Measures how far attribution moves when the training data could as well have been other data of the same kind.

"We Are All Creators" (arXiv 2504.07936) holds that attribution to single items is unstable and that attribution to
collectives is not. Here that is put to the test: generated works are held fixed, the model is trained anew on
bootstrap resamples of the training tunes (as many tunes, drawn with replacement from all of them), and each work is
attributed under each model, to single tunes and, by adding up their tunes, to traditions.

How far a work's attribution moves is the total variation distance between what the first model and the new one say:
half the sum of the absolute differences, nobody's part included; 0 is the same, 1,000,000 ppm has nothing in common.

Two things make tunes move more that say nothing about attribution, and each has its own figure:

- A resample lacks 37 % of the tunes and has others twice, and a tune that is not there cannot be attributed to. The
  `kept` figures leave this out: only tunes in both trainings count, each per copy, the parts scaled to sum to one.
- A sum over many tunes is steadier than its summands, whichever they are. So the tunes are also dealt at random into
  groups of the same sizes as the traditions: if these move as little, it is the pooling that steadies, not the kinship.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from demo.corpus import Progress
from demo.melody_model import MelodyModel
from demo.ngrams import Floats, Ints
from demo.works import Work

__all__ = ["Instability", "Movement", "measure_instability"]

PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Movement:
    """A mean total variation distance in ppm: for tunes, for traditions, and for random groups of the same sizes."""

    tune_ppm: int
    tradition_ppm: int
    random_group_ppm: int


@dataclass(frozen=True, slots=True)
class Instability:
    """How far attribution moved, over so many works and resamples.

    `per_work` is the mean over works and resamples. `kept` is the same for tunes present in both trainings, per copy.
    `pooled` is the mean over resamples for the works' mean attribution, as if they were paid out together.
    """

    works: int
    resamples: int
    per_work: Movement
    kept: Movement
    pooled: Movement


def measure_instability(
    model: MelodyModel,
    works: Sequence[Work],
    seed: int,
    resamples: int = 8,
    progress: Progress | None = None,
) -> Instability:
    """Measure it for these works, under a model trained on every tune once: a second for 200 works and a resample.

    `progress` is called after each resample with their number and that of all.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    melodies = [work.melody for work in works]
    traditions = model.tradition_of_tune
    groupings = (np.arange(len(traditions), dtype=np.int64), traditions, rng.permutation(traditions))
    before = model.attribute_to_tunes(melodies)
    moved: list[list[list[float]]] = []
    for done in range(1, resamples + 1):
        copies = np.bincount(rng.integers(len(traditions), size=len(traditions)), minlength=len(traditions))
        after = model.retrained(copies).attribute_to_tunes(melodies)
        pairs = (
            (before, after),
            (_per_copy(before, np.minimum(copies, 1)), _per_copy(after, copies)),
            (before.mean(axis=0, keepdims=True), after.mean(axis=0, keepdims=True)),
        )
        moved.append([[_distance(old, new, grouping) for grouping in groupings] for old, new in pairs])
        if progress is not None:
            progress(done, resamples)
    movements = [Movement(*(round(ppm) for ppm in row)) for row in np.mean(moved, axis=0) * PPM]
    return Instability(len(works), resamples, *movements)


def _distance(before: Floats, after: Floats, grouping: Ints) -> float:
    """The mean over the rows of the total variation distance between sums by group; the last column is its own."""
    groups = np.append(grouping, grouping.max() + 1)
    moves = [np.abs(np.bincount(groups, row)).sum() / 2 for row in after - before]
    return float(np.mean(moves))


def _per_copy(parts: Floats, copies: Ints) -> Floats:
    """Return the parts per copy of the tunes that are there at all, scaled to sum to one in each row; nobody's is 0."""
    each = np.zeros_like(parts)
    np.divide(parts[:, :-1], copies, out=each[:, :-1], where=copies > 0)
    sums = each.sum(axis=1, keepdims=True)
    np.divide(each, sums, out=each, where=sums > 0)
    return each
