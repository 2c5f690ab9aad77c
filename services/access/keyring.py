"""API keys that were just looked up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from ledger.store.database import Database
from services.access.keys import Principal, authenticate

REMEMBERED_SECONDS: Final = 1.0
"""How long a key that was revoked by way of another server may still open this one."""

MAX_REMEMBERED: Final = 10_000
"""Keys; some megabytes."""


class KeyRing:
    """Says whom a key stands for, and asks the database about each key at most once a second."""

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._known: dict[str, tuple[Principal, float]] = {}

    def principal(self, key: str) -> Principal:
        """Whom the key stands for. Only keys that hold are remembered.

        Raises:
            UnauthenticatedError: the key is unknown or revoked.
        """
        now = self._monotonic()
        principal, until = self._known.get(key, (None, now))
        if principal is None or now >= until:
            with self._database.reading() as connection:
                principal = authenticate(connection, key)
            if len(self._known) >= MAX_REMEMBERED:
                self.forget()
            self._known[key] = principal, now + REMEMBERED_SECONDS
        return principal

    def forget(self) -> None:
        """Look every key up again: one was revoked."""
        self._known = {}
