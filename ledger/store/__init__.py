"""The book of record in Postgres: the log, its bodies, and projections of it, written in the same transaction."""
