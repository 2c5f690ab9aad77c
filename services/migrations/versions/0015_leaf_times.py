"""The time of each log's last leaf, beside its size: those of later leaves are no earlier.

Undo: drop head.last_time; nothing is lost that the last leaves do not say.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("head", sa.Column("last_time", sa.DateTime(timezone=True)))
    op.create_table_comment(
        "head", "A log's size and right edge, and the time of its last leaf: those of later leaves are no earlier."
    )
    op.execute(
        """
        UPDATE head SET last_time = (convert_from(leaf.entry, 'UTF8')::json ->> 'time')::timestamptz
        FROM leaf WHERE leaf.pool_id = head.pool_id AND leaf.leaf_index = head.size - 1
        """
    )
    op.execute("GRANT UPDATE (last_time) ON head TO moiety_app")
