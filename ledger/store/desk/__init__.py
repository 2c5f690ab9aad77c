"""The desk in Postgres: what must be deletable, and no log holds."""
