"""Pools that are closed to usage.

Undo: drop closing; what it holds is lost. The leaves stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "closing",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("events_dropped", sa.Boolean(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", name="closing_pkey"),
        comment="Pools that take no more usage, and whether the rows of their events are gone.",
    )
    op.execute("GRANT SELECT, INSERT ON closing TO moiety_app")
