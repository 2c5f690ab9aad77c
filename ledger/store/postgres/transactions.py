"""What can be asked of a connection in use, and done with its transaction, beside SQLAlchemy's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Final, cast

import sqlalchemy as sa

from ledger.store.postgres.connections import LIMITS
from ledger.store.postgres.statements import Answer, Connection, Parameters


def driver_connection(connection: sa.Connection) -> Connection:
    """Returns the psycopg connection underneath, for COPY; it is in the same transaction."""
    return cast("Connection", connection.connection.driver_connection)


def ask(connection: sa.Connection, query: str, parameters: Parameters = ()) -> Answer:
    """Say a statement to Postgres, for what runs so often that SQLAlchemy takes longer than Postgres.

    See `Statements.ask`; within `pipelined` nothing waits but whoever fetches an answer.
    """
    return driver_connection(connection).statements.ask(query, parameters)


def pipelined(connection: sa.Connection) -> AbstractContextManager[None]:
    """Send what is asked within together. See `Statements.pipelined`."""
    return driver_connection(connection).statements.pipelined()


_IDLE: Final = "idle_in_transaction_session_timeout"


@contextmanager
def computing(connection: sa.Connection) -> Iterator[None]:
    """Let a transaction compute between two statements for as long as one statement may take.

    Postgres sees it idle meanwhile. Nothing that usage waits for may be locked: a process that hangs would keep it.
    """
    before, _ = ask(connection, _EXTEND).fetchone()
    yield
    ask(connection, _RESTORE, (before,))


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
    (now,) = cast("tuple[datetime]", ask(connection, _NOW).fetchone())
    return now


_NOW: Final = "SELECT clock_timestamp()"


@contextmanager
def pipelined_to_commit(connection: sa.Connection) -> Iterator[None]:
    """The last part of a transaction: statements within are sent together and with the commit, and only a fetch
    waits for an answer.

    A statement's error may be raised by a later one, or at the end.
    """
    statements = driver_connection(connection).statements
    with statements.pipelined():
        yield
        statements.commit()
