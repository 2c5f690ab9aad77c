"""Who is signed in to the console, and links that sign in once.

Undo: drop both tables; everyone signs in again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create(
        "session",
        "ended_at",
        "Who is signed in to the console, by the hash of what their cookie has; it ends with its key.",
    )
    _create("sign_in_link", "used_at", "Links that sign in once, by the hash of what they have.")


def _create(table: str, closing: str, comment: str) -> None:
    op.create_table(
        table,
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(closing, sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("token_sha256", name=f"{table}_pkey"),
        schema="desk",
        comment=comment,
    )
