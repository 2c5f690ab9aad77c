"""Batches are numbered by default, so that every node of a cluster has the sequence.

Undo: drop the default of batch.batch_number; nothing is lost.
"""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE batch ALTER COLUMN batch_number SET DEFAULT nextval('batch_number')")
