"""Recognises unique-key conflicts from what Postgres reports; no other module does.

Postgres reports an SQLSTATE and the name of the constraint, which in a partitioned table is a partition's. If a node of
a cluster reports it about a row that was copied there, only the message reaches us, with the name of a shard.
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
    """Raise what `told` returns for the table's name if a row is refused because its key is taken."""
    try:
        yield
    except (sa.exc.DBAPIError, psycopg.Error) as error:
        table = taken_table(error)
        if table is None:
            raise
        raise told(table) from None


def taken_table(error: sa.exc.DBAPIError | psycopg.Error) -> str | None:
    """Returns the table in which a key was taken; None if the error is another one."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return None
    constraint = cause.diag.constraint_name if cause.sqlstate == _UNIQUE_VIOLATION else None
    if constraint is None and (said := _WORDS.search(str(cause))):
        constraint = said[1]
    return None if constraint is None else _table_of(constraint)


def _table_of(constraint: str) -> str | None:
    """Returns the table of a constraint, of a partition's (`event_p3_pkey`) or of a shard's (`event_pkey_102042`)."""
    return max((name for name in metadata.tables if constraint.startswith(f"{name}_")), key=len, default=None)
