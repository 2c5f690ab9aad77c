"""Benchmarks: each figure is a ratio to a peer or a limit that is measured in the same run, on the same Postgres."""
