"""Pages that Postgres cannot read, because a disk broke them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import psycopg
import sqlalchemy as sa

_PAGE: Final = re.compile(r"block (?P<block>\d+) of relation \"?(?P<path>[\w/]+)")
"""How Postgres names a page: by the file of its relation. The path ends in the file's number."""

# What lies out of line is another relation, of the table that it belongs to; so is an index.
_TABLE_OF_FILE: Final = sa.text("""
    SELECT coalesce(owner.relname, heap.relname, found.relname) AS table_name, found.relname AS relation_name
    FROM pg_class AS found
    LEFT JOIN pg_index ON indexrelid = found.oid
    LEFT JOIN pg_class AS heap ON heap.oid = indrelid
    LEFT JOIN pg_class AS owner ON owner.reltoastrelid IN (found.oid, indrelid)
    WHERE pg_relation_filenode(found.oid) = :file
""")


@dataclass(frozen=True, slots=True)
class BrokenPage:
    """A page that Postgres refuses to read; `table` is the one whose rows, text or index are in it."""

    table: str
    place: str
    said: str


def broken_page(error: BaseException | None) -> str | None:
    """Returns what Postgres says of a page or index that it finds broken; None if the error is something else."""
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if isinstance(cause, psycopg.errors.DataCorrupted | psycopg.errors.IndexCorrupted):
        return str(cause).partition("\n")[0]
    return None


def locate(connection: sa.Connection, said: str) -> BrokenPage:
    """Returns the table and the place of a broken page, as far as Postgres' message tells them."""
    found = _PAGE.search(said)
    if found is None:
        return BrokenPage("", "", said)
    number = found["path"].rpartition("/")[2].partition("_")[0]
    row = connection.execute(_TABLE_OF_FILE, {"file": int(number)}).first() if number.isdecimal() else None
    if row is None:
        return BrokenPage("", f"file={found['path']} block={found['block']}", said)
    return BrokenPage(row.table_name, f"relation={row.relation_name} block={found['block']}", said)
