"""Payees: the accounts to which collectives are paid.

Undo: drop payee; what it holds is lost. The leaves stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    said = "Accounts of collectives by their leaves in the registry's log. The latest holds; details are at the desk."
    op.create_table(
        "payee",
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("collective", sa.Text(), nullable=False),
        sa.Column("details_hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("leaf_index", name="payee_pkey"),
        comment=said,
    )
    op.create_index("payee_collective_leaf_index_idx", "payee", ["collective", "leaf_index"])
    op.execute("GRANT SELECT, INSERT ON payee TO moiety_app")
