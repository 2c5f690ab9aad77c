"""Melodies as sequences of note tokens that are comparable across traditions, and back to ABC notation.

A token is a pair: the degree, in semitones above the tonic, and the length, as a multiple of the melody's commonest
length. So neither the key nor the unit that a transcriber happened to choose tells two melodies apart.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from math import sqrt
from typing import Final

from demo.abc_notation import Note

__all__ = ["END", "START", "VOCABULARY_SIZE", "abc_of_melody", "melody_of_notes", "notes_of_melody", "until_last_tonic"]

# Three octaves hold all but a thousandth of the notes; the others are moved into them by octaves.
DEGREE_MIN, DEGREE_MAX = -17, 19
# Multiples of the commonest length; any other is rounded to the one that is nearest by ratio.
LENGTHS: Final = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1.0, 4 / 3, 3 / 2, 2.0, 3.0, 4.0, 6.0)
_LENGTH_BOUNDS: Final = tuple(sqrt(low * high) for low, high in pairwise(LENGTHS))
_ABC_LENGTHS: Final = ("/4", "/3", "/", "2/3", "3/4", "", "4/3", "3/2", "2", "3", "4", "6")
_ABC_PITCHES: Final = ("C", "^C", "D", "_E", "E", "F", "^F", "G", "_A", "A", "_B", "B")

END: Final = (DEGREE_MAX - DEGREE_MIN + 1) * len(LENGTHS)
VOCABULARY_SIZE: Final = END + 1  # what the model can predict: every note token, and the end
START: Final = VOCABULARY_SIZE  # fills the context before the first note; never predicted

MIDDLE_C: Final = 60
TONIC_PITCH: Final = 67  # melodies are written with the G above it as tonic
UNIT: Final = 1 / 8  # and an eighth as the commonest length


def melody_of_notes(notes: Sequence[Note], tonic: int) -> tuple[int, ...]:
    """Return the tokens of at least one note, for a tonic's pitch class.

    The octave of the tonic, which the key does not tell, is the one nearest to the last note, where most melodies come
    to rest. Of two lengths that are equally common the shorter is the unit.
    """
    last = notes[-1].pitch
    tonic_pitch = last + (tonic - last + 6) % 12 - 6
    counts = Counter(note.length for note in notes)
    unit = min(counts, key=lambda length: (-counts[length], length))
    return tuple(_token(note.pitch - tonic_pitch, note.length / unit) for note in notes)


def notes_of_melody(melody: Sequence[int]) -> tuple[Note, ...]:
    """Return the notes that note tokens stand for, on the tonic G with the eighth as unit."""
    pairs = (divmod(token, len(LENGTHS)) for token in melody)
    return tuple(Note(TONIC_PITCH + DEGREE_MIN + degree, UNIT * LENGTHS[length]) for degree, length in pairs)


def until_last_tonic(melody: Sequence[int]) -> tuple[int, ...]:
    """Return a melody up to its last note on a tonic of any octave, where it can end; all of it if it has none."""
    degrees = [token // len(LENGTHS) + DEGREE_MIN for token in melody]
    end = max((place for place, degree in enumerate(degrees, start=1) if degree % 12 == 0), default=len(melody))
    return tuple(melody[:end])


def abc_of_melody(melody: Sequence[int], title: str, units_per_bar: int = 8) -> str:
    """Write a melody as an ABC tune on G, whose mixolydian needs no key signature, four bars to a line.

    The model knows nothing of bars: a bar line is set after the note that fills one.
    """
    bars: list[str] = [""]
    altered: dict[str, bool] = {}
    filled = 0.0
    for note, token in zip(notes_of_melody(melody), melody, strict=True):
        if filled >= units_per_bar - 1e-9:
            bars.append("")
            altered.clear()
            filled -= units_per_bar
        bars[-1] += _abc_pitch(note.pitch, altered) + _ABC_LENGTHS[token % len(LENGTHS)]
        filled += note.length / UNIT
    lines = [" | ".join(bars[first : first + 4]) for first in range(0, len(bars), 4)]
    return "\n".join([f"X:1\nT:{title}\nM:none\nL:1/8\nK:Gmix", *(f"{line} |" for line in lines)]) + "]\n"


def _token(degree: int, multiple: float) -> int:
    while degree < DEGREE_MIN:
        degree += 12
    while degree > DEGREE_MAX:
        degree -= 12
    return (degree - DEGREE_MIN) * len(LENGTHS) + bisect_right(_LENGTH_BOUNDS, multiple)


def _abc_pitch(pitch: int, altered: dict[str, bool]) -> str:
    """Spell a pitch in the key of C, as an accidental earlier in the bar asks: a natural only where one is needed."""
    octaves, step = divmod(pitch - MIDDLE_C, 12)
    name = _ABC_PITCHES[step]
    letter = name[-1]
    if name == letter and altered.get(letter):
        name = f"={letter}"
    altered[letter] = name not in (letter, f"={letter}")
    return name.lower() + "'" * (octaves - 1) if octaves > 0 else name + "," * -octaves
