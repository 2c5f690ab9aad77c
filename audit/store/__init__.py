"""Postgres, as an audit reads it."""
