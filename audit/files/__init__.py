"""A pool's log as static files: where they are on this machine, and how an audit reads them.

`folders` and `archives` provide the files, `static_log` reads a log from them, and `spills` keeps what does not fit in
memory.
"""
