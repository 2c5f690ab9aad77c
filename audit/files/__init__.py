"""A pool's log as static files: where they lie on this machine, and how an audit reads them.

`folders` and `archives` hand over the files,
`static_log` reads a log from them, `spills` keeps what memory has no room for.
"""
