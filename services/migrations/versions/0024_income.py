"""Reports, receipts and reversals in place of revenue, and what a pool distributes.

Undo: restore a backup: revenue is kept in another form.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.schema.carrying import require_empty

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # What platforms report is an entry of another form from here on, and a pool's first leaf says what it distributes.
    require_empty(op.get_bind(), ("revenue", "pool"), revision)
    op.add_column("pool", sa.Column("distribute", sa.Text(), nullable=False, server_default=""))
    op.alter_column("pool", "distribute", server_default=None)
    op.drop_table("revenue")
    op.create_table(
        "report",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("payment_reference", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "platform_id", "request_id", name="report_pkey"),
        sa.UniqueConstraint("pool_id", "leaf_index", name="report_pool_id_leaf_index_key"),
        sa.UniqueConstraint("pool_id", "payment_reference", name="report_pool_id_payment_reference_key"),
        comment="What platforms say that they owe.",
    )
    op.create_table(
        "receipt",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("pool_id", "leaf_index", name="receipt_pkey"),
        comment="Money that arrived; null is an unknown payer, whom a row of match may name later.",
    )
    op.create_table(
        "match",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("receipt", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "receipt", name="match_pkey"),
        comment="Whose a receipt, named by its leaf, turned out to be.",
    )
    op.create_table(
        "reversal",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("reverses", sa.BigInteger(), nullable=False),
        sa.Column("platform_id", sa.Integer(), nullable=True),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "leaf_index", name="reversal_pkey"),
        comment="What was taken back of a report or a receipt, by its leaf, and whose it was.",
    )
    op.create_index("reversal_pool_id_reverses_idx", "reversal", ["pool_id", "reverses"], unique=False)
    op.create_table_comment(
        "movement", "What operators moved by hand: payments, releases, grants, receipts, matches, reversals."
    )
    for table in ("report", "receipt", "match", "reversal"):
        op.execute(f"GRANT SELECT, INSERT ON {table} TO moiety_app")
