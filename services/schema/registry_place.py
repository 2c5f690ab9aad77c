"""Where a Citus cluster keeps the registry's log: at the coordinator, beside the registry's tables.

Registering a platform and revoking a key then need no other node. To the store that log is a pool's, and lies in the
shards of its number. They are split off from those of other pools, and then moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from ledger.store import tables as t
from ledger.store.logs.log import REGISTRY
from services.schema.privileges import is_cluster

_COORDINATOR: Final = 0
"""Citus' number of the coordinator's group of nodes."""

_TABLE: Final = f"public.{t.head.name}"
"""Any table that is distributed by pool: the shards of all of them stay together."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The shard of the registry's log.

    Attributes:
        shard: its number.
        alone: whether it holds no other pool.
        group: Citus' number of the group of nodes that it is on.
        node: the address of that group's node.
    """

    shard: int
    alone: bool
    group: int
    node: str


def bring_home(connection: sa.Connection) -> bool:
    """Take the next step that brings the registry's log to the coordinator; Citus wants a transaction for each.

    Nobody can write to the log meanwhile.

    Args:
        connection: the schema owner's, in a transaction, with every table distributed.

    Returns:
        bool: whether there was something to do; false on one Postgres.
    """
    place = _place(connection) if is_cluster(connection) else None
    if place is None or (place.alone and place.group == _COORDINATOR):
        return False
    if place.alone:
        _move(connection, place)
    else:
        split = f"isolate_tenant_to_new_shard(%s, {REGISTRY.pool_id}, 'CASCADE', shard_transfer_mode := 'block_writes')"
        connection.exec_driver_sql(f"SELECT {split}", (_TABLE,))
    return True


def astray(connection: sa.Connection) -> list[str]:
    """Returns what `moiety db check` says of the log, for a cluster with every table distributed."""
    place = _place(connection)
    if place is None or place.group == _COORDINATOR:
        return []
    return [f"the registry's log is on {place.node}, expected the coordinator"]


def _place(connection: sa.Connection) -> _Place | None:
    query = f"""
        SELECT shardid, shardminvalue = shardmaxvalue, groupid, nodename || ':' || nodeport
        FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node USING (groupid)
        WHERE shardid = get_shard_id_for_distribution_column(%s, {REGISTRY.pool_id})
    """  # noqa: S608  # a number of ours
    found = connection.exec_driver_sql(query, (_TABLE,)).first()
    return None if found is None else _Place(*found)


def _move(connection: sa.Connection, place: _Place) -> None:
    """Move the shards. The coordinator is open to shards only while this takes, so that no other pool comes there."""
    home = "SELECT nodename, nodeport, shouldhaveshards FROM pg_dist_node WHERE groupid = %s"
    host, port, is_open = connection.exec_driver_sql(home, (_COORDINATOR,)).one()
    allow = "SELECT citus_set_node_property(%s, %s, 'shouldhaveshards', %s)"
    connection.exec_driver_sql(allow, (host, port, True))
    source, source_port = place.node.rsplit(":", 1)
    move = "SELECT citus_move_shard_placement(%s, %s, %s, %s, %s, shard_transfer_mode := 'block_writes')"
    connection.exec_driver_sql(move, (place.shard, source, int(source_port), host, port))
    connection.exec_driver_sql(allow, (host, port, is_open))
