"""Pages of rows by their names."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa


def page_by_name(table: sa.Table, after: str, limit: int | None, only: str | None) -> sa.Select[Any]:
    """Returns the query for a page of a table's rows by their names; for one of them alone with `only`."""
    # The "C" collation orders by bytes, as allocation does.
    name = table.c.name.collate("C")
    query = sa.select(table).where(name > after).order_by(name).limit(limit)
    return query if only is None else query.where(table.c.name == only)
