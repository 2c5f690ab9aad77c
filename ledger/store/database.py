"""Connections and transactions: where a driver's exception becomes one of ours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from threading import BoundedSemaphore, Lock
from typing import Any, Final, NamedTuple, cast

import psycopg
import sqlalchemy as sa
from psycopg.sql import SQL

from ledger.errors import StateError, StoreUnavailableError
from ledger.store.faults import FAILED_READING, SERVICE_ROLE, Fault, cause_of, error_of, fault_of
from ledger.store.sending import Connection

CONNECT_SECONDS: Final = 5

CONNECTION_WAIT_SECONDS: Final = 5
"""How long a call waits for one of the process's connections: longer waits exceed what callers would wait."""

_LIMITS: Final = {
    # A call waits for a pool's head or turn for seconds at most, whatever holds it.
    "lock_timeout": "5s",
    # A process that hangs in a transaction, or whose host died, loses its locks.
    "idle_in_transaction_session_timeout": "60s",
    # Longer than any statement of ours: calculating a round, or checking the database, reads whole tables.
    "statement_timeout": "15min",
}
"""The timeouts that Postgres enforces on every connection of the service. `options` in the URL come later and may set
others. The schema's owner has no timeouts: migrations take as long as they take."""

_SETTINGS: Final = {**_LIMITS, "timezone": "UTC"}

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
"""How libpq detects within half a minute that the other end is gone. The URL may set other values."""


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


@dataclass(frozen=True, slots=True)
class Observer:
    """Sees what is asked of a database, for traces."""

    cursors: type[psycopg.Cursor[Any]]
    """The cursors that statements are sent by."""

    around: Callable[[str], AbstractContextManager[object]]
    """What is entered around a transaction or a read, from the wait for a connection to its commit."""


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
        self.engine = _engine(url, connections - readers, role, pooler=pooler, observer=observer)
        # On separate connections, so that no call switches one to autocommit and back.
        self._reading = _engine(
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
            sa.event.listen(self.engine, "connect", lambda _, entry: entry.info.setdefault(_WAITED, waited))
        if clock is not None:
            for engine in (self.engine, self._reading):
                sa.event.listen(engine, "connect", lambda _, entry: entry.info.setdefault(_CLOCK, clock))

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


_EXTEND: Final = f"SELECT current_setting('{_IDLE}'), set_config('{_IDLE}', '{_LIMITS['statement_timeout']}', true)"
_RESTORE: Final = f"SELECT set_config('{_IDLE}', %s, true)"

_WAITED: Final = "waited"
"""Where a connection keeps what is told how long heads were waited for."""


@contextmanager
def locking(connection: sa.Connection) -> Iterator[None]:
    """Tell the database's owner how long the locking of a head takes that is done meanwhile."""
    began = time.monotonic()
    yield
    if waited := connection.info.get(_WAITED):
        waited(time.monotonic() - began)


_CLOCK: Final = "clock"
"""Where a connection keeps the clock that its database was given."""


def clock_of(connection: sa.Connection) -> Callable[[], datetime] | None:
    """Returns the clock that tells the time instead of Postgres; None if none does."""
    return cast("Callable[[], datetime] | None", connection.info.get(_CLOCK))


def read_time(connection: sa.Connection) -> datetime:
    """Returns the database's time. Leaves get theirs from `ledger.store.log.lock_head`."""
    if clock := clock_of(connection):
        return clock()
    (now,) = cast("tuple[datetime]", driver_connection(connection).execute(_NOW, prepare=True).fetchone())
    return now


_NOW: Final = "SELECT clock_timestamp()"


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


def _engine(
    url: str, connections: int, role: str | None, *, pooler: bool, observer: Observer | None, **options: Any
) -> sa.Engine:
    parsed = sa.engine.make_url(as_driver_url(url))
    engine = sa.create_engine(
        parsed,
        pool_size=max(1, connections),
        max_overflow=0,
        # The ones used last have their buffers, plans and pages at hand; the others then need none.
        pool_use_lifo=True,
        connect_args={
            **_connect_args(parsed.query, role, pooler=pooler),
            **({"cursor_factory": observer.cursors} if observer else {}),
        },
        **options,
    )
    sa.event.listen(engine, "do_connect", lambda _, __, args, options: Connection.connect(*args, **options))
    if role:
        sa.event.listen(engine, "connect", _require_promised(role, pooler=pooler))
    if pooler:
        sa.event.listen(engine, "checkout", _forget)
    return engine


def _connect_args(query: Mapping[str, str | tuple[str, ...]], role: str | None, *, pooler: bool) -> dict[str, Any]:
    """The options passed to libpq besides the URL: our limits first, then the URL's own options, then fixed ones.

    Poolers refuse options or drop them, so the settings of the role replace them there.
    """
    defaults = {"connect_timeout": str(CONNECT_SECONDS), **_SILENCE}
    chosen: dict[str, Any] = {name: value for name, value in defaults.items() if name not in query}
    if pooler:
        return {"prepare_threshold": None, **chosen}
    given = query.get("options", "")
    theirs = given if isinstance(given, str) else " ".join(given)
    ours = " ".join(f"-c {name}={value}" for name, value in _LIMITS.items()) if role else ""
    must = f"-c role={role} -c timezone=UTC -c moiety.options=on" if role else "-c timezone=UTC"
    return {"options": f"{ours} {theirs} {must}", **chosen}


def set_defaults(connection: sa.Connection) -> None:
    """Give the service's role the settings that its connections get behind a pooler, as one who may change the role."""
    for name, value in _SETTINGS.items():
        connection.exec_driver_sql(f"ALTER ROLE {SERVICE_ROLE} SET {name} = '{value}'")


# No table is updated as a whole: rights to update are granted by column.
_PROMISED: Final = """
    SELECT current_user, current_setting('TimeZone'), current_setting('moiety.options', true),
        (SELECT rolsuper OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE rolname = current_user),
        (SELECT min(relname) FROM pg_class
         WHERE relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p') AND NOT relispartition
            AND has_table_privilege(oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER') AND NOT EXISTS (
                SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'))
"""


_DROPPED: Final = (
    "is behind a connection pooler that ignores startup options; set MOIETY_DATABASE_POOLER=true, or connect directly"
)


def _require_promised(role: str, *, pooler: bool) -> Callable[[Any, object], None]:
    """Check every new connection: a connection pooler in between may have dropped the options, and a server may
    connect to another database than the one that it started on.
    """

    def check(connection: Any, _: object) -> None:
        try:
            with connection.cursor() as cursor:
                found = cursor.execute(_PROMISED).fetchone()
            connection.rollback()
            taken, zone, arrived, powerful, table = found
            if refused := _broken_promise(role, taken, zone, powerful, table):
                raise StateError("the database", *refused)
            if not (pooler or arrived):  # Postgres has no use for the setting but to say that options came so far
                raise StateError("the database", "OPTIONS_DROPPED", _DROPPED)
        except BaseException:
            connection.close()  # nobody else has it yet
            raise

    return check


def _broken_promise(role: str, taken: str, zone: str, powerful: bool, table: str | None) -> tuple[str, str] | None:
    """Returns the kind and the detail of what a connection is not as promised; None where it is."""
    if taken != role:
        return "ROLE_NOT_TAKEN", (
            f"uses the role {taken} instead of {role}, probably because a connection pooler ignores startup options; "
            f"set MOIETY_DATABASE_POOLER=true and log in as {role}, or connect directly"
        )
    if zone != "UTC":  # `set_defaults` gave it with the limits
        return "SETTINGS_MISSING", (
            f"does not give {role} its time zone and limits, because a connection pooler lies between; run `moiety db "
            "upgrade` with MOIETY_DATABASE_APP_PASSWORD, and let the pooler connect anew"
        )
    if powerful or table:
        what = f"change rows of {table}" if table else "do anything"
        return "PRIVILEGE_EXCESS", f"lets {role} {what}; `moiety db check` names each right that is too much"
    return None


def _forget(_: object, entry: Any, __: object) -> None:
    """Forget what a connection knows of its database: the next transaction may go to another."""
    for name in [name for name in entry.info if name != _CLOCK]:
        del entry.info[name]


def as_driver_url(url: str) -> str:
    """Returns the URL with the driver that this service uses: `postgresql://` becomes `postgresql+psycopg://`.

    Several hosts, which libpq separates with commas, become SQLAlchemy's `?host=...&host=...`.
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
    """Returns the psycopg connection underneath, for COPY; it is in the same transaction."""
    return cast("psycopg.Connection[tuple[object, ...]]", connection.connection.driver_connection)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether what the driver warns of is not raised in any case: it warns too that a lost connection's pipeline ends
    with an error.
    """
    return not (record.msg == "error ignored terminating %r: %s" and "[BAD]" in record.getMessage())


logging.getLogger("psycopg").addFilter(_is_news)


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
