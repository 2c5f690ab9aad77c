"""Where lists, statements, exports and audits are read: a standby, if it has what the primary has; or the primary."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from ledger.errors import BusyError, InvalidInputError, NotFoundError, StateError, StoreUnavailableError
from ledger.registry import require_resource_id
from ledger.store.logs import log, proofs
from ledger.store.logs.log import REGISTRY, PoolRef, log_name
from ledger.store.pools.pools import pool_ref
from ledger.store.postgres.database import Database

logger: Final = logging.getLogger(__name__)

CATCH_UP_SECONDS: Final = 0.2
"""How long a call waits for the standby to have what was committed when it began. Then it reads from the primary."""

_POLL_SECONDS: Final = 0.01

_REST_SECONDS: Final = 10.0
"""How long nobody asks a standby that was away, since each call would wait until connecting to it fails, or that was on
another history, which does not pass by itself."""

_Heads = dict[PoolRef, tuple[int, bytes]]
"""The sizes and right edges of logs, which tell all of their leaves."""


class Readers:
    """Chooses a database for calls that only read.

    Whoever was told that something is recorded finds it. Nobody finds what the primary does not have, such as what it
    lost by a failover or a restore and a standby still has:

    1. The primary says what the heads of the pool's log and of the registry's are.
    2. The standby is waited for until its logs are as long. Where the heads are the same, it is used.
    3. Otherwise the primary is asked whether its logs extend the standby's. If not, the standby is on another history:
       it is not used, `warnings` says so, and it is looked at again later.

    Args:
        database: the primary.
        standby: None where there is none.
    """

    def __init__(self, database: Database, standby: Database | None = None) -> None:
        self._database, self._standby = database, standby
        self._rests_until = 0.0
        self._strayed: frozenset[PoolRef] = frozenset()

    def database_for(self, name: str) -> Database:
        """The database to read a pool's rows from, by the name of the pool or of something in it, or of the registry.

        Raises:
            StoreUnavailableError: the primary is away.
        """
        standby = self._standby
        if standby is None or time.monotonic() < self._rests_until:
            return self._database
        with self._database.reading() as connection:
            wanted = _heads(connection, _logs(connection, name))
        try:
            return standby if wanted and self._may_be_read(standby, wanted) else self._database
        except (StoreUnavailableError, StateError, BusyError):
            self._rests_until = time.monotonic() + _REST_SECONDS
            return self._database

    def warnings(self) -> dict[str, str]:
        """Returns what is wrong though calls can be served, by what it is of."""
        if not self._strayed:
            return {}
        what = (
            f"is not read: {len(self._strayed)} logs have other entries there than in the primary, which was failed "
            "over or restored; make the standby anew from it"
        )
        return {"standby": what}

    def close(self) -> None:
        """Let go of the standby."""
        if self._standby:
            self._standby.close()

    def _may_be_read(self, standby: Database, wanted: _Heads) -> bool:
        """Whether the standby has all of these logs before the wait is over, and nothing that the primary lacks."""
        found = _read_heads(standby, wanted)
        ends = time.monotonic() + CATCH_UP_SECONDS
        while (is_behind := _is_behind(found, wanted)) and time.monotonic() < ends:
            time.sleep(_POLL_SECONDS)
            found = _read_heads(standby, wanted)
        others = {pool: head for pool, head in found.items() if head != wanted[pool]}
        # With synchronous replication a standby may show for a moment what the primary is about to show.
        ends = time.monotonic() + CATCH_UP_SECONDS
        while (strayed := self._strayed_of(others)) and time.monotonic() < ends:
            time.sleep(_POLL_SECONDS)
        self._note(found, strayed)
        return not is_behind and not strayed

    def _strayed_of(self, heads: _Heads) -> frozenset[PoolRef]:
        """The logs that have these heads on the standby, and that the primary's do not extend."""
        if not heads:
            return frozenset()
        with self._database.reading() as connection:
            return frozenset(pool for pool, head in heads.items() if not proofs.extends(connection, pool, *head))

    def _note(self, compared: _Heads, strayed: frozenset[PoolRef]) -> None:
        if strayed:
            self._rests_until = time.monotonic() + _REST_SECONDS
        for pool in strayed - self._strayed:
            logger.warning(
                "the standby is not read: %s has entries there that the primary does not have", log_name(pool)
            )
        self._strayed = self._strayed.difference(compared) | strayed


def _logs(connection: sa.Connection, name: str) -> list[PoolRef]:
    """The log of this resource's pool, and the registry's; none where there is no such pool."""
    collection, _, rest = name.partition("/")
    if collection != "pools":
        return [REGISTRY]
    try:
        return [REGISTRY, pool_ref(connection, require_resource_id(rest.partition("/")[0], "pool"))]
    except (InvalidInputError, NotFoundError):
        return []


def _heads(connection: sa.Connection, pools: Collection[PoolRef]) -> _Heads:
    return {pool: (size, frontier) for pool, size, frontier in log.read_heads(connection, list(pools))}


def _read_heads(standby: Database, pools: Collection[PoolRef]) -> _Heads:
    with standby.reading() as connection:
        return _heads(connection, pools)


def _is_behind(found: _Heads, wanted: _Heads) -> bool:
    return any(pool not in found or found[pool][0] < size for pool, (size, _) in wanted.items())
