"""What the signer last found of each log.

Undo: drop signing; what it holds is lost. The signer looks again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "signing",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("refusal", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", name="signing_pkey"),
        comment="What the signer last found of each log: in which database, and why it signs nothing, if so.",
    )
    op.execute("GRANT SELECT, INSERT ON signing TO moiety_app")
    op.execute("GRANT UPDATE (database, refusal) ON signing TO moiety_app")
