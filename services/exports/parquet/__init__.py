"""A pool's log as tables in Parquet."""
