"""Finds a platform's last reports, of which it makes so many a day at most.

Undo: drop the index.
"""

from __future__ import annotations

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None
serves_since = "0038"


def upgrade() -> None:
    columns = ["pool_id", "platform_id", "leaf_index"]
    op.create_index("report_pool_id_platform_id_leaf_index_idx", "report", columns, if_not_exists=True)
