"""Webhooks: where they go, and how far they were sent.

Undo: drop webhook, and webhook_details and webhook_delivery of the desk; nothing is sent any more. The leaves stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "webhook",
        number("leaf_index"),
        text("name"),
        text("owner"),
        time("created_at"),
        sa.PrimaryKeyConstraint("leaf_index", name="webhook_pkey"),
        comment="Webhooks by their leaves in the registry's log. The latest holds; the desk has the rest.",
    )
    op.create_index("webhook_name_leaf_index_idx", "webhook", ["name", "leaf_index"])
    op.execute("GRANT SELECT, INSERT ON webhook TO moiety_app")
    op.create_table(
        "webhook_details",
        sa.Column("details_hash", sa.LargeBinary(), nullable=False),
        text("webhook"),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        time("created_at"),
        sa.PrimaryKeyConstraint("details_hash", name="webhook_details_pkey"),
        schema="desk",
        comment="Addresses and secrets of webhooks, encrypted. The registry's log has the hash.",
    )
    op.create_index("webhook_details_webhook_idx", "webhook_details", ["webhook"], schema="desk")
    op.create_table(
        "webhook_delivery",
        text("webhook"),
        text("owner"),
        text("log"),
        text("state"),
        time("changed_at"),
        sa.Column("details_hash", sa.LargeBinary(), nullable=False),
        number("next_leaf"),
        number("events"),
        time("sent_at", nullable=True),
        time("tried_at", nullable=True),
        sa.Column("status", sa.Integer()),
        text("problem"),
        sa.Column("failures", sa.Integer(), nullable=False),
        time("failing_since", nullable=True),
        time("next_at"),
        sa.Column("is_gone", sa.Boolean(), nullable=False),
        text("holder"),
        time("held_until"),
        sa.PrimaryKeyConstraint("webhook", name="webhook_delivery_pkey"),
        schema="desk",
        comment="How far each webhook was sent its log, and its last answer. `holder` is who sends to it just now.",
    )
