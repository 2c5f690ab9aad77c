"""Collectives in Postgres."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.acts.collectives import collective_content, collective_of
from ledger.acts.entries import CollectiveContent
from ledger.errors import NotFoundError, stored
from ledger.registry import Collective, CollectiveStatus
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.paging import page_by_name
from ledger.store.postgres.transactions import ask
from ledger.store.registry import domains
from ledger.store.registry.acts import Effect, append_act


def _put_collective(connection: sa.Connection, pool: PoolRef, content: CollectiveContent, now: datetime) -> Collective:
    collective = collective_of(content, log.checked_body(connection, pool, bytes.fromhex(content.domains_sha256)))
    leaf_index = append_act(connection, pool, content, now)
    details = {**_details(collective), "leaf_index": leaf_index}
    added = insert(t.collective).values(name=collective.name, created_at=now, **details)
    upsert = added.on_conflict_do_update(index_elements=[t.collective.c.name], set_=details)
    number = connection.execute(upsert.returning(t.collective.c.collective_id)).scalar_one()
    domains.claim(connection, number, collective)
    return get_collective(connection, collective.name)


def _standing_collective(connection: sa.Connection, _: PoolRef, content: CollectiveContent) -> Collective | None:
    for found in list_collectives(connection, only=content.collective, limit=1):
        if collective_content(found).said() == content.said():
            return found
    return None


def _collective_version(connection: sa.Connection, _: PoolRef, content: CollectiveContent) -> dict[str, str]:
    query = sa.select(t.collective.c.leaf_index).where(t.collective.c.name == content.collective)
    return {f"collectives/{content.collective}": str(connection.execute(query).scalar())}


PUT_COLLECTIVE: Final = Effect(CollectiveContent, _put_collective, _standing_collective, rests_on=_collective_version)
"""Registers a collective, or replaces its data; the body of its domains is kept already.

Returns a `Collective`.

Raises StateError if another collective has one of its domains.
"""


def get_collective(connection: sa.Connection, name: str) -> Collective:
    """Returns the collective.

    Raises:
        NotFoundError: no collective has this id.
    """
    for found in list_collectives(connection, only=name, limit=1):
        return found
    raise NotFoundError(f"collectives/{name}")


# Raw SQL: this check is most of the cost of asking for a balance that does not exist yet.
_COLLECTIVE: Final = "SELECT FROM collective WHERE name = %s"


def require_collective(connection: sa.Connection, name: str) -> None:
    """Check that a collective is registered.

    Raises:
        NotFoundError: no collective has this id.
    """
    if not ask(connection, _COLLECTIVE, (name,)).rowcount:
        raise NotFoundError(f"collectives/{name}")


def list_collectives(
    connection: sa.Connection, *, after: str = "", limit: int | None = None, only: str | None = None
) -> list[Collective]:
    """Returns collectives by the bytes of their name; all of them without a limit."""
    columns = t.collective.c
    query = page_by_name(t.collective, after, limit, only).with_only_columns(
        columns.name,
        columns.display_name,
        columns.members,
        columns.equity_ppm,
        columns.status,
        domains.of_collective(),
        columns.created_at,
    )
    # There may be a million: one by one, and by the names of columns, they take half as long again.
    rows = connection.execute(query).all()
    with stored("a collective"):
        return [
            Collective(name, display_name, members, equity_ppm, _STATUSES[status], tuple(sorted(mapped or ())), created)
            for name, display_name, members, equity_ppm, status, mapped, created in rows
        ]


_STATUSES: Final = {status.value: status for status in CollectiveStatus}


# Raw SQL: every round reads all of them, of which there may be a million.
_PAID: Final = 'SELECT name, members, equity_ppm, status FROM collective ORDER BY name COLLATE "C"'
_CHANGED: Final = "SELECT FROM collective WHERE leaf_index >= %s LIMIT 1"


def paid_collectives(connection: sa.Connection) -> list[Collective]:
    """Returns all collectives by the bytes of their name, with whatever of them affects an amount.

    Like those of a round's snapshot, they have their ids in place of display names.
    """
    found = ask(connection, _PAID).fetchall()
    with stored("a collective"):
        return [
            Collective(name, name, members, equity_ppm, _STATUSES[status])
            for name, members, equity_ppm, status in cast("list[tuple[str, int, int, str]]", found)
        ]


def collectives_changed_since(connection: sa.Connection, registry_size: int) -> bool:
    """Whether a collective was registered or changed after the registry's log had this size."""
    return bool(ask(connection, _CHANGED, (registry_size,)).rowcount)


def _details(collective: Collective) -> dict[str, Any]:
    return {
        "display_name": collective.display_name,
        "members": collective.members,
        "equity_ppm": collective.equity_ppm,
        "status": collective.status.value,
    }


def collective_names(connection: sa.Connection) -> dict[int, str]:
    """Returns the name of every collective by the store's number."""
    found = ask(connection, _NAMES).fetchall()
    return dict(cast("list[tuple[int, str]]", found))


_NAMES: Final = "SELECT collective_id, name FROM collective"
