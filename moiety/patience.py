"""How long to wait before a failed call is made again, and when to give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

from moiety.errors import AbortedError, ResourceExhaustedError, ServiceError, UnavailableError

ATTEMPTS_MAX: Final = 6
"""Calls made before giving up: some three seconds of waiting, which outlasts a restart of the service."""

DELAY_SECONDS_FIRST: Final = 0.2
DELAY_SECONDS_MAX: Final = 5.0

WAIT_SECONDS_MAX: Final = 60.0
"""The longest that a call waits because the service asks for it. What takes longer, such as a quota that is used up for
the day, is for the caller to decide.
"""

_RETRIED: Final = (UnavailableError, AbortedError)


def may_pass(error: ServiceError) -> bool:
    """Whether the same call may succeed when repeated (AIP-194: UNAVAILABLE; AIP-193: ABORTED).

    So may RESOURCE_EXHAUSTED where the service says when: too many streams are open. A message too large stays so.
    """
    if isinstance(error, ResourceExhaustedError):
        return error.retry_after_seconds is not None
    return isinstance(error, _RETRIED)


class Patience:
    """Exponential backoff with jitter, within a limit of attempts and of time.

    Args:
        timeout_seconds: the most that all attempts and the waits between them may take; None for no limit.
        clock: gives seconds, from any start.
        sleep: waits for seconds.
        draw: gives a random number from 0 to below 1.
    """

    def __init__(
        self,
        timeout_seconds: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._draw = draw
        self._end = None if timeout_seconds is None else clock() + timeout_seconds
        self._failures = 0

    def seconds_left(self) -> float | None:
        """Seconds that the next attempt may take; None for any."""
        return None if self._end is None else max(0.0, self._end - self._clock())

    def reset(self) -> None:
        """Forget the failures so far: there was progress."""
        self._failures = 0

    def wait(self, error: ServiceError) -> None:
        """Wait until the call may be repeated: at least as long as the service asks for.

        Raises:
            ServiceError: `error` itself, where repeating cannot help or the limit is reached.
        """
        self._failures += 1
        if not may_pass(error) or self._failures >= ATTEMPTS_MAX:
            raise error
        delay = min(DELAY_SECONDS_MAX, DELAY_SECONDS_FIRST * 2 ** (self._failures - 1)) * (0.5 + self._draw() / 2)
        delay = max(delay, error.retry_after_seconds or 0.0)
        if delay > WAIT_SECONDS_MAX:
            raise error
        if self._end is not None and self._clock() + delay >= self._end:
            raise error
        self._sleep(delay)
