"""Whose status a leaf of the registry says, so that the keys of whoever is suspended are refused at once.

Undo: drop people.principal; the leaves say it too.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("people", sa.Column("principal", sa.Text()))
    op.create_index("people_principal_idx", "people", ["principal"])
    op.create_table_comment(
        "people",
        "Which leaves of the registry's log say who may act: few of them, where collectives may be millions. "
        "`principal` is whose status one says, if it says one.",
    )
