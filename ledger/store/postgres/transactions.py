"""What can be asked of a connection in use, and done with its transaction, beside SQLAlchemy's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final, cast

import psycopg
import sqlalchemy as sa

from ledger.store.postgres.connections import LIMITS


def driver_connection(connection: sa.Connection) -> psycopg.Connection[tuple[object, ...]]:
    """Returns the psycopg connection underneath, for COPY; it is in the same transaction."""
    return cast("psycopg.Connection[tuple[object, ...]]", connection.connection.driver_connection)


_IDLE: Final = "idle_in_transaction_session_timeout"


@contextmanager
def computing(connection: sa.Connection) -> Iterator[None]:
    """Let a transaction compute between two statements for as long as one statement may take.

    Postgres sees it idle meanwhile. Nothing that usage waits for may be locked: a process that hangs would keep it.
    """
    driver = driver_connection(connection)
    (before, _) = cast("tuple[str, str]", driver.execute(_EXTEND, prepare=True).fetchone())
    yield
    driver.execute(_RESTORE, (before,), prepare=True)


_EXTEND: Final = f"SELECT current_setting('{_IDLE}'), set_config('{_IDLE}', '{LIMITS['statement_timeout']}', true)"
_RESTORE: Final = f"SELECT set_config('{_IDLE}', %s, true)"

WAITED: Final = "waited"
"""Where a connection keeps what is told how long heads were waited for."""


@contextmanager
def locking(connection: sa.Connection) -> Iterator[None]:
    """Tell the database's owner how long the locking of a head takes that is done meanwhile."""
    began = time.monotonic()
    yield
    if waited := connection.info.get(WAITED):
        waited(time.monotonic() - began)


CLOCK: Final = "clock"
"""Where a connection keeps the clock that its database was given."""


def clock_of(connection: sa.Connection) -> Callable[[], datetime] | None:
    """Returns the clock that tells the time instead of Postgres; None if none does."""
    return cast("Callable[[], datetime] | None", connection.info.get(CLOCK))


def read_time(connection: sa.Connection) -> datetime:
    """Returns the database's time. Leaves get theirs from `ledger.store.logs.log.lock_head`."""
    if clock := clock_of(connection):
        return clock()
    (now,) = cast("tuple[datetime]", driver_connection(connection).execute(_NOW, prepare=True).fetchone())
    return now


_NOW: Final = "SELECT clock_timestamp()"


@contextmanager
def pipelined_to_commit(connection: sa.Connection) -> Iterator[None]:
    """The last part of a transaction: statements within are sent together and with the commit, and only a fetch
    waits for an answer.

    A statement's error may be raised by a later one, or at the end.
    """
    driver = driver_connection(connection)
    with driver.pipeline() as pipeline:
        try:
            yield
            driver.commit()
        except psycopg.Error:
            # Everything sent after it failed too. Fetched here, it causes no warning about an unexpected result.
            with suppress(psycopg.Error):
                pipeline.sync()
            raise
