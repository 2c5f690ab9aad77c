"""The melody model of the demo: exact splitting of every note, generation, shares and their instability."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

import numpy as np
import pytest

from demo.corpus import Corpus, Tune, build_corpus
from demo.instability import Instability, Movement, measure_instability
from demo.melodies import END, START, VOCABULARY_SIZE
from demo.melody_model import NOTES_MAX, NOTES_MIN, ORDER, MelodyModel, train
from demo.works import nano_shares, work_of_melody

A, B, C = 10, 20, 30
CHANCE: Final = Fraction(2, 100)
NOBODYS: Final = CHANCE / 445


def corpus_of(**melodies: Sequence[Sequence[int]]) -> Corpus:
    return build_corpus(
        Tune(f"{tradition}#{place}", "", tradition, tuple(melody))
        for tradition, several in melodies.items()
        for place, melody in enumerate(several)
    )


def random_corpus(seed: int, tunes: int = 40, length: int = 40) -> Corpus:
    dice = random.Random(seed)
    steps = [dice.sample(range(END), 3) for _ in range(3)]
    several: dict[str, list[list[int]]] = {"east": [], "north": [], "west": []}
    for _ in range(tunes):
        tradition = dice.choice(list(several))
        notes = steps[list(several).index(tradition)] + steps[0]
        several[tradition].append([dice.choice(notes) for _ in range(length + dice.randrange(20))])
    return corpus_of(**several)


def naive_split(melodies: Sequence[tuple[str, Sequence[int]]], melody: Sequence[int], place: int) -> Counter[str]:
    """Each tradition's summand of the probability of a note, in fractions, as the module's docstring has it."""
    parts: Counter[str] = Counter()
    left = 1 - CHANCE
    context = ([START] * (ORDER - 1) + list(melody[:place]))[-(ORDER - 1) :]
    for length in range(ORDER - 1, -1, -1):
        followers: Counter[int] = Counter()
        voters: Counter[str] = Counter()
        for tradition, training in melodies:
            padded = [START] * (ORDER - 1) + list(training) + [END]
            for end in range(ORDER - 1, len(padded)):
                if padded[end - length : end] == context[ORDER - 1 - length :]:
                    followers[padded[end]] += 1
                    voters[tradition] += padded[end] == melody[place]
        notes, types = sum(followers.values()), len(followers)
        if notes:
            for tradition, count in voters.items():
                parts[tradition] += left * count / (notes + (types if length else 0))  # type: ignore[assignment]
            left *= Fraction(types, notes + types)
    return parts


def test_a_note_is_split_over_the_traditions_that_voted_for_it() -> None:
    model = train(corpus_of(north=[(A, B)], south=[(A, C)]))
    # A opens both melodies. Four contexts of STARTs give it 2 of 2 votes, and leave a third each; of the six single
    # training notes (A twice, B, C, the end twice) two are A.
    first = (1 - CHANCE) * (Fraction(80, 81) + Fraction(1, 81) * Fraction(2, 6)) + NOBODYS
    # B follows A once out of twice. The four contexts leave a half each; one of the six single notes is B.
    second = (1 - CHANCE) * (Fraction(15, 16) * Fraction(1, 2) + Fraction(1, 16) * Fraction(1, 6)) + NOBODYS
    assert model.probabilities((A, B)) == pytest.approx([float(first), float(second)], abs=1e-15)
    expected = [
        [(1 - NOBODYS / first) / 2, (1 - NOBODYS / first) / 2, NOBODYS / first],
        [1 - NOBODYS / second, 0, NOBODYS / second],
    ]
    assert model.split_notes((A, B)) == pytest.approx(np.array(expected, dtype=float), abs=1e-15)


def test_the_share_of_a_tradition_is_the_mean_over_the_notes() -> None:
    model = train(corpus_of(north=[(A, B)], south=[(A, C)]))
    parts = model.attribute_to_traditions([(A, B), (B,)])
    assert parts[0] == pytest.approx(model.split_notes((A, B)).mean(axis=0), abs=1e-15)
    assert nano_shares(["north", "south"], parts[0, :2].tolist()) == (("north", 749_940_589), ("south", 249_988_440))


def test_a_note_that_no_tune_has_is_nobodys() -> None:
    model = train(corpus_of(north=[(A, B)], south=[(A, C)]))
    assert model.split_notes((77,)).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_the_split_is_that_of_the_definition_counted_naively(seed: int) -> None:
    corpus = random_corpus(seed, tunes=6, length=12)
    melodies = [(tune.tradition, tune.melody) for tune in corpus.tunes]
    melody = (*corpus.tunes[0].melody[:4], *corpus.tunes[-1].melody[2:8], 7)
    model = train(corpus)
    split, probabilities = model.split_notes(melody), model.probabilities(melody)
    for place in range(len(melody)):
        parts = naive_split(melodies, melody, place)
        assert probabilities[place] == pytest.approx(float(sum(parts.values()) + NOBODYS), rel=1e-12)
        expected = [float(parts[tradition.id]) / probabilities[place] for tradition in corpus.traditions]
        assert split[place, :-1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_parts_of_a_note_add_up_to_one_and_so_do_the_probabilities(seed: int) -> None:
    corpus = random_corpus(seed)
    model = train(corpus)
    melody = corpus.tunes[0].melody[:20]
    assert model.split_notes(melody).sum(axis=1) == pytest.approx(np.ones(20), abs=1e-12)
    assert model.attribute_to_tunes([melody]).sum(axis=1) == pytest.approx(np.ones(1), abs=1e-12)
    every = [(*melody[:5], token) for token in range(VOCABULARY_SIZE)]
    assert sum(model.probabilities(each)[5] for each in every) == pytest.approx(1, abs=1e-12)


def test_the_parts_of_tunes_add_up_to_those_of_their_traditions() -> None:
    corpus = random_corpus(1)
    model = train(corpus)
    melodies = [tune.melody[5:30] for tune in corpus.tunes]
    by_tune = model.attribute_to_tunes(melodies)
    by_tradition = model.attribute_to_traditions(melodies)
    for place, tradition in enumerate(corpus.traditions):
        of_it = [number for number, tune in enumerate(corpus.tunes) if tune.tradition == tradition.id]
        assert by_tune[:, of_it].sum(axis=1) == pytest.approx(by_tradition[:, place], abs=1e-12)


def test_a_tune_in_copies_counts_as_often_and_one_in_none_not_at_all() -> None:
    corpus = random_corpus(2, tunes=8, length=15)
    copies = np.array([2, 0, 1, 3, 0, 1, 1, 0])
    retrained = train(corpus).retrained(copies)
    again = [tune for tune, times in zip(corpus.tunes, copies, strict=True) for _ in range(times)]
    trained = train(Corpus(corpus.traditions, tuple(again), {}))
    melody = corpus.tunes[1].melody
    assert retrained.probabilities(melody) == pytest.approx(trained.probabilities(melody), rel=1e-12)
    assert retrained.split_notes(melody) == pytest.approx(trained.split_notes(melody), rel=1e-9, abs=1e-15)
    assert retrained.attribute_to_tunes([melody])[0, [1, 4, 7]].tolist() == [0, 0, 0]


def test_notes_are_drawn_as_often_as_they_are_probable() -> None:
    corpus = random_corpus(3)
    model = train(corpus)
    opening = corpus.tunes[0].melody[: ORDER - 1]
    draws = 100_000
    drawn = model._draw_notes(np.tile(np.array(opening), (draws, 1)), np.random.Generator(np.random.PCG64(1)))
    frequencies = np.bincount(drawn, minlength=VOCABULARY_SIZE) / draws
    for token in {*corpus.tunes[0].melody, END, 0}:
        probability = model.probabilities((*opening, token))[-1]
        assert frequencies[token] == pytest.approx(probability, abs=5 * (probability / draws) ** 0.5)


@pytest.fixture(scope="module")
def model() -> MelodyModel:
    return train(random_corpus(4))


def test_the_same_seed_gives_the_same_works_and_another_seed_others(model: MelodyModel) -> None:
    works = model.generate(30, seed=7)
    assert train(random_corpus(4)).generate(30, seed=7) == works
    assert model.generate(30, seed=8) != works


def test_works_and_shares_keep_the_rules_of_a_usage_batch(model: MelodyModel) -> None:
    seen: list[tuple[int, int]] = []
    works = model.generate(50, seed=1, progress=lambda done, total: seen.append((done, total)))
    assert len({work.work_id for work in works}) == 50
    assert seen[-1] == (50, 50)
    for work in works:
        assert re.fullmatch(r"urn:moiety-demo:melody:[0-9a-f]{32}", work.work_id)
        assert NOTES_MIN <= len(work.melody) <= NOTES_MAX
        ids = [tradition for tradition, _ in work.shares]
        assert ids == sorted(set(ids))
        assert set(ids) <= {"east", "north", "west"}
        assert all(share >= 1 for _, share in work.shares)
        assert 0 < work.unattributed_nano < 10**9
        assert sum(share for _, share in work.shares) + work.unattributed_nano == 10**9


def test_equal_melodies_are_one_work() -> None:
    assert work_of_melody((1, 2, 3), ()).work_id == work_of_melody([1, 2, 3], (("north", 1),)).work_id
    assert work_of_melody((1, 23), ()).work_id != work_of_melody((12, 3), ()).work_id


def test_a_corpus_of_short_melodies_yields_no_works() -> None:
    with pytest.raises(ValueError, match="different melodies"):
        train(corpus_of(north=[(A, B)])).generate(5, seed=1)


def test_a_model_needs_tunes() -> None:
    with pytest.raises(ValueError, match="no model"):
        train(Corpus((), (), {}))


@pytest.mark.parametrize(
    ("parts", "shares"),
    [
        ([0.25, 0.5], (("a", 250_000_000), ("b", 500_000_000))),
        ([1 / 3, 2 / 3], (("a", 333_333_333), ("b", 666_666_666))),
        ([0.9999999999, 0.0000000009], (("a", 999_999_999),)),
        ([0.0, 1.0], (("b", 1_000_000_000),)),
    ],
)
def test_shares_are_rounded_down_and_none_is_zero(parts: list[float], shares: tuple[tuple[str, int], ...]) -> None:
    assert nano_shares(["a", "b"], parts) == shares


@pytest.mark.parametrize("parts", [[0.6, 0.6], [-0.1, 0.5]])
def test_what_is_no_part_of_one_is_refused(parts: list[float]) -> None:
    with pytest.raises(ValueError, match="not parts of one"):
        nano_shares(["a", "b"], parts)


def test_attribution_moves_more_for_single_tunes_than_for_traditions(model: MelodyModel) -> None:
    works = model.generate(20, seed=1)
    seen: list[int] = []
    measured = measure_instability(model, works, seed=3, resamples=4, progress=lambda done, _: seen.append(done))
    assert (measured.works, measured.resamples, seen) == (20, 4, [1, 2, 3, 4])
    for movement in (measured.per_work, measured.kept, measured.pooled):
        assert 0 < movement.tradition_ppm < movement.tune_ppm < 1_000_000
        assert 0 < movement.random_group_ppm < movement.tune_ppm
    assert measure_instability(model, works, seed=3, resamples=4) == measured


def test_attribution_does_not_move_where_every_resample_is_the_same() -> None:
    melody = [A, B, A, C, B, C, A] * 5
    model = train(corpus_of(north=[melody]))
    still = Movement(tune_ppm=0, tradition_ppm=0, random_group_ppm=0)
    measured = measure_instability(model, [work_of_melody(melody, ())], seed=1, resamples=2)
    assert measured == Instability(works=1, resamples=2, per_work=still, kept=still, pooled=still)
