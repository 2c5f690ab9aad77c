"""The append-only log: entries, the Merkle tree over them, and what is signed about it."""
