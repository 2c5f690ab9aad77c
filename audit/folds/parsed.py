"""The body that was parsed last: a round's statement is needed several times in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

T = TypeVar("T")


@dataclass(slots=True)
class Parsed:
    """What one body says, by its SHA-256 in hexadecimal."""

    _digest: str = ""
    _value: Any = None

    def get(self, digest: str, read: Callable[[], T]) -> T:
        """Returns what a body says; `read` reads and parses it where it is not the one that was parsed last."""
        if self._digest != digest:
            self.keep(digest, read())
        return cast("T", self._value)

    def keep(self, digest: str, value: object) -> None:
        """Note what a body says whose bytes were compared with what that renders to."""
        self._digest, self._value = digest, value
