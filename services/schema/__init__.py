"""The database's schema: bringing it up to date, and checking it.

`migrating` runs the migrations, `distribution` puts tables into partitions or on the nodes of a cluster, `privileges`
is what the service's role may do, `desk` is who may do what with data that must be deletable, and `comparison` compares
a database with the tables that the code declares.
"""

from __future__ import annotations

import sqlalchemy as sa

from services.schema import desk
from services.schema.comparison import differences
from services.schema.distribution import undistributed
from services.schema.migrating import (
    Upgraded,
    distribute,
    pending_revisions,
    refusals_told,
    require_current,
    unknown_revision,
    upgrade,
)
from services.schema.privileges import APPEND_ONLY, UPDATABLE, excess_privileges, missing_privileges

__all__ = [
    "APPEND_ONLY",
    "UPDATABLE",
    "Upgraded",
    "check",
    "differences",
    "distribute",
    "excess_privileges",
    "missing_privileges",
    "pending_revisions",
    "require_current",
    "unknown_revision",
    "upgrade",
]


def check(connection: sa.Connection) -> dict[str, list[str]]:
    """Returns everything that is wrong with the schema, by kind.

    Raises:
        StateError: the login may not read which migrations the database has.
    """
    with refusals_told():
        unknown = unknown_revision(connection)
        return {
            "pending": pending_revisions(connection),
            "unknown": [unknown] if unknown else [],
            "differences": differences(connection),
            "undistributed": undistributed(connection),
            "missing_privileges": [*missing_privileges(connection), *desk.missing_privileges(connection)],
            "excess_privileges": [*excess_privileges(connection), *desk.excess_privileges(connection)],
        }
