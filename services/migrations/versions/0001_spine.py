"""The spine: registry, log, usage, revenue, journal, policies, rounds, schedules and keys.

Undo: drop the database; nothing is left.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_tables()
    op.execute(sa.schema.CreateSequence(sa.Sequence("batch_number", data_type=sa.BigInteger, cache=32)))
    # Bodies and packed weights are nearly random bytes: trying to compress them costs time and saves nothing.
    op.execute("ALTER TABLE body ALTER COLUMN bytes SET STORAGE EXTERNAL")
    op.execute("ALTER TABLE batch_weights ALTER COLUMN packed SET STORAGE EXTERNAL")


def create_tables() -> None:
    op.create_table(
        "api_key",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("key_id", name="api_key_pkey"),
    )
    op.create_table(
        "balance",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "account", "leaf_index", name="balance_pkey"),
        comment="An account's balance after each leaf that touched it: a balance as of a log size is one index seek.",
    )
    op.create_table(
        "batch",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("batch_number", sa.BigInteger(), nullable=False),
        sa.Column("body_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "platform_id", "batch_id", name="batch_pkey"),
        sa.UniqueConstraint("pool_id", "batch_number", name="batch_pool_id_batch_number_key"),
        sa.UniqueConstraint("pool_id", "leaf_index", name="batch_pool_id_leaf_index_key"),
    )
    op.create_table(
        "batch_weights",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("batch_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("mode", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("method_version", sa.Integer(), nullable=False),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("unattributed", sa.Numeric(precision=38, scale=0), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "batch_number", "mode", name="batch_weights_pkey"),
    )
    op.create_table(
        "body",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("bytes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "sha256", name="body_pkey"),
    )
    op.create_table(
        "collective",
        sa.Column("collective_id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("members", sa.BigInteger(), nullable=False),
        sa.Column("equity_ppm", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("collective_id", name="collective_pkey"),
        sa.UniqueConstraint("name", name="collective_name_key"),
    )
    op.create_table(
        "decision",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "number", name="decision_pkey"),
    )
    op.create_table(
        "event",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("batch_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "platform_id", "event_id", name="event_pkey"),
    )
    op.create_table(
        "head",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", name="head_pkey"),
    )
    op.create_table(
        "leaf",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "leaf_index", name="leaf_pkey"),
    )
    op.create_table(
        "method",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "name", "version", name="method_pkey"),
    )
    op.create_table(
        "movement",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "request_id", name="movement_pkey"),
        comment="What operators moved by hand: payments, releases of what was held, grants from the commons fund.",
    )
    op.create_table(
        "node",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("node_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "level", "node_index", name="node_pkey"),
    )
    op.create_table(
        "platform",
        sa.Column("platform_id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("platform_id", name="platform_pkey"),
        sa.UniqueConstraint("name", name="platform_name_key"),
    )
    op.create_table(
        "policy",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "version", name="policy_pkey"),
    )
    op.create_table(
        "pool",
        sa.Column("pool_id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", name="pool_pkey"),
        sa.UniqueConstraint("name", name="pool_name_key"),
    )
    op.create_table(
        "posting",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "number", name="posting_pkey"),
    )
    op.create_table(
        "retraction",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("batch_number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("weights_number", sa.BigInteger(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "platform_id", "request_id", "batch_number", name="retraction_pkey"),
        sa.UniqueConstraint("pool_id", "leaf_index", name="retraction_pool_id_leaf_index_key"),
        sa.UniqueConstraint("pool_id", "weights_number", name="retraction_pool_id_weights_number_key"),
        comment="Events of a batch taken back; batch_weights has their weights under weights_number.",
    )
    op.create_index("retraction_pool_id_batch_number_idx", "retraction", ["pool_id", "batch_number"], unique=False)
    op.create_table(
        "revenue",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "platform_id", "request_id", name="revenue_pkey"),
        sa.UniqueConstraint("pool_id", "leaf_index", name="revenue_pool_id_leaf_index_key"),
    )
    op.create_table(
        "round",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("end_size", sa.BigInteger(), nullable=False),
        sa.Column("last_fire_time", sa.DateTime(timezone=True), nullable=True),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("pool_id", "number", name="round_pkey"),
        sa.UniqueConstraint("pool_id", "request_id", name="round_pool_id_request_id_key"),
    )
    op.create_table(
        "schedule",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("pool_id", name="schedule_pkey"),
    )
    op.create_table(
        "transfer",
        sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("from_account", sa.Text(), nullable=False),
        sa.Column("to_account", sa.Text(), nullable=False),
        sa.Column("amount_minor", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.CheckConstraint("amount_minor > 0", name=op.f("transfer_amount_check")),
        sa.PrimaryKeyConstraint("pool_id", "leaf_index", "ordinal", name="transfer_pkey"),
    )
    op.create_index(
        "transfer_pool_id_from_account_leaf_index_idx",
        "transfer",
        ["pool_id", "from_account", "leaf_index"],
        unique=False,
    )
    op.create_index(
        "transfer_pool_id_to_account_leaf_index_idx", "transfer", ["pool_id", "to_account", "leaf_index"], unique=False
    )
