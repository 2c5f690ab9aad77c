"""A cache of API keys that were just looked up."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

import sqlalchemy as sa

from ledger.acts.entries import KeyKind
from ledger.store.postgres.database import Database
from services.access.keys import Caller, UnauthenticatedError, authenticate, authenticate_bound

REMEMBERED_SECONDS: Final = 1.0
"""How long a key that was revoked through another server may still be accepted by this one."""

ANYONE: Final = "anyone"
"""The holder that all callers without a known key share."""

MAX_REMEMBERED: Final = 10_000
"""Keys; a few megabytes."""


class KeyRing:
    """Returns the principal of a key, and asks the database about each key at most once a second."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[tuple[KeyKind, str], tuple[Caller, float]] = {}

    def caller(self, key: str) -> Caller:
        """Returns the principal of the key. Only valid keys are cached.

        Raises:
            UnauthenticatedError: the key is unknown, revoked, or not valid now.
        """
        return self._asked((KeyKind.SECRET, key), lambda connection: authenticate(connection, key, self._clock()))

    def certified(self, certificate: str) -> Caller:
        """Returns the principal of a client certificate, by its hash.

        Raises:
            UnauthenticatedError: no key stands for it, or none that is valid now.
        """
        kind = KeyKind.CERTIFICATE
        ask = partial(authenticate_bound, kind=kind, bound_hash=certificate)
        return self._asked((kind, certificate), lambda connection: ask(connection, now=self._clock()))

    def _asked(self, key: tuple[KeyKind, str], ask: Callable[[sa.Connection], Caller]) -> Caller:
        now = self._monotonic()
        caller, until = self._known.get(key, (None, now))
        if caller is not None and caller.expires_at and self._clock() >= caller.expires_at:
            raise UnauthenticatedError
        if caller is None or now >= until:
            with self._database.reading() as connection:
                caller = ask(connection)
            if len(self._known) >= MAX_REMEMBERED:
                self.forget()
            self._known[key] = caller, now + REMEMBERED_SECONDS
        return caller

    def holder(self, key: str, certificate: str = "") -> str:
        """Whose a key, or a certificate, was when it was last looked up, without asking the database.

        It is "anyone" for what was not. It says in whose queue a call waits, and nothing of what it may do.
        """
        known = (KeyKind.SECRET, key) if key else (KeyKind.CERTIFICATE, certificate)
        caller, _ = self._known.get(known, (None, 0.0))
        return caller.principal.name if caller else ANYONE

    def forget(self) -> None:
        """Look every key up again, because one was revoked."""
        self._known = {}
