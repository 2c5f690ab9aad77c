"""What is done on behalf of a call, which ends when the call is given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from threading import Lock
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from ledger.errors import StoreUnavailableError
from ledger.store.postgres.connections import CONNECT_SECONDS
from ledger.store.postgres.transactions import driver_connection


class Work:
    """What is done or waited for on behalf of one call, which ends when the call is given up."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._under_way: list[Callable[[], None]] = []
        """What ends each thing that is under way."""
        self._given_up = False

    @property
    def is_under_way(self) -> bool:
        """Whether a connection is in use for it, or it waits before a gate."""
        return bool(self._under_way)

    @property
    def is_given_up(self) -> bool:
        """Whether it was given up: who waits for another process in it looks at this."""
        return self._given_up

    def give_up(self) -> None:
        """End its statements, and let it begin no other. Waits for Postgres, a few seconds at most."""
        # Under the lock: a connection that is let go of meanwhile may be another call's next.
        with self._lock:
            self._given_up = True
            for end in self._under_way:
                end()

    def using(self, connection: sa.Connection) -> AbstractContextManager[None]:
        """Use a connection for it. Raises as `ended_by` does."""
        return self.ended_by(partial(_cancel, driver_connection(connection)))

    @contextmanager
    def ended_by(self, end: Callable[[], None]) -> Iterator[None]:
        """Do something for it that `end` ends.

        Raises:
            StoreUnavailableError: it was given up.
        """
        with self._lock:
            if self._given_up:
                raise StoreUnavailableError
            self._under_way.append(end)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.remove(end)


def _cancel(driver: psycopg.Connection[Any]) -> None:
    with suppress(psycopg.Error):
        driver.cancel_safe(timeout=CONNECT_SECONDS)


work_of_call: Final[ContextVar[Work | None]] = ContextVar("work_of_call", default=None)
"""The work that transactions in this context are part of; None for those that nobody gives up."""
