"""What the signer last found of each log, so that no money moves by a log that contradicts what was signed.

The signer alone has the copy of the last checkpoint outside the database, and may be a process of its own. Here it says
what it found, and of which database: once that was failed over, restored or only started again, it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from ledger.errors import StateError
from ledger.store import tables as t
from ledger.store.logs.log import REGISTRY, PoolRef, log_name, of_pools
from ledger.store.postgres.transactions import ask

_DATABASE: Final = """
    SELECT extract(epoch FROM pg_postmaster_start_time())
        || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
        || '/' || greatest(
            pg_relation_filenode('signing'),
            (SELECT max(pg_relation_filenode(inhrelid)) FROM pg_inherits WHERE inhparent = 'signing'::regclass)
        )
"""


def which_database(connection: sa.Connection) -> str:
    """Returns what tells this database from any older copy of it: none brings along when Postgres started, which number
    the database has, and which one the newest file of `signing`.

    A standby, a base backup, a snapshot and files that were put back belong to a Postgres that started at another time.
    A dump is restored into another database, or into new files (`pg_restore --clean`, TRUNCATE and COPY). A plain
    restart cannot be told from files that were put back. docs/backups.md says what is not noticed.
    """
    return cast("str", connection.exec_driver_sql(_DATABASE).scalar_one())


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


_FOUND: Final = "SELECT pool_id, database, refusal FROM signing WHERE pool_id = ANY(%s)"


def require_sound(connection: sa.Connection, *pools: PoolRef) -> None:
    """Check that nothing found of some pools' logs and of the registry's keeps money from moving by them: rounds from
    being cut and posted, and operators from paying anyone.

    A log that was never signed is contradicted by nothing.

    Raises:
        StateError: the signer refuses to sign one of them, or has not looked at it in this `which_database`.
    """
    logs = {each.pool_id: each for each in (*pools, REGISTRY)}
    rows = ask(connection, _FOUND, (list(logs),)).fetchall()
    found = {cast("int", pool_id): (database, refusal) for pool_id, database, refusal in rows}
    here = which_database(connection) if found else ""
    for pool_id, pool in logs.items():
        if pool_id not in found:
            continue
        database, refusal = found[pool_id]
        name = f"{log_name(pool)}/checkpoints"
        if refusal:
            raise StateError(
                name, "SIGNING_REFUSED", "no round is cut or posted, and nobody is paid: %(why)s", why=str(refusal)
            )
        if database != here:
            detail = (
                "no round is cut or posted, and nobody is paid, until the signer has compared this log with its last "
                "checkpoint, since the database was started again, failed over or restored; is `moiety schedule` "
                "running?"
            )
            raise StateError(name, "NOT_COMPARED", detail)
