"""Changes of the key that signs: which leaves of the registry's log say them.

Undo: drop key_change, where the key was never changed; else restore a backup.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None
serves_since = "0029"


def upgrade() -> None:
    op.create_table(
        "key_change",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "leaf_index", name="key_change_pkey"),
        comment="Which leaves of the registry's log replace the key that signs: the signer asks for them each time.",
    )
    op.execute("GRANT SELECT, INSERT ON key_change TO moiety_app")
