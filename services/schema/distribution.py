"""Where tables are: undistributed, in partitions by pool on one Postgres, or on the nodes of a Citus cluster by pool.

This follows from the declared tables. A table with `pool_id` is a pool's, and is kept with the pool's other rows; the
others are the registry's, and stay undistributed, on the coordinator of a cluster.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from ledger.errors import InvalidInputError, StateError
from ledger.store import tables as t
from ledger.store.tables import metadata
from services.schema import registry_place
from services.schema.privileges import VERSION_TABLE, is_cluster

PARTITIONS_MAX: Final = 128
"""A statement that is planned once for all pools locks every partition: reading a balance took 0.2 ms from whole
tables, 0.4 ms from 4 partitions, 0.6 ms from 16 and 1.4 ms from 64."""

POOL_TABLES: Final = tuple(
    table for table in metadata.sorted_tables if "pool_id" in table.columns and table is not t.pool
)
"""Tables that are distributed by pool."""

REGISTRY_TABLES: Final = tuple(table for table in metadata.sorted_tables if table not in POOL_TABLES)
"""Tables that are not distributed."""

_DISTRIBUTED: Final = "distributed"
_REFERENCE: Final = "a reference table"
_OWN: Final = "the coordinator's own"


def distribute(connection: sa.Connection, partitions: int | None = None) -> list[str]:
    """Distribute every table that is not yet, by pool; returns the names of those that this did.

    Moves the tables' rows, and nobody can use the tables meanwhile: for a database that is new or not in use.

    Args:
        connection: the schema owner's, in a transaction.
        partitions: the number of partitions on one Postgres; None to distribute over a Citus cluster.

    Raises:
        InvalidInputError: the number of partitions is out of range.
        StateError: tables have another number of partitions already; or there is no cluster, or there is one and
            partitions are asked for.
    """
    if is_cluster(connection):
        if partitions is not None:
            raise StateError("the database", "CLUSTER", "is a Citus cluster; distribute it without --partitions")
        return _distribute_over_nodes(connection)
    if partitions is None:
        detail = "has no Citus extension; on one Postgres, use --partitions N"
        raise StateError("the database", "NO_CLUSTER", detail)
    if not 2 <= partitions <= PARTITIONS_MAX:  # noqa: PLR2004  # one part is none
        raise InvalidInputError.of("partitions", f"must be 2 to {PARTITIONS_MAX:,}, got {partitions:,}")
    return _partition_all(connection, partitions)


def distribute_new(connection: sa.Connection) -> list[str]:
    """Distribute tables that migrations have just created like the others; does nothing if none is distributed."""
    if is_cluster(connection):
        return _distribute_over_nodes(connection) if _on_nodes(connection) else []
    counts = _partition_counts(connection)
    return _partition_all(connection, max(counts.values())) if counts else []


def undistributed(connection: sa.Connection) -> list[str]:
    """Returns tables that are not where they should be: on a cluster any, elsewhere those with partitioned siblings."""
    if is_cluster(connection):
        found = _on_nodes(connection)
        misplaced = [
            f"table {name} is {found.get(name, 'not distributed')}, expected {wanted}"
            for name, wanted in _wanted_on_nodes().items()
            if found.get(name) != wanted
        ]
        return misplaced or registry_place.astray(connection)
    counts = _partition_counts(connection)
    if not counts:
        return []
    number = max(counts.values())
    return [
        f"table {table.name} has {counts.get(table.name, 'no')} partitions, expected {number}"
        for table in POOL_TABLES
        if counts.get(table.name) != number
    ]


# One Postgres.


def _partition_counts(connection: sa.Connection) -> dict[str, int]:
    query = """
        SELECT parent.relname, count(*) AS parts FROM pg_class AS parent JOIN pg_inherits ON inhparent = parent.oid
        WHERE parent.relkind = 'p' AND parent.relnamespace = 'public'::regnamespace GROUP BY 1
    """
    return {row.relname: row.parts for row in connection.exec_driver_sql(query)}


def _partition_all(connection: sa.Connection, partitions: int) -> list[str]:
    counts = _partition_counts(connection)
    for name, count in counts.items():
        if count != partitions:
            detail = f"already has {count} partitions; the number cannot change"
            raise StateError(f"the table {name}", "PARTITIONED", detail)
    done = [table for table in POOL_TABLES if table.name not in counts]
    for table in done:
        _partition(connection, table, partitions)
    return [table.name for table in done]


def _partition(connection: sa.Connection, table: sa.Table, partitions: int) -> None:
    """Recreate a table in partitions, with the same columns, keys and indexes, and move the rows there."""
    quote = connection.dialect.identifier_preparer.quote
    name, whole = quote(table.name), quote(f"{table.name}_whole")
    connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO {whole}")
    indexes = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = to_regclass(%s) ORDER BY 1"
    for place, index in enumerate(connection.exec_driver_sql(indexes, (whole,)).scalars().all()):
        connection.exec_driver_sql(f"ALTER INDEX {index} RENAME TO {quote(f'{table.name}_whole_{place}')}")
    like = "INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMMENTS"
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE {whole} {like}) PARTITION BY HASH (pool_id)")
    for part in range(partitions):
        bounds = f"WITH (MODULUS {partitions}, REMAINDER {part})"
        connection.exec_driver_sql(
            f"CREATE TABLE {quote(f'{table.name}_p{part}')} PARTITION OF {name} FOR VALUES {bounds}"
        )
    connection.exec_driver_sql(f"INSERT INTO {name} SELECT * FROM {whole}")  # noqa: S608  # names of our tables
    for constraint in sorted(table.constraints, key=lambda each: str(each.name)):
        if isinstance(constraint, sa.PrimaryKeyConstraint | sa.UniqueConstraint):
            # An isolated constraint would be missing from the table in every later CREATE TABLE of this process.
            connection.execute(sa.schema.AddConstraint(constraint, isolate_from_table=False))
    for made in sorted(table.indexes, key=lambda each: str(each.name)):
        connection.execute(sa.schema.CreateIndex(made))
    if table.comment:
        connection.execute(sa.schema.SetTableComment(table))
    connection.exec_driver_sql(f"DROP TABLE {whole}")


# A cluster.


def _wanted_on_nodes() -> dict[str, str]:
    return {
        **{table.name: _DISTRIBUTED for table in POOL_TABLES},
        **{table.name: _OWN for table in REGISTRY_TABLES},
        VERSION_TABLE: _REFERENCE,  # which servers on every node read as they start
    }


def _on_nodes(connection: sa.Connection) -> dict[str, str]:
    """What each table is to Citus, of those that it knows."""
    query = """
        SELECT relname, partmethod::text, repmodel::text
        FROM pg_dist_partition JOIN pg_class ON pg_class.oid = logicalrelid
        WHERE relnamespace = 'public'::regnamespace
    """
    kinds = {("h", "s"): _DISTRIBUTED, ("n", "t"): _REFERENCE, ("n", "s"): _OWN}
    rows = connection.exec_driver_sql(query)
    return {name: kinds.get((method, model), "of another kind") for name, method, model in rows}


def _distribute_over_nodes(connection: sa.Connection) -> list[str]:
    if not connection.exec_driver_sql("SELECT FROM pg_dist_node WHERE groupid = 0").rowcount:
        detail = "does not know its coordinator; run SELECT citus_set_coordinator_host('HOST', PORT) first"
        raise StateError("the Citus cluster", "NO_COORDINATOR", detail)
    # One transaction creates and distributes tables: Citus then wants one connection to each node.
    connection.exec_driver_sql("SET LOCAL citus.multi_shard_modify_mode TO 'sequential'")
    found, done = _on_nodes(connection), []
    for name, wanted in _wanted_on_nodes().items():
        if found.get(name) == wanted:
            continue
        relation = f"public.{connection.dialect.identifier_preparer.quote(name)}"
        if name in found:
            connection.exec_driver_sql("SELECT undistribute_table(%s)", (relation,))
        if wanted == _DISTRIBUTED:
            together = "default" if name == POOL_TABLES[0].name else f"public.{POOL_TABLES[0].name}"
            statement = "SELECT create_distributed_table(%s, 'pool_id', colocate_with => %s)"
            connection.exec_driver_sql(statement, (relation, together))
        elif wanted == _REFERENCE:
            connection.exec_driver_sql("SELECT create_reference_table(%s)", (relation,))
        else:
            connection.exec_driver_sql("SELECT citus_add_local_table_to_metadata(%s)", (relation,))
        done.append(name)
    return done
