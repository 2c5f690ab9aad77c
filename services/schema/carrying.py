"""What a migration cannot carry over: it refuses before it changes anything, and never drops rows on the quiet."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from ledger.errors import StateError


def require_empty(connection: sa.Connection, tables: Iterable[str], revision: str) -> None:
    """Check that there is nothing that this migration would lose, or leave in a form that is no longer read.

    Raises:
        StateError: one of the tables has rows.
    """
    for table in tables:
        # The names are those of the migration itself.
        if connection.exec_driver_sql(f"SELECT EXISTS (SELECT FROM {table})").scalar_one():  # noqa: S608
            detail = (
                f"cannot carry over what `{table}` holds: no version was released before it; keep this database for "
                "the version that made it, and found a new one"
            )
            raise StateError(f"migration {revision}", "NOT_CARRIED", detail)
