"""Messages that may be far larger once they are parsed: few are parsed and handled at a time, and the others wait."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Final

from ledger.store.gates import Gate
from services.api.door import TAKES_BODIES

FREE_BYTES: Final = 2**16
"""A message of no more is parsed without waiting. A list of empty messages, two bytes each, is 45 times as large once
protobuf has parsed it: with one such message on each of 32 threads that is 90 MiB."""

AT_ONCE: Final = 2
"""Of the largest, 4 MiB, two take less than 400 MiB."""

WAITING: Final = 4
"""Such messages that may wait, each with its thread."""


class LargeMessages:
    """What calls pass before they parse a large message, and keep until they are done."""

    def __init__(self) -> None:
        self._gate = Gate(AT_ONCE, of_one=AT_ONCE, waiting=WAITING)

    def one(self, size_bytes: int, method: str, holder: str) -> AbstractContextManager[None]:
        """Wait for the turn of a message, if it is large. Bodies are bytes for protobuf too, and need none.

        Raises:
            QuotaError: as `Gate.passed` does.
            StoreUnavailableError: as that does.
        """
        is_small = size_bytes <= FREE_BYTES or method in TAKES_BODIES
        return nullcontext() if is_small else self._gate.passed(holder)
