"""Connections and transactions: where a driver's exception becomes one of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import BoundedSemaphore
from typing import Any, Final, cast

import psycopg
import sqlalchemy as sa

from ledger.errors import BusyError, LedgerCorruptError, LostRaceError, StateError, StoreUnavailableError

SERVICE_ROLE: Final = "moiety_app"
"""The database role that the service takes on every connection. Migrations create it and say what it may do."""

CONNECT_SECONDS: Final = 5

CONNECTION_WAIT_SECONDS: Final = 5
"""How long a call waits for one of the process's connections: the others are then busy for longer than callers wait."""

_LIMITS: Final = {
    # Whoever waits for a pool's head or turn waits for seconds at most, whatever holds it.
    "lock_timeout": "5s",
    # A process that hangs in mid-transaction, or whose host died, lets go of its locks.
    "idle_in_transaction_session_timeout": "60s",
    # Longer than any statement of ours: calculating a round, or checking the database, reads whole tables.
    "statement_timeout": "15min",
}
"""What Postgres ends for us, on every connection of the service. `options` in the URL come after these, and so may set
others. The schema's owner has none: migrations take as long as they take."""

_SNAPSHOT: Final = """
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL statement_timeout = 0;
"""

_SILENCE: Final = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""How libpq finds out within half a minute that nobody is at the other end. The URL may say otherwise."""

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
        # SQLAlchemy's pool does not wake those who wait for a connection where opening one fails, or all are dropped.
        # So none waits in it.
        self._writers_free = BoundedSemaphore(max(1, connections - readers))
        self._readers_free = BoundedSemaphore(readers)
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
            BusyError: another transaction holds a lock for longer than we wait.
            LedgerCorruptError: Postgres finds a page or an index of its own broken.
            LostRaceError: Postgres reports a deadlock or a serialization failure.
        """
        with _taken(self._writers_free), self._translating(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """For single reads: each sees what is committed when it begins, and costs one round trip and no transaction.

        Raises:
            StoreUnavailableError: Postgres is away.
        """
        with _taken(self._readers_free), self._translating(), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A transaction that only reads, and sees everything as it was at its first read."""
        with self.transaction() as connection:
            # It holds no lock that anyone waits for, and a whole log may be read in it.
            driver_connection(connection).execute(_SNAPSHOT, prepare=False)
            yield connection

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, psycopg.Error, sa.exc.TimeoutError) as error:
            translated = _translated(error)
            if isinstance(translated, StoreUnavailableError) and not isinstance(_cause(error), _CONNECTION_KEPT):
                self.close()  # where one is lost the others are, and SQLAlchemy sees only what it said itself
            raise translated from error

    def close(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()
        self._reading.dispose()


@contextmanager
def _taken(free: BoundedSemaphore) -> Iterator[None]:
    if not free.acquire(timeout=CONNECTION_WAIT_SECONDS):
        raise StoreUnavailableError
    try:
        yield
    finally:
        free.release()


def _engine(url: str, connections: int, role: str | None, **options: Any) -> sa.Engine:
    parsed = sa.engine.make_url(as_driver_url(url))
    engine = sa.create_engine(
        parsed,
        pool_size=max(1, connections),
        max_overflow=0,
        connect_args=_connect_args(parsed.query, role),
        **options,
    )
    if role:
        sa.event.listen(engine, "connect", _require_role(role))
    return engine


def _connect_args(query: Mapping[str, str | tuple[str, ...]], role: str | None) -> dict[str, Any]:
    """What is said to libpq beside the URL: its limits first, then the URL's own options, then what must hold."""
    given = query.get("options", "")
    theirs = given if isinstance(given, str) else " ".join(given)
    ours = " ".join(f"-c {name}={value}" for name, value in _LIMITS.items()) if role else ""
    must = f"-c role={role} -c timezone=UTC" if role else "-c timezone=UTC"
    defaults = {"connect_timeout": str(CONNECT_SECONDS), **_SILENCE}
    chosen = {name: value for name, value in defaults.items() if name not in query}
    return {"options": f"{ours} {theirs} {must}", **chosen}


def _require_role(role: str) -> Callable[[Any, object], None]:
    """A check of every new connection: a connection pooler in between may have dropped the options."""

    def check(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            (taken,) = cursor.execute("SELECT current_user").fetchone()
        connection.rollback()
        if taken != role:
            connection.close()
            detail = (
                f"gives us the role {taken} instead of {role}, as a connection pooler does that ignores startup "
                f"options; log in as {role}, or connect without it"
            )
            raise StateError("the database", "ROLE_NOT_TAKEN", detail)

    return check


def as_driver_url(url: str) -> str:
    """The URL with the driver that this service uses: `postgresql://` becomes `postgresql+psycopg://`.

    Several hosts, which libpq writes with commas between, become SQLAlchemy's `?host=...&host=...`.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgresql", "postgres"):
        return url
    place, _, query = rest.partition("?")
    authority, slash, name = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    if "," in hosts:
        given = [f"host={host}" for host in hosts.split(",")]
        authority, query = login + at, "&".join([*given, *filter(None, [query])])
    return f"postgresql+psycopg://{authority}{slash}{name}{'?' if query else ''}{query}"


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


_CONNECTION_KEPT: Final = (
    psycopg.errors.QueryCanceled,
    psycopg.errors.DiskFull,
    psycopg.errors.TooManyConnections,
)
"""What says nothing about other connections."""


def _cause(error: Exception) -> BaseException | None:
    return error.orig if isinstance(error, sa.exc.DBAPIError) else error


def _translated(error: Exception) -> Exception:
    cause = _cause(error)
    found: Exception | None = None
    match cause:
        case psycopg.errors.LockNotAvailable():
            found = BusyError()
        case psycopg.errors.DeadlockDetected() | psycopg.errors.SerializationFailure():
            found = LostRaceError("the pool")
        case psycopg.errors.DataCorrupted() | psycopg.errors.IndexCorrupted():
            found = LedgerCorruptError("the database", str(cause).partition("\n")[0])
        case psycopg.OperationalError():
            found = _role_refused(str(cause)) or StoreUnavailableError()
        case psycopg.InterfaceError() | sa.exc.TimeoutError():
            found = StoreUnavailableError()
        # A standby, or a primary that was demoted: the next connection may lead to the new one.
        case psycopg.errors.ReadOnlySqlTransaction() | psycopg.errors.IdleInTransactionSessionTimeout():
            found = StoreUnavailableError()
        case psycopg.errors.InternalError_() if _NODE_LOST.search(str(cause)):
            found = StoreUnavailableError()
    return found or error


def _role_refused(message: str) -> StateError | None:
    if f'"{SERVICE_ROLE}" is not permitted to log in' in message:
        detail = (
            f"does not let {SERVICE_ROLE} log in, which nodes of a cluster do to reach each other; set "
            "MOIETY_DATABASE_APP_PASSWORD, run `moiety db upgrade`, and give the nodes that password"
        )
        return StateError("the database", "ROLE_NOT_LOGIN", detail)
    # The connection is refused before there is an SQLSTATE; the role's name is what the message always holds.
    if f'"{SERVICE_ROLE}"' in message:
        detail = f"has no role {SERVICE_ROLE} that this login may take; run `moiety db upgrade`"
        return StateError("the database", "ROLE_MISSING", detail)
    return None
