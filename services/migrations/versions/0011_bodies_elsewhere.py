"""Bodies that lie outside of Postgres.

Undo: bring all bodies back into Postgres first, then drop body_object.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "body_object",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("is_named", sa.Boolean(), nullable=False),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "sha256", name="body_object_pkey"),
        comment="Bodies that lie outside of Postgres, or are about to. What no leaf names a day later is swept.",
    )
    op.execute("GRANT SELECT, INSERT, UPDATE (is_named, intended_at) ON body_object TO moiety_app")
