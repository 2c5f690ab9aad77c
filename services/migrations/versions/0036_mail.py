"""Contacts, and notices that are sent by mail to them.

Undo: drop desk.contact and desk.mail_cursor, and the new columns of desk.notice, whose subject and text were dropped;
contacts have to be set again.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

SCHEMA: Final = "desk"


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "contact",
        sa.Column("contact_hash", sa.LargeBinary(), nullable=False),
        text("principal"),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        text("email"),
        text("language"),
        text("token"),
        sa.Column("leaf_index", sa.BigInteger(), nullable=False),
        time("created_at"),
        time("ended_at", nullable=True),
        time("unsubscribed_at", nullable=True),
        sa.PrimaryKeyConstraint("contact_hash", name="contact_pkey"),
        sa.UniqueConstraint("token", name="contact_token_key"),
        schema=SCHEMA,
        comment=(
            "Where people are written to. The registry's log has the hash; `token` is what links to unsubscribe have."
        ),
    )
    op.create_index("contact_principal_idx", "contact", ["principal"], schema=SCHEMA)
    op.create_table(
        "mail_cursor",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("next_leaf", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", name="mail_cursor_pkey"),
        schema=SCHEMA,
        comment="How far notices were made of each log.",
    )
    # What waits was written for no address, and is never sent.
    for name, type_, before in (
        ("contact_hash", sa.LargeBinary(), "''"),
        ("facts", sa.JSON(), "'{}'"),
        ("due_at", sa.DateTime(timezone=True), "now()"),
        ("attempts", sa.Integer(), "0"),
        ("problem", sa.Text(), "''"),
    ):
        column = sa.Column(name, type_, nullable=False, server_default=sa.text(before))
        op.add_column("notice", column, schema=SCHEMA)
        op.alter_column("notice", name, server_default=None, schema=SCHEMA)
    op.add_column("notice", time("given_up_at", nullable=True), schema=SCHEMA)
    op.drop_column("notice", "subject", schema=SCHEMA)
    op.drop_column("notice", "text", schema=SCHEMA)
    waits = sa.text("delivered_at IS NULL AND given_up_at IS NULL")
    op.create_index("notice_due_at_idx", "notice", ["due_at"], schema=SCHEMA, postgresql_where=waits)
    op.create_index("notice_contact_hash_topic_idx", "notice", ["contact_hash", "topic"], schema=SCHEMA)
    said = "What people must be told, each under a contact that they had when this was written."
    op.create_table_comment("notice", said, schema=SCHEMA)
