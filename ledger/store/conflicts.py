"""Keys that are taken: known here, and nowhere else, by what Postgres says of a row that it refuses.

Postgres itself says so by an SQLSTATE and the constraint's name, which of a partitioned table is a partition's. Where a
node of a cluster said it of a row that was copied there, only its words reach us, with a shard's name of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import sqlalchemy as sa

from ledger.store.tables import metadata

_UNIQUE_VIOLATION: Final = "23505"
_WORDS: Final = re.compile(r'duplicate key value violates unique constraint "([^"]+)"')


@contextmanager
def taken_keys(told: Callable[[str], Exception]) -> Iterator[None]:
    """Raise what `told` makes of the table's name where a row within is refused because its key is taken."""
    try:
        yield
    except (sa.exc.DBAPIError, psycopg.Error) as error:
        table = taken_table(error)
        if table is None:
            raise
        raise told(table) from None


def taken_table(error: sa.exc.DBAPIError | psycopg.Error) -> str | None:
    """The table in which a key was taken; None where the error says something else."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return None
    constraint = cause.diag.constraint_name if cause.sqlstate == _UNIQUE_VIOLATION else None
    if constraint is None and (said := _WORDS.search(str(cause))):
        constraint = said[1]
    return None if constraint is None else _table_of(constraint)


def _table_of(constraint: str) -> str | None:
    """The table that a constraint, a partition's (`event_p3_pkey`) or a shard's (`event_pkey_102042`) is of."""
    return max((name for name in metadata.tables if constraint.startswith(f"{name}_")), key=len, default=None)
