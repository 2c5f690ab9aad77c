"""The desk: a schema of its own for what must be deletable.

Undo: drop the schema desk; bank data, files and notices are lost.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA desk")
    op.create_table(
        "account_details",
        sa.Column("details_hash", sa.LargeBinary(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("details_hash", name="account_details_pkey"),
        schema="desk",
        comment="Bank accounts of payees and of the operator, encrypted: holder, address, number. A log has the hash.",
    )
    op.create_index("account_details_owner_idx", "account_details", ["owner"], schema="desk")
    op.create_table(
        "notice",
        sa.Column("notice_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("notice_id", name="notice_pkey"),
        schema="desk",
        comment="What people must be told. `principal` is who, under the contact that it had when this was written.",
    )
    op.create_table(
        "bank_file",
        sa.Column("file_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("file_hash", name="bank_file_pkey"),
        schema="desk",
        comment="Files that banks sent, encrypted, with the salt of their hash. `problem` says why one is of no use.",
    )
