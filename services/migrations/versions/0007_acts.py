"""Acts: the registry's own log, proposals, and decisions of these and of rounds.

Undo: restore a backup: decisions are kept in another form, and keys belong to leaves.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

from services.schema.carrying import require_empty

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

APPEND_ONLY: Final = ("people", "proposal", "decision")


def upgrade() -> None:
    # Entries say who did what from here on, and the registry is a log: there is no way to write either for the past.
    tables = ("leaf", "decision", "pool", "platform", "collective", "api_key", "schedule")
    require_empty(op.get_bind(), tables, revision)
    op.execute("DROP TABLE decision")
    create_tables()
    for table in ("platform", "collective", "api_key", "schedule"):
        op.add_column(table, sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False))
    op.add_column("api_key", sa.Column("begins_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_key", sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_key", sa.Column("pools", sa.ARRAY(sa.Text()), nullable=False))
    op.create_check_constraint(
        op.f("collective_status_check"), "collective", "status = ANY (ARRAY['ACTIVE'::text, 'SUSPENDED'::text])"
    )
    op.create_table_comment("collective", "What the latest of its leaves in the registry's log says.")
    op.create_table_comment("api_key", "What the registry's log says of keys; a secret itself is nowhere.")
    for table in APPEND_ONLY:
        op.execute(f"GRANT SELECT, INSERT ON {table} TO moiety_app")


def create_tables() -> None:
    op.create_table(
        "people",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "leaf_index", name="people_pkey"),
        comment="Which leaves of the registry's log say who may act: few of them, where collectives may be millions.",
    )
    op.create_table(
        "proposal",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "leaf_index", name="proposal_pkey"),
        comment="Acts that wait, or waited, for a second person.",
    )
    op.create_table(
        "decision",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("subject", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "subject", name="decision_pkey"),
        sa.UniqueConstraint("pool_id", "leaf_index", name="decision_pool_id_leaf_index_key"),
        comment="What became of a proposal or a round, the subject, by its leaf.",
    )
