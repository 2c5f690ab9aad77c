"""Platforms in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.acts.entries import PlatformContent
from ledger.errors import AlreadyExistsError, NotFoundError, stored
from ledger.registry import Platform
from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.paging import page_by_name
from ledger.store.registry.acts import Effect, append_act


def _register_platform(connection: sa.Connection, pool: PoolRef, content: PlatformContent, now: datetime) -> Platform:
    leaf_index = append_act(connection, pool, content, now)
    row = {"name": content.platform, "display_name": content.display_name}
    connection.execute(sa.insert(t.platform).values(leaf_index=leaf_index, created_at=now, **row))
    return Platform(content.platform, content.display_name, now)


def _standing_platform(connection: sa.Connection, _: PoolRef, content: PlatformContent) -> Platform | None:
    """Returns the platform, if it is registered with this content.

    Raises:
        AlreadyExistsError: it is registered with other content.
    """
    for found in list_platforms(connection, only=content.platform, limit=1):
        if found.display_name != content.display_name:
            raise AlreadyExistsError(f"platforms/{content.platform}")
        return found
    return None


REGISTER_PLATFORM: Final = Effect(PlatformContent, _register_platform, _standing_platform)
"""Registers a platform. Returns a `Platform`."""


def get_platform(connection: sa.Connection, name: str) -> Platform:
    """Returns the platform.

    Raises:
        NotFoundError: no platform has this id.
    """
    for found in list_platforms(connection, only=name, limit=1):
        return found
    raise NotFoundError(f"platforms/{name}")


def list_platforms(
    connection: sa.Connection, *, after: str = "", limit: int = 1000, only: str | None = None
) -> list[Platform]:
    """Returns platforms by name."""
    rows = connection.execute(page_by_name(t.platform, after, limit, only)).all()
    with stored("a platform"):
        return [Platform(row.name, row.display_name, row.created_at) for row in rows]


def platform_number(connection: sa.Connection, name: str) -> int:
    """Returns the store's number of a platform. Connections remember it, since platforms are never removed.

    Raises:
        NotFoundError: no platform has this id.
    """
    number = find_platform(connection, name)
    if number is None:
        raise NotFoundError(f"platforms/{name}")
    return number


def find_platform(connection: sa.Connection, name: str) -> int | None:
    """Returns the store's number of a platform, like `platform_number`; None if no platform has this id."""
    known: dict[str, int] = connection.info.setdefault(find_platform, {})
    if name not in known:
        found = connection.execute(sa.select(t.platform.c.platform_id).where(t.platform.c.name == name)).scalar()
        if found is None:
            return None
        known[name] = int(found)
    return known[name]


def platform_names(connection: sa.Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Returns the ids of platforms by the store's numbers."""
    among = t.platform.c.platform_id == sa.any_(sa.literal(list(numbers), sa.ARRAY(sa.Integer)))
    query = sa.select(t.platform.c.platform_id, t.platform.c.name).where(among)
    return {row.platform_id: row.name for row in connection.execute(query)}
