"""Turns: whoever locks a row acts alone on its pool.

Undo: drop turn; what it holds is lost.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "turn",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "kind", name="turn_pkey"),
        comment="Whoever locks a row acts alone on its pool, for one kind of act.",
    )
    op.execute(
        "INSERT INTO turn (pool_id, kind)"
        " SELECT pool_id, kind FROM pool, unnest(ARRAY['RETRACTIONS', 'ROUNDS', 'SIGNING']) AS kind"
    )
