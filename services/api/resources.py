"""What a resource's name names: a pool, a log, a round or a proposal, if the caller's key gives access to it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ledger.registry import require_range
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.pools.pools import pool_ref
from payout.settlement import require_round_number
from services.access.permissions import require_pool
from services.api.names import ids_in, only_id

MAX_LEAF: Final = 2**62


def pool_of(connection: sa.Connection, name: str, field: str) -> PoolRef:
    """Returns the pool named `pools/{pool}`, if the caller's key gives access to it."""
    pool_id = only_id(name, "pools", field)
    require_pool(pool_id)
    return pool_ref(connection, pool_id)


def log_of(connection: sa.Connection, name: str, field: str) -> PoolRef:
    """Returns the pool named `pools/{pool}`, or the `registry`."""
    return REGISTRY if name == REGISTRY.name else pool_of(connection, name, field)


def round_of(connection: sa.Connection, name: str, field: str) -> tuple[PoolRef, int]:
    """Returns the pool and the number in a round's name."""
    pool_id, number = ids_in(name, "pools/*/rounds/*", field)
    return pool_of(connection, f"pools/{pool_id}", field), require_round_number(number, field)


def proposal_in(connection: sa.Connection, name: str, field: str) -> tuple[PoolRef, int]:
    """Returns the log and the leaf in a proposal's name."""
    if name.startswith(f"{REGISTRY.name}/"):
        (leaf,) = ids_in(name, f"{REGISTRY.name}/proposals/*", field)
        pool = REGISTRY
    else:
        pool_id, leaf = ids_in(name, "pools/*/proposals/*", field)
        pool = log_of(connection, f"pools/{pool_id}", field)
    return pool, require_range(int(leaf) if leaf.isdecimal() else -1, field, 0, MAX_LEAF)
