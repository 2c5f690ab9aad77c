"""Pages of events whose ids lie close together, beside the rows of the others. Rows that are there stay.

Undo: write the ids of all pages as rows of event first, then drop claim_page.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "claim_page",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), nullable=False),
        sa.Column("level", sa.SmallInteger(), nullable=False),
        sa.Column("low", pg.UUID(), nullable=False),
        sa.Column("high", pg.UUID(), nullable=False),
        sa.Column("batch_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("width", sa.SmallInteger(), nullable=False),
        sa.Column("ids", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "batch_number", "low", name="claim_page_pkey"),
        comment="Events whose ids lie close together, many to a row; the others have a row of event each.",
    )
    op.create_index(
        "claim_page_pool_id_platform_id_level_low_idx", "claim_page", ["pool_id", "platform_id", "level", "low"]
    )
    op.execute("ALTER TABLE claim_page ALTER ids SET STORAGE PLAIN")
    op.execute("GRANT SELECT, INSERT ON claim_page TO moiety_app")
