"""Text that others wrote, made fit for a terminal or a line of a log: the one place where it is cleaned.

A pool's log, a bundle from somebody else and an error of another service may hold any character. Some of them move the
cursor, clear the screen or turn the order of what stands beside them, so that a reader sees what is not there.
"""

from __future__ import annotations

from typing import Final

_JOINERS: Final = "\u200c\u200d"
"""Not printable by Unicode, but part of how Persian, Hindi and others are spelled; alone they do no harm."""


def printable(text: str) -> str:
    r"""The text with every character escaped that is not printable, line breaks too: `\x1b`, `\n`, `\u202e`.

    That is all of C0, C1, bidirectional controls, line separators, other invisible formats, surrogates and what Unicode
    has not assigned. So what comes back is one line, whose every character stands where it is read.
    """
    if text.isprintable():
        return text
    return "".join(each if _may_stand(each) else each.encode("unicode_escape").decode() for each in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines, such as a traceback: its line breaks stay."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(document: str) -> str:
    r"""A JSON document with the same characters escaped in its strings as JSON does it, so that its values stay.

    Outside of strings a JSON text has no other characters than spaces and line breaks.
    """
    return "\n".join(line if line.isprintable() else "".join(map(_in_json, line)) for line in document.split("\n"))


def _may_stand(character: str) -> bool:
    return character.isprintable() or character in _JOINERS


def _in_json(character: str) -> str:
    if _may_stand(character) or character == "\t":
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
