"""Pools in Postgres: their terms, whom they admit, and what holds for them one at a time."""
