"""What a new batch is under, in Postgres: read in one statement, since every batch asks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

import sqlalchemy as sa

from ledger.errors import NotFoundError
from ledger.store.logs.log import PoolRef
from ledger.store.pools.methods import method_in
from ledger.store.postgres.transactions import ask
from ledger.usage.limits import PlatformLimits, PoolLimits
from ledger.usage.methods import Method

# One statement on one pool, so that a distributed database asks one node. SQLAlchemy takes longer to compile it than
# Postgres to run it.
_TERMS: Final = """
SELECT
    (SELECT entry FROM method JOIN leaf USING (pool_id, leaf_index)
     WHERE pool_id = %(pool)s AND method.name = %(method)s ORDER BY version DESC LIMIT 1),
    (SELECT ARRAY[lead_seconds_max, age_seconds_max] FROM pool_limit WHERE pool_id = %(pool)s),
    (SELECT closed_at FROM closing WHERE pool_id = %(pool)s),
    (SELECT ARRAY[events_per_day, bytes_per_day, open_streams] FROM platform_limit
     WHERE platform_id = %(platform)s),
    (SELECT admitted FROM admission
     WHERE pool_id = %(pool)s AND platform_id = %(platform)s ORDER BY leaf_index DESC LIMIT 1)
FROM head WHERE pool_id = %(pool)s
"""

_DEFAULT: Final = PoolLimits()

_Row = tuple["bytes | None", "tuple[int, int] | None", "datetime | None", "list[int | None] | None", "bool | None"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a platform's new batch.

    Attributes:
        method: the latest version of the batch's method.
        in_time: the pool's limits.
        quota: the platform's.
        admitted: whether the platform may report to the pool.
    """

    method: Method
    in_time: PoolLimits
    quota: PlatformLimits
    admitted: bool


def terms_of(connection: sa.Connection, pool: PoolRef, platform_id: int, method: str) -> Terms:
    """Returns what holds now.

    Raises:
        NotFoundError: the pool has no such method.
    """
    asked = {"pool": pool.pool_id, "platform": platform_id, "method": method}
    row = ask(connection, _TERMS, asked).fetchone()
    entry, in_time, closed_at, quota, admitted = cast("_Row", row)
    if entry is None:
        raise NotFoundError(f"pools/{pool.name}/methods/{method}")
    in_force = PoolLimits(*(in_time or (_DEFAULT.lead_seconds_max, _DEFAULT.age_seconds_max)), closed_at)
    return Terms(method_in(entry), in_force, PlatformLimits(*(quota or ())), bool(admitted))
