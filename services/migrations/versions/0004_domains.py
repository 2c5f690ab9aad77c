"""Domains: whose content is found where.

Undo: drop collective_domain; what it holds is lost.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "collective_domain",
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("collective_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("domain", name="collective_domain_pkey"),
        comment="Whose content is found at a domain. A row is never deleted: a domain that was let go is nobody's.",
    )
    op.create_index("collective_domain_collective_id_idx", "collective_domain", ["collective_id"], unique=False)
