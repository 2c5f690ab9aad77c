"""Connections and transactions: where a driver's exception becomes one of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, cast

import psycopg
import sqlalchemy as sa

from ledger.errors import LostRaceError, StateError, StoreUnavailableError

SERVICE_ROLE: Final = "moiety_app"
"""The database role that the service takes on every connection. Migrations create it and say what it may do."""

CONNECT_SECONDS: Final = 5

_NODE_LOST: Final = re.compile(
    "server closed the connection unexpectedly"
    "|connection to the remote node"
    "|failure on connection marked as essential"
    "|connection not open"
)
"""What the node that we are connected to says, without a code of its own, where it lost another within a statement."""


class Database:
    """Connections to one Postgres: at most `connections` (2 or more), a quarter to read on.

    Args:
        role: the role that they take, the service's; None for the login's own, which is for the owner of the schema.
    """

    def __init__(self, url: str, *, connections: int = 16, role: str | None = SERVICE_ROLE) -> None:
        readers = max(1, connections // 4)
        self.engine = _engine(url, connections - readers, role)
        # On connections of their own, so that no call switches one to autocommit and back.
        self._reading = _engine(
            url, readers, role, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, skip_autocommit_rollback=True
        )

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A READ COMMITTED transaction: committed at the end, rolled back on any exception.

        Raises:
            StoreUnavailableError: Postgres is away.
            StateError: the database was never migrated.
            LostRaceError: Postgres reports a deadlock or a serialization failure.
        """
        with self._translating(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """For single reads: each sees what is committed when it begins, and costs one round trip and no transaction.

        Raises:
            StoreUnavailableError: Postgres is away.
        """
        with self._translating(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A transaction that only reads, and sees everything as it was at its first read."""
        with self.transaction() as connection:
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield connection

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, psycopg.Error, sa.exc.TimeoutError) as error:
            translated = _translated(error)
            if isinstance(translated, StoreUnavailableError) and not isinstance(error, sa.exc.TimeoutError):
                self.close()  # where one is lost the others are, and SQLAlchemy sees only what it said itself
            raise translated from error

    def close(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()
        self._reading.dispose()


def _engine(url: str, connections: int, role: str | None, **options: Any) -> sa.Engine:
    taken = f"-c role={role} " if role else ""
    return sa.create_engine(
        as_driver_url(url),
        pool_size=connections,
        max_overflow=0,
        connect_args={"options": f"{taken}-c timezone=UTC", "connect_timeout": CONNECT_SECONDS},
        **options,
    )


def as_driver_url(url: str) -> str:
    """The URL with the driver that this service uses: `postgresql://` becomes `postgresql+psycopg://`."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if separator and scheme in ("postgresql", "postgres") else url


def driver_connection(connection: sa.Connection) -> psycopg.Connection[tuple[object, ...]]:
    """The psycopg connection below, for COPY; it is in the same transaction."""
    return cast("psycopg.Connection[tuple[object, ...]]", connection.connection.driver_connection)


@contextmanager
def pipelined_to_commit(connection: sa.Connection) -> Iterator[None]:
    """The last part of a transaction: what is said to the driver within goes out together and with the commit, and
    waits for an answer only where one is fetched.

    An error of a statement may then be raised by a later one, or at the end.
    """
    driver = driver_connection(connection)
    with driver.pipeline() as pipeline:
        try:
            yield
            driver.commit()
        except psycopg.Error:
            # All that was sent behind it failed too. Fetched here, it is not warned of as something unforeseen.
            with suppress(psycopg.Error):
                pipeline.sync()
            raise


def _translated(error: Exception) -> Exception:
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, psycopg.errors.DeadlockDetected | psycopg.errors.SerializationFailure):
        return LostRaceError("the pool")
    if isinstance(cause, psycopg.OperationalError) and f'"{SERVICE_ROLE}" is not permitted to log in' in str(cause):
        detail = (
            f"does not let {SERVICE_ROLE} log in, which nodes of a cluster do to reach each other; set "
            "MOIETY_DATABASE_APP_PASSWORD, run `moiety db upgrade`, and give the nodes that password"
        )
        return StateError("the database", "ROLE_NOT_LOGIN", detail)
    # The connection is refused before there is an SQLSTATE; the role's name is what the message always holds.
    if isinstance(cause, psycopg.OperationalError) and f'"{SERVICE_ROLE}"' in str(cause):
        detail = f"has no role {SERVICE_ROLE} that this login may take; run `moiety db upgrade`"
        return StateError("the database", "ROLE_MISSING", detail)
    if isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError | sa.exc.TimeoutError):
        return StoreUnavailableError()
    if isinstance(cause, psycopg.errors.InternalError_) and _NODE_LOST.search(str(cause)):
        return StoreUnavailableError()
    return error
