"""The registry in Postgres: acts, who may act, platforms and collectives."""
