"""A log as static files: hashes and entries in tiles, and the path of each file."""
