"""${message}.

Undo: how the schema is brought back, and what is lost by it.
"""

import sqlalchemy as sa
from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = None
depends_on = None
serves_since = ${repr(up_revision)}
"""The oldest migration whose version of Moiety runs on this schema too: the one before where this one only adds."""


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
