"""A log as static files: hashes and entries in tiles, and where each file lies."""
