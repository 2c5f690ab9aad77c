"""The desk's tables: what must be deletable, as bank data, contacts and sessions, in a schema of its own, `desk`.

No log holds any of it. A log holds a salted hash of what lies here, so that a row cannot be exchanged unnoticed, and
once text and salt are erased nobody can tell what the hash was of. The service's role may read, insert and update what
UPDATABLE names; only the role `moiety_desk` may delete, and it may do nothing else.

A table of the desk is declared here, on `metadata`, and needs a migration; privileges and the comparison of the schema
follow from what is declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

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
