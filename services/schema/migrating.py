"""Migrations: which ones a database has, and running those that it lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
import sqlalchemy as sa
import structlog

from ledger.errors import BusyError, StateError
from ledger.store.postgres.connections import set_defaults
from ledger.store.postgres.database import Database
from ledger.store.postgres.faults import SERVICE_ROLE
from services.schema import desk, distribution, privileges, registry_place

if TYPE_CHECKING:
    from alembic.config import Config

logger: Final = structlog.get_logger("moiety.schema")

_MIGRATION_LOCK: Final = 0x4D6F6966
"""Concurrent migrations take turns. An advisory lock is enough here: migrations connect to one node only."""


_UNHURRIED: Final = """
    SET LOCAL statement_timeout = 0;
    SET LOCAL lock_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0;
"""
"""What limits others on this Postgres would end a migration in the middle of its turn."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade changed.

    Attributes:
        revisions: migrations that it ran.
        distributed: new tables that were distributed like the others.
        granted: privileges that the service's role got.
        revoked: privileges that it lost.
    """

    revisions: list[str]
    distributed: list[str]
    granted: list[str]
    revoked: list[str]


def upgrade(url: str, *, app_password: str = "", to: str = "", stopped: bool = False) -> Upgraded:
    """Bring schema, role and privileges up to date, as the schema's owner. Repeating it changes nothing.

    Each migration is a transaction of its own, so that it holds its locks for no longer than it takes. It waits for a
    lock for half a second at most, because who waits for a table keeps others from it; then it lets go, and tries
    again. No statement of it takes longer than a second. In an empty database nobody waits for anything, and all
    migrations are one transaction.

    Args:
        url: the database, as the schema's owner reaches it.
        app_password: lets the service's role log in; without, a login must be made a member of it by other means.
        to: the last migration to run, for rehearsals; all of them where it is empty.
        stopped: no server or scheduler uses the database, so that statements may take as long as they need.

    Raises:
        StateError: the schema is newer than this version, the owner lacks a right, a table is in use for too long or
            too large to be changed while it is in use, or a migration cannot carry what the database holds.
        StoreUnavailableError: Postgres cannot be reached.
    """
    with _alone(url) as connection:
        privileges.ensure_role(connection)
        desk.ensure_role(connection)
    revisions: list[str] = []
    while run := _locking(lambda: _migrate_next(url, to, stopped=stopped)):
        revisions += run
    if to and to != _revisions()[-1]:
        return Upgraded(revisions, [], [], [])
    with _alone(url) as connection:
        distributed = distribution.distribute_new(connection)
        granted, revoked = privileges.set_privileges(connection, again=distributed)
        granted_at_desk, revoked_at_desk = desk.set_privileges(connection)
        if app_password:
            privileges.set_password(connection, app_password)
            set_defaults(connection)
        return Upgraded(revisions, distributed, granted + granted_at_desk, revoked + revoked_at_desk)


WAIT_FOR_LOCK: Final = "500ms"
"""How long a migration waits for a table; whoever wants it meanwhile waits behind the migration."""

STATEMENT_LONGEST: Final = "1s"
"""How long one statement of a migration takes at most, with the wait: it may hold a table that others want."""

LOCK_TRIES: Final = 60
"""How often a migration tries to get its locks: some minutes."""

LOCK_PAUSE_SECONDS: Final = 2.0
"""How long others have the tables between two tries."""


def _locking(work: Callable[[], list[str]]) -> list[str]:
    """Do it, again and again while a table that it needs is in use.

    Raises:
        StateError: it is in use each time.
    """
    for _ in range(LOCK_TRIES):
        try:
            return work()
        except BusyError:
            logger.info("a table is in use; the migration lets go of its locks and tries again")
            time.sleep(LOCK_PAUSE_SECONDS)
    detail = "is in use by a long transaction, such as a backup or a check; run `moiety db upgrade` again after it"
    raise StateError("a table", "LOCKED", detail)


def _migrate_next(url: str, to: str, *, stopped: bool) -> list[str]:
    """Run the next migration that the database lacks, or all of them in an empty one; returns their numbers."""
    with _alone(url) as connection:
        pending, present = pending_revisions(connection), _present(connection)
        if not pending or present == to:
            return []
        run = pending[:1]
        if present is None:
            run = pending[: pending.index(to) + 1] if to in pending else pending
        else:
            # `SET LOCAL` and not before: whoever migrates at the same time may take longer.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{WAIT_FOR_LOCK}'")
            if not stopped:
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_LONGEST}'")
        from alembic import command  # noqa: PLC0415  # 7 MB, which a server runs without

        config = _config()
        config.attributes["connection"] = connection
        with _slowness_told(run[-1]):
            command.upgrade(config, run[-1])
        _note_compatible(connection, run[-1], _compatible_since(run[-1]))
        return run


@contextmanager
def _slowness_told(revision: str) -> Iterator[None]:
    """Say what to do where a statement took too long. Trying again would not help: the table does not get smaller."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.QueryCanceled):
            raise
        detail = (
            f"would keep others from a table for longer than {STATEMENT_LONGEST}; stop all servers and schedulers, "
            "and run `moiety db upgrade --stopped`"
        )
        raise StateError(f"migration {revision}", "TAKES_LONG", detail) from None


def _compatible_since(revision: str) -> str:
    """Returns the oldest migration whose version of Moiety still runs on the schema that this one makes.

    A migration that only adds names it as `serves_since`; any other takes the schema away from older versions.
    """
    from alembic.script import ScriptDirectory  # noqa: PLC0415  # as above

    module = ScriptDirectory.from_config(_config()).get_revision(revision).module
    return str(getattr(module, "serves_since", revision))


def _note_compatible(connection: sa.Connection, revision: str, since: str) -> None:
    """Say in the database which versions run on its schema: those that do not know it cannot tell."""
    said = f"{revision}{_COMPATIBLE}{since}"
    connection.exec_driver_sql(f"COMMENT ON TABLE {privileges.VERSION_TABLE} IS '{said}'")


_COMPATIBLE: Final = " runs with versions since "


def _is_compatible(connection: sa.Connection) -> bool:
    """Returns whether this version runs on a schema that a newer one made."""
    query = f"SELECT obj_description(to_regclass('{privileges.VERSION_TABLE}'))"
    said = connection.exec_driver_sql(query).scalar_one() or ""
    revision, _, since = said.partition(_COMPATIBLE)
    return revision == _present(connection) and since in _revisions()


def distribute(url: str, *, partitions: int | None = None) -> list[str]:
    """Distribute every table that is not yet, by pool, as the schema's owner; returns the names of those that this did.

    Args:
        url: the database, as the schema's owner reaches it.
        partitions: the number of partitions on one Postgres; None to distribute over a Citus cluster.

    Raises:
        InvalidInputError, StateError: as `services.schema.distribution.distribute` does; or the schema is not up to
            date, or the owner may not do what it takes.
        StoreUnavailableError: Postgres cannot be reached.
    """
    with _alone(url) as connection:
        _require_up_to_date(connection)
        distributed = distribution.distribute(connection, partitions)
        privileges.set_privileges(connection, again=distributed)
    more = True
    while more:
        with _alone(url) as connection:
            more = registry_place.bring_home(connection)
    return distributed


@contextmanager
def _alone(url: str) -> Iterator[sa.Connection]:
    """A transaction of the schema's owner, the only one that changes the schema."""
    database = Database(url, connections=2, role=None)
    try:
        with database.transaction() as connection, refusals_told():
            connection.exec_driver_sql(_UNHURRIED)
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            _require_known(connection)
            yield connection
    finally:
        database.close()


def pending_revisions(connection: sa.Connection) -> list[str]:
    """The migrations that this database still lacks, oldest first."""
    present, revisions = _present(connection), [*_revisions()]
    return revisions[revisions.index(present) + 1 :] if present in revisions else revisions if present is None else []


def unknown_revision(connection: sa.Connection) -> str | None:
    """The migration that this database is at, where this version does not know it: then a newer one made it."""
    present = _present(connection)
    return None if present is None or present in _revisions() else present


def require_current(connection: sa.Connection) -> None:
    """Check that the service can run on this database.

    Raises:
        StateError: the schema is behind this version, or ahead and not made for it too, or the connection is not the
            service's role or lacks privileges.
    """
    role = connection.execute(sa.select(sa.func.current_user())).scalar_one()
    if role != SERVICE_ROLE:
        detail = (
            f"gives the role {role} and not {SERVICE_ROLE}: something between here and Postgres drops the option "
            f"`-c role={SERVICE_ROLE}`; connect to Postgres itself, or as {SERVICE_ROLE}"
        )
        raise StateError("the database", "ROLE_NOT_TAKEN", detail)
    if not privileges.may_use_schema(connection):  # to whom everything in it is missing
        raise _lacking(privileges.SCHEMA_USAGE)
    with refusals_told():
        if not _is_compatible(connection):
            _require_known(connection)
        _require_up_to_date(connection)
    if missing := [*privileges.missing_privileges(connection), *desk.missing_privileges(connection)]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""  # noqa: PLR2004  # it names three
        raise _lacking(f"{', '.join(missing[:3])}{more}")


def _lacking(what: str) -> StateError:
    detail = f"does not let {SERVICE_ROLE} have {what}; run `moiety db upgrade`"
    return StateError("the database", "PRIVILEGE_MISSING", detail)


def _require_up_to_date(connection: sa.Connection) -> None:
    if pending := pending_revisions(connection):
        detail = f"lacks {', '.join(pending)}; run `moiety db upgrade`"
        raise StateError("the database's schema", "SCHEMA_OLD", detail)


def _require_known(connection: sa.Connection) -> None:
    if unknown := unknown_revision(connection):
        detail = f"is at {unknown}, which a newer version of Moiety made; run that version, or restore a backup"
        raise StateError("the database's schema", "SCHEMA_NEW", detail)


@contextmanager
def refusals_told() -> Iterator[None]:
    """What Postgres does not let this login do, as an error that names it and repeats no statement."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        said = error.orig.diag.message_primary or "permission denied"
        detail = f"says: {said}; run `moiety db upgrade` as the owner of the schema, who may create roles"
        raise StateError("the database", "PRIVILEGE_MISSING", detail) from None


def _present(connection: sa.Connection) -> str | None:
    exists = connection.exec_driver_sql(f"SELECT to_regclass('{privileges.VERSION_TABLE}') IS NOT NULL").scalar_one()
    if not exists:
        return None
    query = f"SELECT version_num FROM {privileges.VERSION_TABLE}"  # noqa: S608  # a name of ours
    present: str | None = connection.exec_driver_sql(query).scalar_one_or_none()
    return present


_MIGRATIONS: Final = Path(__file__).parent.parent / "migrations"


@cache
def _revisions() -> tuple[str, ...]:
    """Every migration of this version, by the numbers that their files' names begin with."""
    return tuple(sorted(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")))


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415  # as above

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    return config
