"""Id schemes: how a platform makes the ids of its events in a pool, fixed once.

Undo: drop id_scheme; what it holds is lost. The leaves that fixed the schemes stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "id_scheme",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "platform_id", name="id_scheme_pkey"),
        comment="How a platform makes the ids of its events; where there is none, and batches are, they are its own.",
    )
    op.execute("GRANT SELECT, INSERT ON id_scheme TO moiety_app")
