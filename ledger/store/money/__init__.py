"""Money in Postgres: what came in, what moved, and the journal of transfers and balances."""
