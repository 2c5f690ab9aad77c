"""`python -m services.cli` is the `moiety` command."""

from __future__ import annotations

from services.cli.entry import main

main()
