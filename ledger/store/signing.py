"""What the signer last found of each log, so that no money moves by a log that contradicts what was signed.

The signer alone has the copy of the last checkpoint outside the database, and may be a process of its own. Here it says
what it found, and of which database: after a failover or a restore, what was found of another database says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.errors import StateError
from ledger.store import tables as t
from ledger.store.acts import REGISTRY, log_name
from ledger.store.database import driver_connection
from ledger.store.log import PoolRef, of_pools

_DATABASE: Final = """
    SELECT (SELECT system_identifier FROM pg_control_system())
        || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
        || '/' || CASE WHEN pg_is_in_recovery() THEN '-' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END
"""


def which_database(connection: sa.Connection) -> str:
    """Returns what tells this database from any that it may be replaced with: cluster, number and timeline.

    A standby that is promoted and a cluster restored to a point in time start a new timeline; a dump is restored into
    another database.
    """
    return str(connection.exec_driver_sql(_DATABASE).scalar_one())


def note(connection: sa.Connection, pool: PoolRef, database: str, refusal: str = "") -> None:
    """Note that the signer looked at a log in this database, and why it signs nothing if it does not."""
    here = (t.signing.c.pool_id == pool.pool_id) & (t.signing.c.database == database) & (t.signing.c.refusal == refusal)
    if connection.execute(sa.select(sa.exists().where(here))).scalar_one():
        return
    found = {"database": database, "refusal": refusal}
    row: dict[str, Any] = {"pool_id": pool.pool_id, **found}
    connection.execute(insert(t.signing).values(row).on_conflict_do_update(index_elements=["pool_id"], set_=found))


def refused(connection: sa.Connection, pools: Sequence[PoolRef]) -> list[int]:
    """Returns the numbers of those pools whose logs the signer refuses to sign."""
    query = sa.select(t.signing.c.pool_id).where(of_pools(t.signing, pools), t.signing.c.refusal != "")
    return list(connection.execute(query).scalars())


def uncompared(connection: sa.Connection, pools: Sequence[PoolRef]) -> list[int]:
    """Returns the numbers of those pools whose logs the signer compared with their checkpoints in another database."""
    here = which_database(connection)
    query = sa.select(t.signing.c.pool_id).where(of_pools(t.signing, pools), t.signing.c.database != here)
    return list(connection.execute(query).scalars())


def count_unsound(connection: sa.Connection) -> tuple[int, int]:
    """Returns how many pools `refused` and `uncompared` would return, of all pools: one query, which names none."""
    is_refused, is_uncompared = t.signing.c.refusal != "", t.signing.c.database != which_database(connection)
    counted = sa.select(sa.func.count().filter(is_refused), sa.func.count().filter(is_uncompared))
    refusals, others = connection.execute(counted.where(is_refused | is_uncompared)).one()
    return refusals, others


_FOUND: Final = "SELECT database, refusal FROM signing WHERE pool_id = %s"


def require_sound(connection: sa.Connection, pool: PoolRef) -> None:
    """Check that nothing found of a pool's log and of the registry's keeps rounds from being cut and posted.

    A log that was never signed is contradicted by nothing.

    Raises:
        StateError: the signer refuses to sign one of them, or has not looked at it since the database was replaced.
    """
    for each in (pool, REGISTRY):
        found = driver_connection(connection).execute(_FOUND, (each.pool_id,), prepare=True).fetchone()
        if found is None:
            continue
        database, refusal = found
        name = f"{log_name(each)}/checkpoints"
        if refusal:
            raise StateError(name, "SIGNING_REFUSED", f"no round is cut or posted: {refusal}")
        if database != which_database(connection):
            detail = (
                "no round is cut or posted until the signer has compared this log with its last checkpoint: the "
                "database was failed over or restored since; is `moiety schedule` running?"
            )
            raise StateError(name, "NOT_COMPARED", detail)
