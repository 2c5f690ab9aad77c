"""Platforms for whose reports the round of a period does not wait.

Undo: drop waiver, where no round waited for a period; else restore a backup.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None
serves_since = "0029"


def upgrade() -> None:
    op.create_table(
        "waiver",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "period", "platform_id", name="waiver_pkey"),
        comment="Platforms for whose reports the round of a period does not wait.",
    )
    op.execute("GRANT SELECT, INSERT ON waiver TO moiety_app")
