"""Whether calls can be served, and what is wrong though they can: for `/readyz` and for health by gRPC."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Final, cast

import sqlalchemy as sa

from ledger.errors import BusyError, LedgerError, StateError, StoreUnavailableError
from ledger.store.logs import signing
from ledger.store.logs.log import clock_ahead
from ledger.store.pools.each_pool import ask_each
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import driver_connection
from services.schema import require_current

REMEMBERED_SECONDS: Final = 2.0
"""How old an answer about the database may be."""

PATIENCE_SECONDS: Final = 3.0
"""How long the database may take to answer before it is said not to."""


CLOCKS_APART: Final = timedelta(minutes=1)
"""By how much the database's clock may be wrong by this machine's before that is said."""

STALLED_SECONDS: Final = 5
"""How long commits may wait for a synchronous standby before that is said."""

_HASTE: Final = "SET LOCAL lock_timeout = '1s';"
"""So that two looks which wait for a lock end within `PATIENCE_SECONDS`."""

_ASKED: Final = """
    SELECT FROM api_key WHERE false; SELECT FROM pool WHERE false; SELECT FROM head WHERE false;
    SELECT FROM leaf WHERE false;
"""
"""What every call asks of the database, but for its rows."""

_STALLED: Final = """
    SELECT set_config('role', 'none', true);
    SELECT extract(epoch FROM clock_timestamp() - query_start)::float FROM pg_stat_activity
    WHERE wait_event = 'SyncRep' AND usename = session_user AND datname = current_database()
"""
"""In one message, and so in one transaction: as the login, who alone sees what its own connections wait for."""


def problems(database: Database) -> dict[str, str]:
    """Returns what keeps calls from being served, by what it is of."""
    try:
        # A migration or a backup may hold a table that this reads and calls do not.
        with suppress(BusyError), database.transaction() as connection:
            driver_connection(connection).execute(_HASTE, prepare=False)
            if connection.execute(sa.text("SHOW transaction_read_only")).scalar_one() == "on":
                return {"database": "is read-only: a standby, or set so"}
            require_current(connection)
            clock_ahead(connection)
        with database.transaction() as connection:
            driver_connection(connection).execute(_HASTE + _ASKED, prepare=False)
    except BusyError:
        return {"database": "a table that every call needs is locked by another transaction"}
    except StateError as error:
        return {"schema" if error.kind.startswith("SCHEMA") else "database": str(error)}
    except LedgerError as error:
        return {"database": str(error)}
    return {}


def warnings(database: Database) -> dict[str, str]:
    """Returns what is wrong though calls can be served, by what it is of: `signing` is what no round moves money by."""
    try:
        refused, uncompared = _unsound(database)
        stalled = _stalled(database)
        with database.reading() as connection:
            ahead = clock_ahead(connection)
    except LedgerError:
        return {}
    found = {}
    if abs(ahead) > CLOCKS_APART:
        where = "ahead of" if ahead > timedelta() else "behind"
        found["clock"] = (
            f"the database's clock is {abs(ahead).total_seconds():.0f} s {where} this machine's: rounds are cut and "
            "reviews end by the database's, and keys hold by this machine's"
        )
    if refused:
        found["signing"] = f"refused for {refused} logs, whose rounds are not cut or posted; the signer's log says why"
    elif uncompared:
        found["signing"] = (
            f"{uncompared} logs are not compared with their last checkpoints since the database was started again, "
            "failed over or restored; their rounds are not cut or posted until `moiety schedule` has done so"
        )
    if stalled:
        found["replication"] = (
            f"{stalled} commits have waited more than {STALLED_SECONDS} s for a synchronous standby; nothing can be "
            "written until it answers, or synchronous_standby_names names another"
        )
    return found


def _stalled(database: Database) -> int:
    """How many commits of this login have waited too long for a synchronous standby."""
    with database.reading() as connection:
        cursor = driver_connection(connection).execute(_STALLED, prepare=False)
        cursor.nextset()
        waits = cast("list[tuple[float]]", cursor.fetchall())
    return sum(seconds > STALLED_SECONDS for (seconds,) in waits)


def _unsound(database: Database) -> tuple[int, int]:
    """How many logs the signer refuses, and has not compared: of those pools that can be reached."""
    try:
        # Every server asks every few seconds: so not about pool by pool, unless a part of the database is away.
        with database.reading() as connection:
            return signing.count_unsound(connection)
    except StoreUnavailableError:
        return len(ask_each(database, signing.refused).found), len(ask_each(database, signing.uncompared).found)
