"""Adjustments of posted rounds.

Undo: drop adjustment, where no round was adjusted; else restore a backup.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "adjustment",
        sa.Column("pool_id", sa.Integer(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "leaf_index", name="adjustment_pkey"),
        sa.UniqueConstraint("pool_id", "request_id", name="adjustment_pool_id_request_id_key"),
        comment="Adjustments of posted rounds.",
    )
    op.create_index("adjustment_pool_id_number_idx", "adjustment", ["pool_id", "number"])
    op.execute("GRANT SELECT, INSERT ON adjustment TO moiety_app")
