"""Lines of banks' statements that are of payers or of nobody yet.

Undo: drop bank_line and bank_match, where no statement of a bank was taken in; else restore a backup.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def upgrade() -> None:
    op.create_table(
        "bank_line",
        text("name"),
        number("leaf_index"),
        text("bank_account"),
        number("amount_minor"),
        number("open_minor"),
        text("parts"),
        text("payment_reference"),
        text("day"),
        text("reference"),
        sa.PrimaryKeyConstraint("name", "leaf_index", name="bank_line_pkey"),
        comment="Lines of statements that are of payers or nobody, by each leaf that changed them. The latest holds.",
    )
    op.create_index("bank_line_bank_account_payment_reference_idx", "bank_line", ["bank_account", "payment_reference"])
    op.create_table(
        "bank_match",
        number("leaf_index"),
        text("bank_account"),
        text("line"),
        sa.PrimaryKeyConstraint("leaf_index", name="bank_match_pkey"),
        comment="What operators said of lines of statements, by their leaves in the registry's log.",
    )
    for name in ("bank_line", "bank_match"):
        op.execute(f"GRANT SELECT, INSERT ON {name} TO moiety_app")
