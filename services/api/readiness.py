"""Whether calls can be served, and what is wrong though they can: for `/readyz` and for health by gRPC."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ledger.errors import LedgerError, StateError, StoreUnavailableError
from ledger.store import signing
from ledger.store.database import Database
from ledger.store.each_pool import ask_each
from services.schema import require_current

REMEMBERED_SECONDS: Final = 2.0
"""How old an answer about the database may be."""

PATIENCE_SECONDS: Final = 3.0
"""How long the database may take to answer before it is said not to."""


def problems(database: Database) -> dict[str, str]:
    """Returns what keeps calls from being served, by what it is of."""
    try:
        with database.transaction() as connection:
            if connection.execute(sa.text("SHOW transaction_read_only")).scalar_one() == "on":
                return {"database": "is read-only: a standby, or set so"}
            require_current(connection)
    except StateError as error:
        return {"schema" if error.kind.startswith("SCHEMA") else "database": str(error)}
    except LedgerError as error:
        return {"database": str(error)}
    return {}


def warnings(database: Database) -> dict[str, str]:
    """Returns what is wrong though calls can be served, by what it is of: `signing` is what no round moves money by."""
    try:
        refused, uncompared = _unsound(database)
    except LedgerError:
        return {}
    if refused:
        what = f"refused for {refused} logs, whose rounds are not cut or posted; the signer's log says why"
        return {"signing": what}
    if uncompared:
        what = (
            f"{uncompared} logs are not compared with their last checkpoints since the database was started again, "
            "failed over or restored; their rounds are not cut or posted until `moiety schedule` has done so"
        )
        return {"signing": what}
    return {}


def _unsound(database: Database) -> tuple[int, int]:
    """How many logs the signer refuses, and has not compared: of those pools that can be reached."""
    try:
        # Every server asks every few seconds: so not about pool by pool, unless a part of the database is away.
        with database.reading() as connection:
            return signing.count_unsound(connection)
    except StoreUnavailableError:
        return len(ask_each(database, signing.refused).found), len(ask_each(database, signing.uncompared).found)
