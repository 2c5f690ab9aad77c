"""Which platforms may report to a pool.

Undo: drop admission; what it holds is lost. The leaves stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "admission",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("admitted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "platform_id", "leaf_index", name="admission_pkey"),
        comment="Whether a platform may report to a pool, after each leaf that says so.",
    )
    op.execute("GRANT SELECT, INSERT ON admission TO moiety_app")
