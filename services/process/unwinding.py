"""What ends a command that makes things which it has to take away: SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def unwound() -> Iterator[None]:
    """SIGTERM ends what is inside from within, so that it takes away what it made; a second one has its usual effect.

    Raises:
        SystemExit: with 143, the status of what SIGTERM ends.
    """

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, before)
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
