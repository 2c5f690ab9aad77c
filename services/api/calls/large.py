"""Messages that may be far larger once they are parsed: one is parsed and handled at a time, and the others wait.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import clear_frames
from typing import Final

from ledger.errors import InvalidInputError
from ledger.store.postgres.gates import Gate
from services.api.calls.door import TAKES_BODIES, most_bytes

FREE_BYTES: Final = 2**16
"""A message of no more is parsed without waiting. A list of empty messages, two bytes each, is 45 times as large once
protobuf has parsed it: with one such message on each of 32 threads that is 90 MiB."""

FIELDS_MAX: Final = 10_000
"""Fields of a large message, where each element of a list is one: ten times what any list of the contract takes."""

AT_ONCE: Final = 1
"""The largest, 4 MiB, whose lists are in another one, takes some 200 MiB, which the next has again."""

WAITING: Final = 4
"""Such messages that may wait, each with its thread."""


class LargeMessages:
    """What calls pass before they parse a large message, and keep until they are done."""

    def __init__(self) -> None:
        self._gate = Gate(AT_ONCE, of_one=AT_ONCE, waiting=WAITING)

    @contextmanager
    def one(self, raw: bytes, method: str, holder: str) -> Iterator[None]:
        """Wait for the turn of a message, if it is large. Bodies are bytes for protobuf too, and need none.

        Raises:
            InvalidInputError: it is large, and has more fields than any message has.
            QuotaError: as `Gate.passed` does.
            StoreUnavailableError: as that does.
        """
        if len(raw) <= FREE_BYTES or method in TAKES_BODIES:
            yield
            return
        if len(raw) <= most_bytes(method) and _has_many_fields(raw):
            raise InvalidInputError.of("request", f"must have at most {FIELDS_MAX:,} fields")
        with self._gate.passed(holder):
            try:
                yield
            except Exception as error:
                let_go(error)  # before the next has its turn
                raise


def let_go(error: BaseException | None) -> None:
    """Forget what an error was raised over: who handles it keeps it for a while, and with it a message of megabytes."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__context__


def _has_many_fields(raw: bytes) -> bool:
    """Whether a message has more than FIELDS_MAX fields. What is no message is left to protobuf."""
    at = count = 0
    try:
        while at < len(raw) and count <= FIELDS_MAX:
            tag, at = _varint(raw, at)
            match tag & 7:
                case 0:
                    _, at = _varint(raw, at)
                case 1:
                    at += 8
                case 2:
                    size, at = _varint(raw, at)
                    at += size
                case 5:
                    at += 4
                case _:
                    return False
            count += 1
    except IndexError:
        return False
    return count > FIELDS_MAX


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    """A number, of which ten bytes are read at most, and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        byte = raw[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:  # noqa: PLR2004  # the last one
            break
    return number, at
