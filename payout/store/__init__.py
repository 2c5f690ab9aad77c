"""Policies, rounds and schedules in Postgres: projections of the log, and when rounds are cut."""
