"""Checkpoints: what was signed of each pool's log, and what witnesses cosigned.

Undo: drop checkpoint and cosignature; what they hold is lost. The folder of checkpoints has the last of each log.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("vkey", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "vkey", "size", name="checkpoint_pkey"),
        comment="What the log's key signed of the log; the signer has the last one outside the database too.",
    )
    op.create_index("checkpoint_pool_id_created_at_size_idx", "checkpoint", ["pool_id", "created_at", "size"])
    op.create_table(
        "cosignature",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("log_vkey", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("vkey", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("time_seconds", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "log_vkey", "size", "vkey", name="cosignature_pkey"),
        comment="What a witness signed of a checkpoint, verified before it was kept.",
    )
    op.create_index(
        "cosignature_pool_id_log_vkey_vkey_size_idx", "cosignature", ["pool_id", "log_vkey", "vkey", "size"]
    )
