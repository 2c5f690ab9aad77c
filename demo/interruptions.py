"""Ctrl-C, let through where it does no harm.

Raised in the middle of a call, KeyboardInterrupt makes gRPC wait for that call for ever as its channel closes
(github.com/grpc/grpc/issues/19973); raised while Postgres starts or stops, it leaves a Postgres behind.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Final, Self

_LOOK_SECONDS: Final = 0.2


class Interruptions:
    """Holds SIGINT and SIGTERM back while it is entered, in the main thread: `let_through` raises KeyboardInterrupt.

    Who sends a second one will not wait, and gets the KeyboardInterrupt at once, except where it is `held`.
    """

    def __init__(self) -> None:
        self._came = False
        self._held = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is not KeyboardInterrupt:  # what failed because of an interruption is no news
            self.let_through()

    def let_through(self) -> None:
        """Raise KeyboardInterrupt if an interruption came."""
        if self._came:
            raise KeyboardInterrupt

    def wait(self) -> None:
        """Wait for an interruption, which is then over."""
        while not self._came:
            time.sleep(_LOOK_SECONDS)
        self._came = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let nothing through for the length of a block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def _catch(self, _number: int, _frame: FrameType | None) -> None:
        if self._came and not self._held:
            raise KeyboardInterrupt
        self._came = True
        logging.disable()  # Ctrl-C reaches Postgres's own tools too, and what they say then interests nobody
