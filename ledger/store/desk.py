"""What must be deletable: bank data, contacts, notices, bank files and sessions, in a schema of its own, `desk`.

No log holds any of it. A log holds a salted hash of what lies here, so that a row cannot be exchanged unnoticed, and
once text and salt are erased nobody can tell what the hash was of. The service's role may read, insert and update what
UPDATABLE names; only the role `moiety_desk` may delete, and it may do nothing else.

A table of the desk is declared here, on `metadata`, and needs a migration; privileges and the comparison of the schema
follow from what is declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from ledger.store.tables import metadata as public

SCHEMA: Final = "desk"

DESK_ROLE: Final = "moiety_desk"
"""The database role that deletes what is past its time, or must be forgotten."""

REMOVED: Final = "REMOVED"
"""The state of a webhook that is over (`ledger.acts.entries.WebhookState`)."""

metadata = sa.MetaData(schema=SCHEMA, naming_convention=public.naming_convention)

account_details = sa.Table(
    "account_details",
    metadata,
    sa.Column("details_hash", sa.LargeBinary, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False, index=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    comment="Bank accounts of payees and of the operator, encrypted: holder, address, number. A log has the hash.",
)

contact = sa.Table(
    "contact",
    metadata,
    sa.Column("contact_hash", sa.LargeBinary, primary_key=True),
    sa.Column("principal", sa.Text, nullable=False, index=True),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("language", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False, unique=True),
    sa.Column("leaf_index", sa.BigInteger),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
    sa.Column("unsubscribed_at", sa.DateTime(timezone=True)),
    comment="Where people are written to. The registry's log has the hash; `token` is what links to unsubscribe have.",
)

notice = sa.Table(
    "notice",
    metadata,
    sa.Column("notice_id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("principal", sa.Text, nullable=False),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("delivered_at", sa.DateTime(timezone=True)),
    sa.Column("contact_hash", sa.LargeBinary, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("given_up_at", sa.DateTime(timezone=True)),
    sa.Column("problem", sa.Text, nullable=False),
    comment="What people must be told, each under a contact that they had when this was written.",
)
sa.Index(
    "notice_due_at_idx",
    notice.c.due_at,
    postgresql_where=notice.c.delivered_at.is_(None) & notice.c.given_up_at.is_(None),
)
sa.Index("notice_contact_hash_topic_idx", notice.c.contact_hash, notice.c.topic)

mail_cursor = sa.Table(
    "mail_cursor",
    metadata,
    sa.Column("pool_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("next_leaf", sa.BigInteger, nullable=False),
    comment="How far notices were made of each log.",
)

bank_file = sa.Table(
    "bank_file",
    metadata,
    sa.Column("file_hash", sa.LargeBinary, primary_key=True),
    sa.Column("bank_account", sa.Text),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
    comment="Files that banks sent, encrypted, with the salt of their hash. `problem` says why one is of no use.",
)

session = sa.Table(
    "session",
    metadata,
    sa.Column("token_sha256", sa.LargeBinary, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
    comment="Who is signed in to the console, by the hash of what their cookie has; it ends with its key.",
)

sign_in_link = sa.Table(
    "sign_in_link",
    metadata,
    sa.Column("token_sha256", sa.LargeBinary, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("used_at", sa.DateTime(timezone=True)),
    comment="Links that sign in once, by the hash of what they have.",
)

refused_batch = sa.Table(
    "refused_batch",
    metadata,
    sa.Column("platform", sa.Text, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("pool", sa.Text, nullable=False),
    sa.Column("batch_id", sa.Text, nullable=False),
    sa.Column("code", sa.Integer, nullable=False),
    sa.Column("status", sa.LargeBinary, nullable=False),
    sa.Column("body_bytes", sa.BigInteger, nullable=False),
    sa.Column("body_sha256", sa.LargeBinary, nullable=False),
    sa.Column("times", sa.BigInteger, nullable=False),
    sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("refused_at", sa.DateTime(timezone=True), nullable=False),
    comment="Batches that were refused, and why. A platform has so many slots; the next refusal takes the oldest.",
)

webhook_details = sa.Table(
    "webhook_details",
    metadata,
    sa.Column("details_hash", sa.LargeBinary, primary_key=True),
    sa.Column("webhook", sa.Text, nullable=False, index=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    comment="Addresses and secrets of webhooks, encrypted. The registry's log has the hash.",
)

webhook_delivery = sa.Table(
    "webhook_delivery",
    metadata,
    sa.Column("webhook", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("log", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("details_hash", sa.LargeBinary, nullable=False),
    sa.Column("next_leaf", sa.BigInteger, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("sent_at", sa.DateTime(timezone=True)),
    sa.Column("tried_at", sa.DateTime(timezone=True)),
    sa.Column("status", sa.Integer),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failing_since", sa.DateTime(timezone=True)),
    sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("is_gone", sa.Boolean, nullable=False),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("held_until", sa.DateTime(timezone=True), nullable=False),
    comment="How far each webhook was sent its log, and its last answer. `holder` is who sends to it just now.",
)

UPDATABLE: Final[Mapping[sa.Table, tuple[str, ...]]] = {
    account_details: ("sealed",),
    bank_file: ("sealed",),
    contact: ("leaf_index", "created_at", "ended_at", "unsubscribed_at"),
    mail_cursor: ("next_leaf",),
    notice: ("delivered_at", "due_at", "attempts", "given_up_at", "problem"),
    refused_batch: tuple(column.name for column in refused_batch.c if column.name not in ("platform", "slot")),
    session: ("ended_at",),
    sign_in_link: ("used_at",),
    webhook_delivery: tuple(
        column.name for column in webhook_delivery.c if column.name not in ("webhook", "owner", "log")
    ),
    webhook_details: ("sealed",),
}
"""What the service may update: a new key encrypts anew, a contact or a notice is done with, and a session or a link is
over."""

KEPT: Final[Mapping[sa.Table, tuple[str, timedelta]]] = {
    account_details: ("created_at", timedelta(days=3_653)),
    bank_file: ("received_at", timedelta(days=3_653)),
    contact: ("ended_at", timedelta(days=90)),
    notice: ("created_at", timedelta(days=90)),
    refused_batch: ("refused_at", timedelta(days=30)),
    session: ("created_at", timedelta(days=30)),
    sign_in_link: ("created_at", timedelta(days=30)),
    webhook_delivery: ("changed_at", timedelta(days=30)),
    webhook_details: ("created_at", timedelta(days=30)),
}
"""How long rows are kept, by which column: ten years what books rest on, which most tax laws ask for."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that a bank sent. `problem` says why it moves nothing; empty if it may."""

    file_hash: bytes
    bank_account: str | None
    name: str
    message: str
    message_id: str
    problem: str
    received_at: datetime


def keep_file(connection: sa.Connection, kept: KeptFile, sealed: bytes) -> None:
    """Keep a bank's file, encrypted."""
    connection.execute(sa.insert(bank_file).values(sealed=sealed, **asdict(kept)))


def sealed_file(connection: sa.Connection, file_hash: bytes) -> bytes | None:
    """Returns a file as it was kept; None if it was erased."""
    found = connection.execute(sa.select(bank_file.c.sealed).where(bank_file.c.file_hash == file_hash)).scalar()
    return None if found is None else bytes(found)


def list_problems(connection: sa.Connection, bank_account: str, *, limit: int = 1_000) -> list[KeptFile]:
    """Returns the files of an account that move nothing, the newest first."""
    query = _kept_files(bank_account).order_by(bank_file.c.received_at.desc()).limit(limit)
    return [_kept_file(row) for row in connection.execute(query)]


def find_problem(connection: sa.Connection, bank_account: str, message: str, message_id: str) -> KeptFile | None:
    """Returns the file of an account with a message that moves nothing; None if there is none."""
    same = (bank_file.c.message == message) & (bank_file.c.message_id == message_id)
    row = connection.execute(_kept_files(bank_account).where(same)).first()
    return _kept_file(row) if row else None


def _kept_files(bank_account: str) -> sa.Select[Any]:
    columns = [column for column in bank_file.columns if column is not bank_file.c.sealed]
    # A server of the version before, beside this one, does not say which account a file is of: it may be of any.
    of_account = (bank_file.c.bank_account == bank_account) | bank_file.c.bank_account.is_(None)
    return sa.select(*columns).where(bank_file.c.problem != "", of_account)


def _kept_file(row: Any) -> KeptFile:
    return KeptFile(bytes(row[0]), *row[1:])


def delete_expired(connection: sa.Connection, now: datetime) -> dict[str, int]:
    """Delete what is past its time; returns how many rows of each table. The connection has the role `moiety_desk`.

    Details of an account stay as long as they are their owner's latest, however old they are; those of a webhook, as
    long as it uses them.
    """
    deleted = {}
    for table, (column, kept) in KEPT.items():
        statement = sa.delete(table).where(table.c[column] < now - kept)
        if table is account_details:
            later = account_details.alias("later")
            statement = statement.where(
                sa.exists().where(later.c.owner == table.c.owner, later.c.created_at > table.c.created_at)
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
