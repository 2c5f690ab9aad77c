"""What a driver's exception means for the call that met it: the one table of SQLSTATEs, and the error of ours for each.

Source: PostgreSQL, appendix A. Of a class that is not here, such as a broken constraint, the store that caused it knows
what it means.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

import psycopg
import sqlalchemy as sa

from ledger.errors import (
    BusyError,
    LedgerCorruptError,
    LedgerError,
    LostRaceError,
    StateError,
    StoreUnavailableError,
    StoreUnfitError,
    UnreadableError,
)

SERVICE_ROLE: Final = "moiety_app"
"""The database role that the service takes on every connection. Migrations create it and grant its rights."""


class Fault(Enum):
    """What is wrong, by what helps."""

    LOST = auto()
    """The server, or the way to it: other connections are probably lost too, and a new one may reach another server."""
    REFUSED = auto()
    """This connection or statement alone, for now: too many connections, a full disk, a time that is up."""
    UNFIT = auto()
    """The database lacks what every version of this statement needs: a privilege or a table. An operator mends it."""
    HELD = auto()
    """A lock that another transaction holds."""
    RACED = auto()
    """Another transaction was first."""
    BROKEN = auto()
    """What the database has stored."""
    UNREADABLE = auto()
    """What it has stored, which the database does not mind: what read it relies on more than columns promise."""
    OURS = auto()
    """The statement: repeating it never helps."""


FAULTS: Final[Mapping[str, Fault]] = {
    "08": Fault.LOST,  # connection exception
    "22003": Fault.UNREADABLE,  # numeric value out of range: what is sent is checked before
    "22P02": Fault.UNREADABLE,  # invalid text representation: a stored text is no number
    "25": Fault.OURS,  # invalid transaction state
    "25006": Fault.LOST,  # read-only: a standby, or a demoted primary
    "25P03": Fault.REFUSED,  # idle_in_transaction_session_timeout
    "25P04": Fault.REFUSED,  # transaction_timeout
    "28": Fault.REFUSED,  # invalid authorization
    "3D": Fault.UNFIT,  # no such database
    "3F": Fault.UNFIT,  # no such schema
    "40": Fault.RACED,  # transaction rollback: serialization failure, deadlock
    "40002": Fault.OURS,  # a constraint
    "40003": Fault.LOST,  # statement completion unknown
    "42": Fault.OURS,  # syntax or access rule
    "42501": Fault.UNFIT,  # insufficient privilege
    "42703": Fault.UNFIT,  # undefined column
    "42704": Fault.UNFIT,  # undefined object: a type, a role
    "42883": Fault.UNFIT,  # undefined function
    "42P01": Fault.UNFIT,  # undefined table
    "53": Fault.REFUSED,  # insufficient resources: connections, memory, disk
    "54": Fault.OURS,  # program limit exceeded: the statement is too large
    "55": Fault.REFUSED,  # object not in prerequisite state
    "55P03": Fault.HELD,  # lock_timeout
    "57": Fault.LOST,  # operator intervention: shut down, crashed, starting
    "57014": Fault.REFUSED,  # canceled, or statement_timeout
    "58": Fault.REFUSED,  # system error outside Postgres: a disk, a file
    "XX": Fault.OURS,  # internal error
    "XX001": Fault.BROKEN,  # data corrupted
    "XX002": Fault.BROKEN,  # index corrupted
}
"""By SQLSTATE, or by its class: the first two characters."""

REASON_CHARACTERS: Final = 300
"""How much is kept of what Postgres or libpq says; with several hosts libpq says it of each."""

_NODE_LOST: Final = re.compile(
    "server closed the connection unexpectedly"
    "|connection to the remote node"
    "|failure on connection marked as essential"
    "|connection not open"
)
"""The messages, without a code of their own, by which a node reports that it lost another one within a statement."""

FAILED_READING: Final = (
    TypeError, ValueError, LookupError, AttributeError, ArithmeticError,
    sa.exc.NoResultFound, sa.exc.MultipleResultsFound, sa.exc.ArgumentError,
)  # fmt: skip
"""How Python says that what is stored is not what its columns and other rows promise: a null, a text that is no JSON,
none of an enumeration, a row that is missing. What callers send is checked before a transaction begins, and types are
checked before the code runs, so within one there is hardly another reason."""

_NO_TIME: Final = re.compile("(timestamp|date) too (large|small)")
"""How the driver says that Postgres has a time which Python has not, such as `infinity`: nothing of ours wrote it."""

_ROLE_MISSING: Final = re.compile(
    f'role "{SERVICE_ROLE}" does not exist|permission denied to set role "{SERVICE_ROLE}"'
)
"""libpq gives no SQLSTATE of a connection that is refused. Servers may say this in other languages: it is then refused
as any other."""


def cause_of(error: Exception) -> BaseException | None:
    """Returns the driver's exception, without SQLAlchemy's around it."""
    return error.orig if isinstance(error, sa.exc.DBAPIError) else error


def fault_of(cause: BaseException | None) -> Fault:  # noqa: PLR0911  # a table, of which each row is a pattern
    """Returns what is wrong."""
    match cause:
        case psycopg.DataError() if _NO_TIME.match(str(cause)):
            return Fault.BROKEN
        case psycopg.errors.InternalError_() if _NODE_LOST.search(str(cause)):
            return Fault.LOST
        case psycopg.Error(sqlstate=str(state)):
            return FAULTS.get(state) or FAULTS.get(state[:2], Fault.OURS)
        case psycopg.OperationalError() if cause.pgconn is not None:  # a connection that was refused
            return Fault.REFUSED
        case psycopg.OperationalError() | psycopg.InterfaceError() | sa.exc.TimeoutError():
            return Fault.LOST
        case _ if isinstance(cause, FAILED_READING):
            return Fault.UNREADABLE
    return Fault.OURS


def error_of(fault: Fault, cause: BaseException | None) -> LedgerError | None:  # noqa: PLR0911  # a table
    """Returns the error to raise for it; None where the driver's own is."""
    match fault:
        case Fault.LOST | Fault.REFUSED:
            return _set_up_wrong(str(cause)) or StoreUnavailableError(reason=_said(cause))
        case Fault.UNFIT:
            return StoreUnfitError(_said(cause))
        case Fault.HELD:
            return BusyError()
        case Fault.RACED:
            return LostRaceError("the pool")
        case Fault.BROKEN:
            return LedgerCorruptError("the database", _said(cause))
        case Fault.UNREADABLE:
            return UnreadableError()
        case Fault.OURS:
            return None


def _said(cause: BaseException | None) -> str:
    """What Postgres says, in one line and without the statement; libpq never says the password."""
    primary = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
    return " ".join((primary or str(cause)).split())[:REASON_CHARACTERS]


def _set_up_wrong(message: str) -> StateError | None:
    """The error for a connection that is never accepted until somebody sets something up."""
    if f'"{SERVICE_ROLE}" is not permitted to log in' in message:
        detail = (
            f"does not let {SERVICE_ROLE} log in, which cluster nodes need to reach each other; set "
            "MOIETY_DATABASE_APP_PASSWORD, run `moiety db upgrade`, and give the nodes that password"
        )
        return StateError("the database", "ROLE_NOT_LOGIN", detail)
    if "unsupported startup parameter" in message:
        detail = (
            "is behind a connection pooler that refuses startup options; set MOIETY_DATABASE_POOLER=true, and log in "
            f"as {SERVICE_ROLE}"
        )
        return StateError("the database", "POOLER", detail)
    if _ROLE_MISSING.search(message):
        detail = f"has no role {SERVICE_ROLE} that this login may take; run `moiety db upgrade`"
        return StateError("the database", "ROLE_MISSING", detail)
    return None
