"""What is due of platforms.

Undo: drop tariff, where no tariff was set; else restore a backup.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tariff",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "platform", "version", name="tariff_pkey"),
        comment="What is due of platforms; no name is that of all that have no tariff of their own.",
    )
    op.execute("GRANT SELECT, INSERT ON tariff TO moiety_app")
