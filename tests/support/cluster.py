"""What `moiety db distribute` needs of Citus, as much of it as keeps account: which table was
distributed how, and on which node the shard of the registry's log is."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

_CLUSTER: Final = """
    SET LOCAL allow_system_table_mods = on;
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
        VALUES (999999, 'citus', 10, 'pg_catalog'::regnamespace, false, '13.1');
    CREATE SCHEMA cluster;
    GRANT USAGE ON SCHEMA cluster TO PUBLIC;
    CREATE TABLE cluster.pg_dist_node (
        groupid int PRIMARY KEY, nodename text, nodeport int, shouldhaveshards boolean
    );
    CREATE TABLE cluster.pg_dist_shard (shardid bigint PRIMARY KEY, shardminvalue text, shardmaxvalue text);
    CREATE TABLE cluster.pg_dist_placement (shardid bigint PRIMARY KEY, groupid int);
    CREATE TABLE cluster.pg_dist_partition (
        logicalrelid regclass PRIMARY KEY, partmethod "char", repmodel "char", distributed_by text, beside text
    );
    CREATE FUNCTION cluster.create_distributed_table(relation text, key text, colocate_with text) RETURNS void
        LANGUAGE sql AS $$
            INSERT INTO cluster.pg_dist_partition VALUES (relation::regclass, 'h', 's', key, colocate_with)
        $$;
    CREATE FUNCTION cluster.create_reference_table(relation text) RETURNS void
        LANGUAGE sql AS $$ INSERT INTO cluster.pg_dist_partition VALUES (relation::regclass, 'n', 't') $$;
    CREATE FUNCTION cluster.citus_add_local_table_to_metadata(relation text) RETURNS void
        LANGUAGE sql AS $$ INSERT INTO cluster.pg_dist_partition VALUES (relation::regclass, 'n', 's') $$;
    CREATE FUNCTION cluster.undistribute_table(relation text) RETURNS void
        LANGUAGE sql AS $$ DELETE FROM cluster.pg_dist_partition WHERE logicalrelid = relation::regclass $$;
    CREATE FUNCTION cluster.get_shard_id_for_distribution_column(relation text, pool int) RETURNS bigint
        LANGUAGE sql AS $$ SELECT max(shardid) FROM cluster.pg_dist_shard $$;
    CREATE FUNCTION cluster.isolate_tenant_to_new_shard(
        relation text, pool int, cascade_option text, shard_transfer_mode text
    ) RETURNS bigint LANGUAGE sql AS $$
            INSERT INTO cluster.pg_dist_shard VALUES (2, '7', '7');
            INSERT INTO cluster.pg_dist_placement VALUES (2, 1);
            SELECT 2::bigint
        $$;
    CREATE FUNCTION cluster.citus_set_node_property(host text, port int, property text, value boolean) RETURNS void
        LANGUAGE sql AS $$
            UPDATE cluster.pg_dist_node SET shouldhaveshards = value WHERE nodename = host AND nodeport = port
        $$;
    CREATE FUNCTION cluster.citus_move_shard_placement(
        shard bigint, source text, source_port int, target text, target_port int, shard_transfer_mode text
    ) RETURNS void LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE cluster.pg_dist_placement AS placement SET groupid = home.groupid
                FROM cluster.pg_dist_node AS home, cluster.pg_dist_node AS away
                WHERE placement.shardid = shard AND placement.groupid = away.groupid
                    AND away.nodename = source AND away.nodeport = source_port
                    AND home.nodename = target AND home.nodeport = target_port AND home.shouldhaveshards;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'the target should not have shards';
            END IF;
        END
        $$;
"""


def make_cluster(owner: sa.Engine) -> None:
    """Let a database look like a Citus cluster that knows its coordinator and has distributed nothing."""
    with owner.begin() as connection:
        connection.exec_driver_sql(_CLUSTER)
        nodes = "(0, 'coordinator', 5432, false), (1, 'worker', 5432, true)"
        connection.exec_driver_sql(f"INSERT INTO cluster.pg_dist_node VALUES {nodes}")
        connection.exec_driver_sql("INSERT INTO cluster.pg_dist_shard VALUES (1, '-100', '100')")
        connection.exec_driver_sql("INSERT INTO cluster.pg_dist_placement VALUES (1, 1)")
        database = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f"ALTER DATABASE {database} SET search_path = public, cluster")
