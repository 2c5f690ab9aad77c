"""Which bank account each file that a bank sent is of.

Undo: drop the column.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None
serves_since = "0033"


def upgrade() -> None:
    op.add_column("bank_file", sa.Column("bank_account", sa.Text()), schema="desk")
