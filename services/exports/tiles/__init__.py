"""A pool's log as static files, for anyone to keep and to verify (docs/verification.md).

`source` asks the service, `folders` brings a folder up to date, `bundles` writes one archive; `archives` reads both.
"""
