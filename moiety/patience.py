"""How long to wait before a failed call is made again, and when to give up."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final

from moiety.errors import AbortedError, ResourceExhaustedError, ServiceError, UnavailableError

logger: Final = logging.getLogger("moiety")

DELAY_SECONDS_FIRST: Final = 0.2
DELAY_SECONDS_MAX: Final = 5.0

TIMEOUT_SECONDS_MAX: Final = 10.0**8
"""Three years. gRPC takes a deadline that it cannot count to as one that has passed."""

_RETRIED: Final = (UnavailableError, AbortedError)
_DOUBLINGS_MAX: Final = 32


def may_pass(error: ServiceError) -> bool:
    """Whether the same call may succeed when repeated (AIP-194: UNAVAILABLE; AIP-193: ABORTED).

    So may RESOURCE_EXHAUSTED where the service says when: too many streams are open. A message too large stays so.
    """
    if isinstance(error, ResourceExhaustedError):
        return error.retry_after_seconds is not None
    return isinstance(error, _RETRIED)


def require_timeout(timeout_seconds: float) -> None:
    """Check that calls can have a timeout.

    Raises:
        ValueError: it is not more than 0 and at most `TIMEOUT_SECONDS_MAX`.
    """
    if not 0 < timeout_seconds <= TIMEOUT_SECONDS_MAX:
        raise ValueError(
            f"timeout_seconds must be more than 0 and at most {TIMEOUT_SECONDS_MAX:.0f}, got {timeout_seconds}"
        )


class Patience:
    """Exponential backoff with full jitter, until a deadline.

    Args:
        timeout_seconds: the most that all attempts and the waits between them may take.
        renewed: whether each sign of progress gives the whole time anew.
        clock: gives seconds, from any start.
        draw: gives a random number from 0 to below 1.
    """

    def __init__(
        self,
        timeout_seconds: float,
        *,
        renewed: bool = False,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self._renewed = renewed
        self._clock = clock
        self._draw = draw
        self._end = clock() + timeout_seconds
        self._failures = 0

    def seconds_left(self) -> float:
        """Seconds that the next attempt may take."""
        return max(0.0, self._end - self._clock())

    def renew(self) -> None:
        """Begin the time anew, where progress does."""
        if self._renewed:
            self._end = self._clock() + self.timeout_seconds

    def succeed(self) -> None:
        """Forget the failures so far: the service answered."""
        self._failures = 0
        self.renew()

    def pause_after(self, error: ServiceError) -> float:
        """Return the seconds to wait before the call is repeated: at least as many as the service asks for.

        The wait is drawn from the whole range up to a bound that doubles, so that callers who failed together do not
        come back together.

        Raises:
            ServiceError: `error` itself, where repeating cannot help or the wait would pass the deadline.
        """
        if not may_pass(error):
            raise error
        bound = min(DELAY_SECONDS_MAX, DELAY_SECONDS_FIRST * 2.0 ** min(self._failures, _DOUBLINGS_MAX))
        self._failures += 1
        # Near the deadline the range is what is left, so that the time is used up.
        seconds = (error.retry_after_seconds or 0.0) + self._draw() * min(bound, self.seconds_left())
        if seconds >= self.seconds_left():
            raise error
        logger.info("%s: %s; trying again in %.1f s", error.code.name, error, seconds)
        return seconds
