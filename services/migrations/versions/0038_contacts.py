"""Contacts that wait for a second person, as acts of kind REGISTRY may.

Undo: delete the contacts without a leaf, and make contact.leaf_index NOT NULL again; their proposals can then only be
rejected.
"""

from __future__ import annotations

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("contact", "leaf_index", nullable=True, schema="desk")
