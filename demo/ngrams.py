"""Counts of n-grams that remember which tune each occurrence is from, so that a count can be split over its voters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from demo.melodies import END, START

__all__ = ["TOKEN_BITS", "Counts", "Floats", "Grams", "Ints", "Voters", "index_grams"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

TOKEN_BITS: Final = 9  # every token, START among them, is below 512; so seven fit in an int64


@dataclass(frozen=True, slots=True)
class Grams:
    """All n-grams of one length in the training melodies, and where they occur.

    `codes` (G,), ascending, are the different n-grams; `starts` (G + 1,) is where the occurrences of each begin in
    `tunes` (N,), the tune of each occurrence. The occurrences of an n-gram are in the order of the tunes.
    """

    codes: Ints
    starts: Ints
    tunes: Ints

    def followers(self, contexts: Ints) -> tuple[Ints, Ints]:
        """Return, for the codes of contexts, where in `codes` the n-grams that begin with each begin and end."""
        first = np.searchsorted(self.codes, contexts << TOKEN_BITS)
        return first, np.searchsorted(self.codes, (contexts + 1) << TOKEN_BITS)

    def find(self, contexts: Ints, tokens: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return where in `codes` each n-gram is, and whether it is there at all (if not, the place means nothing)."""
        codes = (contexts << TOKEN_BITS) | tokens
        places = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        return places, self.codes[places] == codes

    def last_tokens(self, places: Ints) -> Ints:
        """Return the last token of the n-grams at these places of `codes`."""
        return self.codes[places] & ((1 << TOKEN_BITS) - 1)


class Counts:
    """How often each n-gram occurs when tune t is there `copies[t]` times; a resample is nothing but other copies.

    All three are running sums that begin with 0: `occurrences` (N + 1,) over the occurrences, `notes` and `types`
    (G + 1,) over the n-grams, of their counts and of whether they occur at all.
    """

    def __init__(self, grams: Grams, copies: Ints) -> None:
        self.occurrences: Ints = _running_sum(copies[grams.tunes])
        self.notes: Ints = self.occurrences[grams.starts]
        self.types: Ints = _running_sum((np.diff(self.notes) > 0).astype(np.int64))


class Voters:
    """The occurrences of each n-gram by voter (a tune, or its tradition): runs, each of one n-gram and one voter.

    `starts` (R + 1,) is where each run begins among the occurrences, `voters` (R,) is whose it is, `first_runs`
    (G + 1,) is the first run of each n-gram.
    """

    def __init__(self, grams: Grams, voter_of_tune: Ints) -> None:
        voters = voter_of_tune[grams.tunes]
        begins = np.ones(len(voters) + 1, dtype=np.bool_)
        begins[1:-1] = voters[1:] != voters[:-1]
        begins[grams.starts] = True
        self.starts: Ints = np.flatnonzero(begins)
        self.voters: Ints = voters[self.starts[:-1]]
        self.first_runs: Ints = np.searchsorted(self.starts, grams.starts)

    def runs_of(self, places: Ints) -> tuple[Ints, Ints]:
        """All the runs of the n-grams at these places, each with the number of the place (0, 1, ...) it is of."""
        first = self.first_runs[places]
        lengths = self.first_runs[places + 1] - first
        which = np.repeat(np.arange(len(places)), lengths)
        return which, np.arange(len(which)) + np.repeat(first - (np.cumsum(lengths) - lengths), lengths)


def index_grams(melodies: Sequence[Sequence[int]], length_max: int) -> tuple[Grams, ...]:
    """Index the n-grams of 1, 2, ... `length_max` tokens that end in a note, or in the end, of one of the melodies.

    Before the first note every melody has as many STARTs as it takes.
    """
    padding = [START] * (length_max - 1)
    flat = np.array([token for melody in melodies for token in (*padding, *melody, END)], dtype=np.int64)
    lengths = [len(padding) + len(melody) + 1 for melody in melodies]
    predicted = np.flatnonzero(flat != START)
    tunes = np.repeat(np.arange(len(melodies), dtype=np.int64), lengths)[predicted]
    codes = np.zeros_like(predicted)
    grams = []
    for back in range(length_max):
        codes = codes | (flat[predicted - back] << (TOKEN_BITS * back))
        order = np.argsort(codes, kind="stable")
        different, starts = np.unique(codes[order], return_index=True)
        grams.append(Grams(different, np.append(starts, len(codes)), tunes[order]))
    return tuple(grams)


def _running_sum(values: Ints) -> Ints:
    return np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(values)))
