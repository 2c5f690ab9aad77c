"""A pool's log as static files, for anyone to keep and to verify (docs/verification.md).

`folders` brings a folder up to date, `bundles` writes one archive; `audit.files` reads both.
"""
