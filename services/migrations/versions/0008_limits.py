"""Limits: from when a pool takes events, and how much a platform may send.

Undo: drop the three tables of limits; the limits that were set are lost.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pool_limit",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lead_seconds_max", sa.BigInteger(), nullable=False),
        sa.Column("age_seconds_max", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", name="pool_limit_pkey"),
        comment="How far events may lie ahead of their acceptance, and behind. It only refuses, so no log has it.",
    )
    op.create_table(
        "platform_limit",
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("events_per_day", sa.BigInteger(), nullable=True),
        sa.Column("bytes_per_day", sa.BigInteger(), nullable=True),
        sa.Column("open_streams", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("platform_id", name="platform_limit_pkey"),
        comment="How much a platform may send; null is no limit.",
    )
    op.create_table(
        "usage_day",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("batch_bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "platform_id", "day", name="usage_day_pkey"),
        comment="What platforms with a quota sent to a pool each day (UTC), counted as batches are recorded.",
    )
    for table, columns in (
        ("pool_limit", "lead_seconds_max, age_seconds_max"),
        ("platform_limit", "events_per_day, bytes_per_day, open_streams"),
        ("usage_day", "events, batch_bytes"),
    ):
        op.execute(f"GRANT SELECT, INSERT, UPDATE ({columns}) ON {table} TO moiety_app")
