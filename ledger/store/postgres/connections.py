"""How a connection to Postgres is opened: from which URL, with which limits, and what is checked of it before use."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import sqlalchemy as sa

from ledger.errors import StateError
from ledger.store.postgres.faults import SERVICE_ROLE
from ledger.store.postgres.statements import Connection

CONNECT_SECONDS: Final = 5

LIMITS: Final = {
    # A call waits for a pool's head or turn for seconds at most, whatever holds it.
    "lock_timeout": "5s",
    # A process that hangs in a transaction, or whose host died, loses its locks.
    "idle_in_transaction_session_timeout": "60s",
    # Longer than any statement of ours: calculating a round, or checking the database, reads whole tables.
    "statement_timeout": "15min",
}
"""The timeouts that Postgres enforces on every connection of the service. `options` in the URL come later and may set
others. The schema's owner has no timeouts: migrations take as long as they take."""

_SETTINGS: Final = {**LIMITS, "timezone": "UTC"}

_SILENCE: Final = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""How libpq detects within half a minute that the other end is gone. The URL may set other values."""


@dataclass(frozen=True, slots=True)
class Observer:
    """Sees what is asked of a database, for traces."""

    cursors: type[psycopg.Cursor[Any]]
    """The cursors that statements are sent by."""

    statement: Callable[[str], AbstractContextManager[object]]
    """What is entered while a statement is sent without a cursor."""

    around: Callable[[str], AbstractContextManager[object]]
    """What is entered around a transaction or a read, from the wait for a connection to its commit."""


def open_engine(
    url: str,
    connections: int,
    role: str | None,
    *,
    pooler: bool,
    observer: Observer | None,
    **options: Any,
) -> sa.Engine:
    """Returns an engine with at most so many connections to this Postgres, as this role; `Database` says what each is.

    Who asks for a connection is told where it is not as promised. `options` are SQLAlchemy's.
    """
    parsed = sa.engine.make_url(as_driver_url(url))
    engine = sa.create_engine(
        parsed,
        pool_size=max(1, connections),
        max_overflow=0,
        # An error that nobody expected goes to the logs: with the statement, and without what was sent with it.
        hide_parameters=True,
        # The ones used last have their buffers, plans and pages at hand; the others then need none.
        pool_use_lifo=True,
        connect_args={
            **_connect_args(parsed.query, role, pooler=pooler),
            **({"cursor_factory": observer.cursors} if observer else {}),
        },
        **options,
    )
    open_ours(engine, observer)
    if role:
        sa.event.listen(engine, "connect", _require_promised(role, pooler=pooler))
    return engine


def open_ours(engine: sa.Engine, observer: Observer | None = None) -> None:
    """Have an engine's connections be ours, which `ledger.store.postgres.transactions` expects."""

    def connect(_: object, __: object, args: tuple[Any, ...], options: dict[str, Any]) -> Connection:
        connection = Connection.connect(*args, **options)
        connection.statements.observed = observer.statement if observer else None
        return connection

    sa.event.listen(engine, "do_connect", connect)


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
    ours = " ".join(f"-c {name}={value}" for name, value in LIMITS.items()) if role else ""
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


def _is_news(record: logging.LogRecord) -> bool:
    """Whether what the driver warns of is not raised in any case: it warns too that a lost connection's pipeline ends
    with an error.
    """
    return not (record.msg == "error ignored terminating %r: %s" and "[BAD]" in record.getMessage())


logging.getLogger("psycopg").addFilter(_is_news)
