"""Several cosignatures of one witness on a checkpoint, at different times.

Undo: delete all but the first cosignature of each witness on a checkpoint, then make the key anew.
"""

from __future__ import annotations

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("cosignature_pkey", "cosignature")
    op.create_primary_key("cosignature_pkey", "cosignature", ["pool_id", "log_vkey", "size", "vkey", "time_seconds"])
    op.create_table_comment(
        "cosignature",
        "What a witness signed of a checkpoint, verified before it was kept; again while a round waits for time.",
    )
