"""Objections: what collectives say against rounds before they are posted, and what is answered.

Undo: drop the tables of objections and answers; the leaves stay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, comment in (
        ("objection", "What collectives said against rounds, each once."),
        ("answer", "What operators answered to objections, each once."),
    ):
        op.create_table(
            name,
            sa.Column("pool_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("collective", sa.Text(), nullable=False),
            sa.Column("leaf_index", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.PrimaryKeyConstraint("pool_id", "number", "collective", name=f"{name}_pkey"),
            comment=comment,
        )
        op.execute(f"GRANT SELECT, INSERT ON {name} TO moiety_app")
