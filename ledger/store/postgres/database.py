"""A database: its connections, lent to one use at a time; where a driver's exception becomes one of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from threading import BoundedSemaphore
from typing import Any, Final, NamedTuple, cast

import psycopg
import sqlalchemy as sa
from psycopg.sql import SQL

from ledger.errors import StoreUnavailableError
from ledger.store.postgres.calls import work_of_call
from ledger.store.postgres.connections import Observer, open_engine
from ledger.store.postgres.faults import FAILED_READING, SERVICE_ROLE, Fault, cause_of, error_of, fault_of
from ledger.store.postgres.transactions import CLOCK, WAITED, driver_connection

CONNECTION_WAIT_SECONDS: Final = 5
"""How long a call waits for one of the process's connections: longer waits exceed what callers would wait."""

_SNAPSHOT: Final = """
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL statement_timeout = 0;
"""


class Address(NamedTuple):
    """Where a Postgres is and who connects to it, as `Database` has it; another process connects to the same by it."""

    url: str
    role: str | None
    pooler: bool


class Database:
    """Connections to one Postgres: at most `connections` (2 or more), a quarter of them for reading.

    Args:
        role: the role that they take, the service's; None for the login's own role, for the owner of the schema.
        pooler: a connection pooler such as PgBouncer lies between, which may give each transaction another connection
            to Postgres: nothing is prepared or kept between transactions, and the login is the service's role itself.
        clock: what tells the time instead of Postgres, for tests and demonstrations.
        waited: is told how many seconds each locking of a log's head took.
        observer: sees transactions and statements; None where nobody looks.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 16,
        role: str | None = SERVICE_ROLE,
        pooler: bool = False,
        clock: Callable[[], datetime] | None = None,
        waited: Callable[[float], None] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.address: Final = Address(url, role, pooler)
        readers = max(1, connections // 4)
        # SQLAlchemy's pool does not wake its waiters if opening a connection fails or all are dropped, so nothing
        # waits in it.
        self._writers_free = BoundedSemaphore(max(1, connections - readers))
        self._readers_free = BoundedSemaphore(readers)
        self._around = observer.around if observer else _unobserved
        self.engine = open_engine(url, connections - readers, role, pooler=pooler, observer=observer)
        # On separate connections, so that no call switches one to autocommit and back.
        self._reading = open_engine(
            url,
            readers,
            role,
            pooler=pooler,
            observer=observer,
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,
            skip_autocommit_rollback=True,
        )
        if waited is not None:
            sa.event.listen(self.engine, "connect", lambda _, entry: entry.info.setdefault(WAITED, waited))
        if clock is not None:
            for engine in (self.engine, self._reading):
                sa.event.listen(engine, "connect", lambda _, entry: entry.info.setdefault(CLOCK, clock))
        if pooler:
            for engine in (self.engine, self._reading):
                sa.event.listen(engine, "checkout", _forget)

    @contextmanager
    def transaction(self, *, shared: bool = False) -> Iterator[sa.Connection]:
        """A READ COMMITTED transaction: committed at the end, rolled back on any exception.

        It ends when the call that it is for is given up, unless it is shared with other calls.

        Raises:
            StoreUnavailableError: Postgres is unavailable.
            StoreUnfitError: the database lacks a privilege or a table.
            StateError: the database was never migrated.
            BusyError: another transaction holds a lock for too long.
            LedgerCorruptError: Postgres finds one of its pages or indexes broken, or has a time that none of ours is.
            UnreadableError: what was read failed over something else that none of ours is.
            LostRaceError: Postgres reports a deadlock or a serialization failure.
        """
        with (
            self._around("transaction"),
            _taken(self._writers_free),
            self._translating(),
            self.engine.begin() as connection,
            _for_call(connection, shared=shared),
        ):
            yield connection

    @contextmanager
    def reading(self, *, shared: bool = False) -> Iterator[sa.Connection]:
        """For single reads: each sees what is committed when it starts, and costs one round trip and no transaction.

        They end when the call that they are for is given up, unless they are shared with other calls.

        Raises:
            StoreUnavailableError: Postgres is unavailable.
        """
        with (
            self._around("read"),
            _taken(self._readers_free),
            self._translating(),
            self._reading.connect() as connection,
            _for_call(connection, shared=shared),
        ):
            yield connection

    @contextmanager
    def snapshot(self, *, like: sa.Connection | None = None) -> Iterator[sa.Connection]:
        """A transaction that only reads, and sees everything as it was at its first read; or what another one sees."""
        with self.transaction() as connection:
            # It holds no lock that anyone waits for, and may read a whole log.
            driver = driver_connection(connection)
            driver.execute(_SNAPSHOT, prepare=False)
            if like is not None:
                seen = like.execute(sa.select(sa.func.pg_export_snapshot())).scalar_one()
                driver.execute(SQL("SET TRANSACTION SNAPSHOT {}").format(seen), prepare=False)
            yield connection

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.DBAPIError, psycopg.Error, sa.exc.TimeoutError, *FAILED_READING) as error:
            cause = cause_of(error)
            fault = fault_of(cause)
            if fault is Fault.LOST:
                self.close()  # if one connection is lost the others are too, and SQLAlchemy notices only its own
            raise error_of(fault, cause) or error from error

    def connections(self) -> list[tuple[str, str, int]]:
        """How many connections are open: for transactions and for reads, in use and idle."""
        found = []
        for use, engine in (("transactions", self.engine), ("reads", self._reading)):
            pool = cast("sa.QueuePool", engine.pool)
            found += [(use, "in use", pool.checkedout()), (use, "idle", pool.checkedin())]
        return found

    def close(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()
        self._reading.dispose()


def _for_call(connection: sa.Connection, *, shared: bool = False) -> AbstractContextManager[None]:
    work = None if shared else work_of_call.get()
    return work.using(connection) if work else nullcontext()


@contextmanager
def _taken(free: BoundedSemaphore) -> Iterator[None]:
    if not free.acquire(timeout=CONNECTION_WAIT_SECONDS):
        raise StoreUnavailableError
    try:
        yield
    finally:
        free.release()


def _unobserved(_: str) -> AbstractContextManager[object]:
    return _NOTHING


_NOTHING: Final = nullcontext()


def _forget(_: object, entry: Any, __: object) -> None:
    """Forget what a connection learned of its database: the next transaction may go to another."""
    for name in [name for name in entry.info if name not in (CLOCK, WAITED)]:
        del entry.info[name]
