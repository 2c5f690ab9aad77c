"""Usage in Postgres: intake, claims of event ids, batches, retractions."""
