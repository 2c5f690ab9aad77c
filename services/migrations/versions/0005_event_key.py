"""The key of events has the id before the platform.

Undo: make the key of events anew, with the platform before the id; nothing is lost.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Two statements, which a database that is distributed by Citus takes; one with both it refuses.
    op.execute("ALTER TABLE event DROP CONSTRAINT event_pkey")
    op.execute("ALTER TABLE event ADD CONSTRAINT event_pkey PRIMARY KEY (pool_id, event_id, platform_id)")
