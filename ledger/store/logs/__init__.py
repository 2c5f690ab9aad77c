"""Logs in Postgres: their leaves and bodies, their checkpoints, proofs, and what the signer found of them."""
