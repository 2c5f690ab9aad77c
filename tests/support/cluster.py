"""What `moiety db distribute` needs of Citus, as much of it as keeps account: which table was distributed how."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

_CLUSTER: Final = """
    SET LOCAL allow_system_table_mods = on;
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
        VALUES (999999, 'citus', 10, 'pg_catalog'::regnamespace, false, '13.1');
    CREATE SCHEMA cluster;
    GRANT USAGE ON SCHEMA cluster TO PUBLIC;
    CREATE TABLE cluster.pg_dist_node (groupid int);
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
"""


def make_cluster(owner: sa.Engine) -> None:
    """Let a database look like a Citus cluster that knows its coordinator and has distributed nothing."""
    with owner.begin() as connection:
        connection.exec_driver_sql(_CLUSTER)
        connection.exec_driver_sql("INSERT INTO cluster.pg_dist_node VALUES (0)")
        database = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f"ALTER DATABASE {database} SET search_path = public, cluster")
