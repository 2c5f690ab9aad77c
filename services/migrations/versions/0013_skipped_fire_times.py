"""A schedule says which fire time cut no round, and why.

Undo: drop both columns of schedule; why a fire time was skipped is lost.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE schedule ADD COLUMN skipped_at timestamptz")
    op.execute("ALTER TABLE schedule ADD COLUMN skipped_because text")
    op.execute("GRANT UPDATE (skipped_at, skipped_because) ON schedule TO moiety_app")
