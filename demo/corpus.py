"""Reads the folk melodies that the installed music21 package ships, each with its tradition.

Only music21's files are needed, so they are found on disk and the package is not imported. The encodings keep
their own terms (the keepers of the Essen collection permit non-commercial use): this project reads the files where
they are installed and carries none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from demo.abc_notation import AbcError, read_tune, split_tunes
from demo.melodies import melody_of_notes
from demo.traditions import TRADITION_NAMES, is_book, tradition_of_tune

__all__ = [
    "Corpus",
    "CorpusMissingError",
    "Progress",
    "Tradition",
    "Tune",
    "build_corpus",
    "corpus_folder",
    "read_corpus",
    "read_file",
]

Progress = Callable[[int, int], None]  # called with how much is done, and of how much
NOTES_MIN: Final = 8  # what is shorter is a fragment or a misreading


class CorpusMissingError(ModuleNotFoundError):
    """music21, or the corpus in it, is not installed."""


@dataclass(frozen=True, slots=True)
class Tradition:
    """A tradition, which is a collective: its id, its name, and its number of melodies as number of members."""

    id: str
    name: str
    members: int


@dataclass(frozen=True, slots=True)
class Tune:
    """A training melody: its file and place in it, its title, its tradition's id and its note tokens."""

    id: str
    title: str
    tradition: str
    melody: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Corpus:
    """The traditions by id; their tunes, tradition by tradition; how many were passed over, by reason."""

    traditions: tuple[Tradition, ...]
    tunes: tuple[Tune, ...]
    skipped: Mapping[str, int]


def read_corpus(progress: Progress | None = None) -> Corpus:
    """Read every tune of every book that `traditions.BOOKS` names: some 12,600 tunes, in 3 s.

    `progress` is called after each file, with the number of files read and of all.

    Raises:
        CorpusMissingError: music21 or its corpus is not installed.
    """
    root = corpus_folder()
    named = ((path.relative_to(root).as_posix(), path) for path in sorted(root.glob("*/*.abc")))
    books = [(name, path) for name, path in named if is_book(name)]
    tunes: list[Tune] = []
    skipped: Counter[str] = Counter()
    for number, (name, path) in enumerate(books, start=1):
        for tune in read_file(name, path.read_text("utf-8", errors="replace")):
            if isinstance(tune, Tune):
                tunes.append(tune)
            else:
                skipped[tune] += 1
        if progress is not None:
            progress(number, len(books))
    return build_corpus(tunes, skipped)


def read_file(name: str, text: str) -> Iterator[Tune | str]:
    """Read a file's tunes, given its path in the corpus; give for each the tune, or the reason why it is skipped."""
    for place, source in enumerate(split_tunes(text), start=1):
        try:
            abc = read_tune(source)
        except AbcError as error:
            yield f"not readable: {error.reason}"
            continue
        tradition = tradition_of_tune(name, abc.fields)
        if tradition is None:
            yield "place of no tradition here"
        elif len(abc.notes) < NOTES_MIN:
            yield f"fewer than {NOTES_MIN} notes"
        else:
            melody = melody_of_notes(abc.notes, abc.tonic)
            yield Tune(f"{name}#{place}", abc.fields.get("T", ""), tradition, melody)


def build_corpus(tunes: Iterable[Tune], skipped: Mapping[str, int] | None = None) -> Corpus:
    """Sort tunes into their traditions. A melody that a tradition already has, note for note, is skipped, and counted.

    Some books are there twice, from two transcribers; a second copy is no second melody.
    """
    counts = Counter(skipped or {})
    kept: dict[tuple[str, tuple[int, ...]], Tune] = {}
    for tune in tunes:
        if kept.setdefault((tune.tradition, tune.melody), tune) is not tune:
            counts["same melody twice"] += 1
    members = Counter(tune.tradition for tune in kept.values())
    traditions = tuple(Tradition(key, TRADITION_NAMES.get(key, key), members[key]) for key in sorted(members))
    ordered = sorted(kept.values(), key=lambda tune: tune.tradition)  # stable: the files' order within a tradition
    return Corpus(traditions, tuple(ordered), dict(counts))


def corpus_folder() -> Path:
    """Return the folder of the corpus of the installed music21.

    Raises:
        CorpusMissingError: music21 or its corpus is not installed.
    """
    spec = find_spec("music21")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (folder := Path(location, "corpus")).is_dir():
            return folder
    raise CorpusMissingError(
        "the demo reads the melodies of music21: run `make demo`, which installs it", name="music21"
    )
