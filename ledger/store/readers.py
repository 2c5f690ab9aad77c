"""Where lists, statements, exports and audits are read: a standby, once it has what the primary has; or the primary."""

from __future__ import annotations

import time
from typing import Final

import sqlalchemy as sa

from ledger.errors import BusyError, InvalidInputError, NotFoundError, StateError, StoreUnavailableError
from ledger.registry import require_resource_id
from ledger.store import log, registry
from ledger.store.acts import REGISTRY
from ledger.store.database import Database
from ledger.store.log import PoolRef

CATCH_UP_SECONDS: Final = 0.2
"""How long a call waits for the standby to have what was committed when it began. Then it reads from the primary."""

_POLL_SECONDS: Final = 0.01

_AWAY_SECONDS: Final = 10.0
"""How long nobody asks a standby that was away: each call would wait until connecting to it fails."""


class Readers:
    """Chooses a database for calls that only read.

    Whoever was told that something is recorded finds it: the primary says how long the pool's log and the registry's
    are, and the standby is used where its own are as long.

    Args:
        database: the primary.
        standby: None where there is none.
    """

    def __init__(self, database: Database, standby: Database | None = None) -> None:
        self._database, self._standby = database, standby
        self._away_until = 0.0

    def database_for(self, name: str) -> Database:
        """The database to read a pool's rows from, by the name of the pool or of something in it, or of the registry.

        Raises:
            StoreUnavailableError: the primary is away.
        """
        standby = self._standby
        if standby is None or time.monotonic() < self._away_until:
            return self._database
        with self._database.reading() as connection:
            wanted = _sizes(connection, name)
        try:
            return standby if wanted and _catches_up(standby, wanted) else self._database
        except (StoreUnavailableError, StateError, BusyError):
            self._away_until = time.monotonic() + _AWAY_SECONDS
            return self._database

    def close(self) -> None:
        """Let go of the standby."""
        if self._standby:
            self._standby.close()


def _sizes(connection: sa.Connection, name: str) -> dict[PoolRef, int]:
    """How long the log of this resource's pool is, and the registry's; nothing where there is no such pool."""
    collection, _, rest = name.partition("/")
    logs = [REGISTRY]
    if collection == "pools":
        try:
            logs.append(registry.pool_ref(connection, require_resource_id(rest.partition("/")[0], "pool")))
        except (InvalidInputError, NotFoundError):
            return {}
    return {pool: log.read_head(connection, pool).size for pool in logs}


def _catches_up(standby: Database, wanted: dict[PoolRef, int]) -> bool:
    """Whether the standby has logs of these sizes before the wait is over."""
    ends = time.monotonic() + CATCH_UP_SECONDS
    while True:
        with standby.reading() as connection:
            heads = {pool: size for pool, size, _ in log.read_heads(connection, list(wanted))}
        if all(heads.get(pool, -1) >= size for pool, size in wanted.items()):
            return True
        if time.monotonic() >= ends:
            return False
        time.sleep(_POLL_SECONDS)
