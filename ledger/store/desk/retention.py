"""What is deleted at the desk: what is past its time, and what must be forgotten."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from ledger.store.desk.tables import (
    KEPT,
    REMOVED,
    account_details,
    contact,
    notice,
    webhook_delivery,
    webhook_details,
)


def delete_expired(connection: sa.Connection, now: datetime) -> dict[str, int]:
    """Delete what is past its time; returns how many rows of each table. The connection has the role `moiety_desk`.

    Details of an account count from when their owner has later ones: the latest stay, however old they are, and a file
    that waits for the bank may name those before. Those of a webhook stay as long as it uses them.
    """
    deleted = {}
    for table, (column, kept) in KEPT.items():
        statement = sa.delete(table).where(table.c[column] < now - kept)
        if table is account_details:
            later = account_details.alias("later")
            statement = statement.where(
                sa.exists().where(
                    later.c.owner == table.c.owner,
                    later.c.created_at > table.c.created_at,
                    later.c.created_at < now - kept,
                )
            )
        elif table is webhook_delivery:
            statement = statement.where(table.c.state == REMOVED)
        elif table is webhook_details:
            statement = statement.where(_is_out_of_use())
        deleted[table.name] = connection.execute(statement).rowcount
    return deleted


def _is_out_of_use() -> sa.ColumnElement[bool]:
    """Selects the details that no webhook uses: others are in force, it was removed, or it never came about."""
    used = webhook_delivery.c
    return ~sa.exists().where(used.details_hash == webhook_details.c.details_hash, used.state != REMOVED)


def erase_details(connection: sa.Connection, owner: str) -> int:
    """Delete all details of an owner's accounts, its contacts and what it was told; returns how many accounts.

    The connection has the role `moiety_desk`.
    """
    for table in (notice, contact):
        connection.execute(sa.delete(table).where(table.c.principal == owner))
    return connection.execute(sa.delete(account_details).where(account_details.c.owner == owner)).rowcount
