"""Weights are kept per month of UTC, counted from year 0.

Undo: restore a backup, or sum the weights of all months of a batch and mode into one row and drop batch_weights.month.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from services.schema.carrying import require_empty

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Which month an event is of, only its body says.
    require_empty(op.get_bind(), ("batch_weights",), revision)
    op.add_column("batch_weights", sa.Column("month", sa.Integer(), nullable=False))
    op.drop_constraint("batch_weights_pkey", "batch_weights")
    op.create_primary_key("batch_weights_pkey", "batch_weights", ["pool_id", "batch_number", "mode", "month"])
