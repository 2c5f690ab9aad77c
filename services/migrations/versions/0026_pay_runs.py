"""Bank accounts, pay runs and what banks say of them.

Undo: drop the tables; the leaves stay, what banks said is lost.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def leaf_index() -> sa.Column[int]:
    return sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False)


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), nullable=False)


def pool_id() -> sa.Column[int]:
    return sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False)


def upgrade() -> None:
    op.create_table(
        "bank_account",
        leaf_index(),
        text("name"),
        sa.Column("details_hash", sa.LargeBinary(), nullable=False),
        created_at(),
        sa.PrimaryKeyConstraint("leaf_index", name="bank_account_pkey"),
        comment="The operator's bank accounts by their leaves in the registry's log. The latest of a name holds.",
    )
    op.create_table(
        "pay_run",
        text("name"),
        leaf_index(),
        text("bank_account"),
        created_at(),
        sa.PrimaryKeyConstraint("name", name="pay_run_pkey"),
        sa.UniqueConstraint("leaf_index", name="pay_run_leaf_index_key"),
        comment="Pay runs by their leaves in the registry's log.",
    )
    op.create_table(
        "planned_payment",
        text("end_to_end_id"),
        leaf_index(),
        text("collective"),
        sa.PrimaryKeyConstraint("end_to_end_id", name="planned_payment_pkey"),
        comment="Payments that pay runs planned; amounts are in the plans and in the pools' logs.",
    )
    op.create_index("planned_payment_collective_leaf_index_idx", "planned_payment", ["collective", "leaf_index"])
    op.create_table(
        "bank_message",
        leaf_index(),
        text("bank_account"),
        text("message"),
        text("message_id"),
        sa.Column("closing_minor", sa.BigInteger()),
        created_at(),
        sa.PrimaryKeyConstraint("leaf_index", name="bank_message_pkey"),
        sa.UniqueConstraint(
            "bank_account", "message", "message_id", name="bank_message_bank_account_message_message_id_key"
        ),
        comment="Files of banks that were taken in, by their leaves in the registry's log; each message once.",
    )
    op.create_table(
        "payment_event",
        text("end_to_end_id"),
        leaf_index(),
        text("kind"),
        text("day"),
        text("reference"),
        text("reason"),
        sa.PrimaryKeyConstraint("end_to_end_id", "leaf_index", "kind", name="payment_event_pkey"),
        comment="What banks said of each payment, by the leaf of the file that said it.",
    )
    op.create_table(
        "paying",
        pool_id(),
        text("pay_run"),
        leaf_index(),
        sa.PrimaryKeyConstraint("pool_id", "pay_run", name="paying_pkey"),
        comment="Which leaf has the pool's part of a pay run; there is one at most.",
    )
    op.create_table(
        "booking",
        pool_id(),
        sa.Column("bank_file_leaf", sa.BigInteger(), autoincrement=False, nullable=False),
        leaf_index(),
        sa.PrimaryKeyConstraint("pool_id", "bank_file_leaf", name="booking_pkey"),
        comment="Which leaf has the pool's part of a bank's statement, by the statement's leaf in the registry's log.",
    )
    for name in ("bank_account", "pay_run", "planned_payment", "bank_message", "payment_event", "paying", "booking"):
        op.execute(f"GRANT SELECT, INSERT ON {name} TO moiety_app")
