"""Splits: how collectives divide their amounts of rounds among their members, each once.

Undo: drop split; what it holds is lost. The leaves stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "split",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("collective", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "number", "collective", name="split_pkey"),
        comment="How collectives split their amounts among their members, each once.",
    )
    op.execute("GRANT SELECT, INSERT ON split TO moiety_app")
