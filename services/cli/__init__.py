"""The `moiety` command: a client of the service, and the commands that run it. `app` lists them; `main` runs
one.
"""

from __future__ import annotations

from services.cli.app import app, main

__all__ = ["app", "main"]
