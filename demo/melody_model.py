"""An interpolated n-gram model of melody whose every note is split exactly over the training notes that voted for it.

The probability of note w after the context h, the last four notes, is

    P(w | h) = CHANCE / V + (1 - CHANCE) * sum over k of  lambda_k(h) * count_k(h, w) / count_k(h)

where V is the size of the vocabulary and count_k(h, w) counts the training notes w that follow the last k - 1 notes
of h, for k from five down to one. The lambdas are those of Witten and Bell (IEEE Transactions on Information Theory
37, 1991, method C), interpolated: of what the longer contexts leave, the context of k - 1 notes gets
count / (count + types), where types counts the different notes that follow it, and single notes get the rest.

Every count is a sum over training notes, hence over tunes, hence over traditions. A tradition's part of a note is its
summand over P(w | h); the part of CHANCE / V is nobody's, and the parts add up to one. A work's attribution is the
mean over its notes: each weighs the same.

How a platform attributes is its own affair, and decides no money by itself, so floats will do. They are only added,
multiplied and divided, in a fixed order: the same corpus and seed give the same works and shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from demo.corpus import Corpus, Progress
from demo.melodies import END, START, VOCABULARY_SIZE, until_last_tonic
from demo.ngrams import TOKEN_BITS, Counts, Floats, Grams, Ints, Voters, index_grams
from demo.works import Work, nano_shares, work_of_melody

__all__ = ["CHANCE", "NOTES_MAX", "NOTES_MIN", "ORDER", "MelodyModel", "train"]

ORDER: Final = 5
# How often a note is drawn evenly from all there are: about once in a melody. It lets a melody be more than the sum
# of what the traditions have done, and what it adds is nobody's.
CHANCE: Final = 0.02
NOTES_MIN, NOTES_MAX = 24, 64  # of a generated melody
DRAWS_MAX: Final = 50  # rounds of drawing before giving up on a corpus that yields no melodies of that length
MELODIES_PER_STEP: Final = 20  # bounds the memory: single notes are voted for by thousands of tunes each


@dataclass(frozen=True, slots=True)
class _Votes:
    """The votes of the n-grams of one length: every occurrence of `grams[i]` is for note `notes[i]`.

    `weights[i]` is the part of that note's probability that each is worth.
    """

    notes: Ints
    grams: Ints
    weights: Floats


def train(corpus: Corpus) -> MelodyModel:
    """Train the model on a corpus, every tune counting once."""
    grams = index_grams([tune.melody for tune in corpus.tunes], ORDER)
    return MelodyModel(corpus, grams, np.ones(len(corpus.tunes), dtype=np.int64))


class MelodyModel:
    """The model trained on a corpus in which tune t is there `copies[t]` times."""

    def __init__(self, corpus: Corpus, grams: Sequence[Grams], copies: Ints) -> None:
        if not copies.any():
            raise ValueError("a corpus without tunes trains no model")
        self.corpus = corpus
        self._grams = tuple(grams)
        self._counts = tuple(Counts(level, copies) for level in grams)

    def retrained(self, copies: Ints) -> MelodyModel:
        """Return the model trained on the same tunes in other numbers of copies, as a resample of them has."""
        return MelodyModel(self.corpus, self._grams, copies)

    @cached_property
    def tradition_of_tune(self) -> Ints:
        """The place of each tune's tradition among the corpus's traditions, (tunes,)."""
        places = {tradition.id: place for place, tradition in enumerate(self.corpus.traditions)}
        return np.array([places[tune.tradition] for tune in self.corpus.tunes], dtype=np.int64)

    def generate(self, works: int, seed: int, progress: Progress | None = None) -> list[Work]:
        """Generate so many different works of NOTES_MIN to NOTES_MAX notes, with their shares.

        `progress` is called with the works attributed and all.

        Raises:
            ValueError: the corpus yields no such works.
        """
        rng = np.random.Generator(np.random.PCG64(seed))
        melodies: dict[tuple[int, ...], None] = {}
        for _ in range(DRAWS_MAX):
            melodies.update(dict.fromkeys(self._draw_melodies(works, rng)))
            if len(melodies) >= works:
                break
        else:
            raise ValueError(f"{DRAWS_MAX * works} draws gave {len(melodies)} different melodies of {NOTES_MIN} notes")
        chosen = list(melodies)[:works]
        ids = [tradition.id for tradition in self.corpus.traditions]
        parts = self.attribute_to_traditions(chosen, progress)
        return [
            work_of_melody(melody, nano_shares(ids, row[:-1].tolist()))
            for melody, row in zip(chosen, parts, strict=True)
        ]

    def probabilities(self, melody: Sequence[int]) -> Floats:
        """Return P(w | h) of each note of a melody, (notes,)."""
        return self._probabilities_and_votes([melody])[0]

    def split_notes(self, melody: Sequence[int]) -> Floats:
        """Split each note of a melody: (notes, traditions + 1), the last column nobody's; each row sums to one."""
        probabilities, votes = self._probabilities_and_votes([melody])
        rows = np.arange(len(melody), dtype=np.int64)
        size = len(self.corpus.traditions)
        return self._split(rows, 1 / probabilities, votes, (len(melody), size), self._voters_by_tradition)

    def attribute_to_traditions(self, melodies: Sequence[Sequence[int]], progress: Progress | None = None) -> Floats:
        """Return the mean part of each tradition: (melodies, traditions + 1), the last column nobody's."""
        return self._attribute(melodies, len(self.corpus.traditions), self._voters_by_tradition, progress)

    def attribute_to_tunes(self, melodies: Sequence[Sequence[int]], progress: Progress | None = None) -> Floats:
        """Return the mean part of each single tune: (melodies, tunes + 1), the last column nobody's."""
        return self._attribute(melodies, len(self.corpus.tunes), self._voters_by_tune, progress)

    @cached_property
    def _voters_by_tradition(self) -> tuple[Voters, ...]:
        return tuple(Voters(level, self.tradition_of_tune) for level in self._grams)

    @cached_property
    def _voters_by_tune(self) -> tuple[Voters, ...]:
        every = np.arange(len(self.corpus.tunes), dtype=np.int64)
        return tuple(Voters(level, every) for level in self._grams)

    def _attribute(
        self,
        melodies: Sequence[Sequence[int]],
        size: int,
        voters: Sequence[Voters],
        progress: Progress | None,
    ) -> Floats:
        parts = np.empty((len(melodies), size + 1))
        for first in range(0, len(melodies), MELODIES_PER_STEP):
            some = melodies[first : first + MELODIES_PER_STEP]
            lengths = np.array([len(melody) for melody in some], dtype=np.int64)
            probabilities, votes = self._probabilities_and_votes(some)
            rows = np.repeat(np.arange(len(some), dtype=np.int64), lengths)
            scale = 1 / (probabilities * lengths[rows])
            parts[first : first + len(some)] = self._split(rows, scale, votes, (len(some), size), voters)
            if progress is not None:
                progress(first + len(some), len(melodies))
        return parts

    def _probabilities_and_votes(self, melodies: Sequence[Sequence[int]]) -> tuple[Floats, list[_Votes]]:
        """Return the probability of each note of all the melodies, one after the other, and the votes for it."""
        contexts, tokens = _contexts_and_tokens(melodies)
        probabilities = np.full(len(tokens), CHANCE / VOCABULARY_SIZE)
        left = np.full(len(tokens), 1 - CHANCE)
        votes: list[_Votes] = []
        for level in reversed(range(ORDER)):
            notes, types = self._followers(level, contexts[level])
            weights = left / np.maximum(notes + types, 1)
            places, found = self._grams[level].find(contexts[level], tokens)
            counts = np.where(found, np.diff(self._counts[level].notes)[places], 0)
            probabilities += weights * counts
            left = np.where(notes > 0, weights * types, left)
            here = np.flatnonzero(counts)
            votes.append(_Votes(here, places[here], weights[here]))
        return probabilities, votes[::-1]

    def _followers(self, level: int, contexts: Ints) -> tuple[Ints, Ints]:
        """Return how many training notes follow each context, and how many different ones share what is left.

        Single notes leave nothing to a shorter context, so there the second is 0.
        """
        first, last = self._grams[level].followers(contexts)
        counts = self._counts[level]
        notes = counts.notes[last] - counts.notes[first]
        return notes, (counts.types[last] - counts.types[first]) * (level > 0)

    def _split(
        self,
        rows: Ints,
        scale: Floats,
        votes: Sequence[_Votes],
        shape: tuple[int, int],
        voters: Sequence[Voters],
    ) -> Floats:
        """Add up the votes by the row of the note and by voter, times the note's scale; append nobody's part."""
        size = shape[0] * shape[1]
        parts = np.zeros(size)
        for grams, counts, by, vote in zip(self._grams, self._counts, voters, votes, strict=True):
            # The same n-gram in one row many times is gone through once: its weights are added up first.
            cells, which = np.unique(rows[vote.notes] * len(grams.codes) + vote.grams, return_inverse=True)
            weights = np.bincount(which, vote.weights * scale[vote.notes], len(cells))
            row, gram = np.divmod(cells, len(grams.codes))
            which, runs = by.runs_of(gram)
            occurrences = counts.occurrences[by.starts[runs + 1]] - counts.occurrences[by.starts[runs]]
            parts += np.bincount(row[which] * shape[1] + by.voters[runs], weights[which] * occurrences, size)
        nobodys = np.bincount(rows, scale * (CHANCE / VOCABULARY_SIZE), shape[0])
        return np.column_stack((parts.reshape(shape), nobodys))

    def _draw_melodies(self, number: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """Draw so many melodies, and keep those that are long enough; what has not ended in time is cut at a tonic."""
        drawn = np.full((number, ORDER - 1 + NOTES_MAX), START, dtype=np.int64)
        for column in range(ORDER - 1, drawn.shape[1]):
            drawn[:, column] = self._draw_notes(drawn[:, column - ORDER + 1 : column], rng)
        melodies = []
        for row in drawn[:, ORDER - 1 :].tolist():
            melody = tuple(row[: row.index(END)]) if END in row else until_last_tonic(row)
            if len(melody) >= NOTES_MIN:
                melodies.append(melody)
        return melodies

    def _draw_notes(self, contexts: Ints, rng: np.random.Generator) -> Ints:
        """Draw the next note after each context (number, ORDER - 1): a length of context, then one of its votes."""
        number = len(contexts)
        tokens = rng.integers(VOCABULARY_SIZE, size=number)
        waiting = rng.random(number) >= CHANCE
        for level in reversed(range(ORDER)):
            codes = _code(contexts[:, ORDER - 1 - level :])
            notes, types = self._followers(level, codes)
            chosen = waiting & (rng.random(number) * (notes + types) < notes)
            before = self._counts[level].notes[self._grams[level].followers(codes)[0]]
            vote = before + (rng.random(number) * notes).astype(np.int64)
            places = np.searchsorted(self._counts[level].notes, vote[chosen], side="right") - 1
            tokens[chosen] = self._grams[level].last_tokens(places)
            waiting &= ~chosen
        return tokens


def _code(tokens: Ints) -> Ints:
    """Return the codes of the rows of tokens (number, length), as the n-grams are coded."""
    codes = np.zeros(len(tokens), dtype=np.int64)
    for column in range(tokens.shape[1]):
        codes = (codes << TOKEN_BITS) | tokens[:, column]
    return codes


def _contexts_and_tokens(melodies: Sequence[Sequence[int]]) -> tuple[list[Ints], Ints]:
    """Return the codes of the last 0, 1, ... ORDER - 1 tokens before each note of all the melodies, and the notes."""
    padding = [START] * (ORDER - 1)
    flat = np.array([token for melody in melodies for token in (*padding, *melody)], dtype=np.int64)
    notes = np.flatnonzero(flat != START)
    windows = flat[notes[:, np.newaxis] + np.arange(1 - ORDER, 0)]
    return [_code(windows[:, ORDER - 1 - level :]) for level in range(ORDER)], flat[notes]
