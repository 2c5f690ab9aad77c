"""JSON values read one by one out of a stream, in memory bounded by the largest of them."""

from __future__ import annotations

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from typing import BinaryIO, Final, NoReturn

_PIECE_BYTES: Final = 64 << 10
_BLANK: Final = re.compile(r"[ \t\r\n]*")


class JsonText:
    """The text of a JSON document, as far as it was read and not taken yet.

    Args:
        source: the bytes, in UTF-8.
        decoder: what makes values of the text.
        value_bytes_max: how long a value may be.
    """

    def __init__(self, source: BinaryIO, decoder: json.JSONDecoder, value_bytes_max: int) -> None:
        self._source = source
        self._decode = decoder.raw_decode
        self._value_bytes_max = value_bytes_max
        self._utf8 = getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._ended = False
        self._broken: UnicodeDecodeError | None = None

    def array(self) -> Iterator[object]:
        """Take the values of an array, one after the other.

        Raises:
            ValueError: what follows is not an array of JSON values, or a value is too long.
            RecursionError: a value is nested too deeply.
        """
        self.skip()
        end = self.next()
        while end != "]":
            yield self.value()
            end = self.next()
            if end not in (",", "]"):
                raise ValueError("is not JSON: no comma and no end of the array before it")
            if end == ",":
                self.skip()
        self.skip()

    def next(self) -> str:
        """Return the next character that is no space, without taking it; nothing at the end."""
        while True:
            self._at = _blank_until(self._text, self._at)
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def skip(self) -> None:
        """Take a character."""
        self._at += 1

    def value(self) -> object:
        """Take a JSON value.

        Raises:
            ValueError: there is none, or it is too long.
            RecursionError: it is nested too deeply.
        """
        self.next()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # Whether it is wrong or not all here yet cannot be told. Reading as much again as there is keeps the
                # work in proportion.
                character = error.pos - self._at
                if not self._more(len(self._text) - self._at):
                    raise ValueError(f"is not JSON: {error.msg} at character {character}") from None
                if len(self._text) > self._value_bytes_max:
                    raise ValueError(too_long(self._value_bytes_max)) from None
            else:
                if end < len(self._text) or not self._more():  # the 1 of [12, 34] may be all that is here
                    self._at = end
                    return value

    def _more(self, size: int = 0) -> bool:
        """Read on, and drop what was taken; false at the end."""
        if self._broken:
            raise self._broken
        if self._ended:
            return False
        data = self._source.read(max(size, _PIECE_BYTES))
        self._ended = not data
        self._text = self._text[self._at :] + self._decoded(data)
        self._at = 0
        return not self._ended

    def _decoded(self, data: bytes) -> str:
        try:
            return self._utf8.decode(data, final=not data)
        except UnicodeDecodeError as error:  # what is before it is still good
            self._broken = error
            return error.object[: error.start].decode("utf-8")


def _blank_until(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    assert found  # noqa: S101  # nothing at all matches too
    return found.end()


def reason_of(error: Exception) -> str:
    """Say why something cannot be read as JSON."""
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8"
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error.msg} at character {error.pos}"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    # The advice of Python itself is for whoever wrote the program.
    return "has a number of too many digits" if str(error).startswith("Exceeds the limit") else str(error)


def no_constant(name: str) -> NoReturn:
    """Refuse `NaN` and `Infinity`, which Python reads and JSON does not have."""
    raise ValueError(f"is not JSON: it has no {name}")


def too_long(value_bytes_max: int) -> str:
    """Say that a value is longer than what is read."""
    return f"is longer than {value_bytes_max} bytes"
