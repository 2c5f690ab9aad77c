"""Real parts for tests: databases of their own, and the service on a real socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Final

import sqlalchemy as sa

from moiety import Client
from services.access import keys
from services.access.keys import Principal
from services.process.host import Running, serving
from services.settings import Settings, load_settings

TEMPLATE: Final = "moiety_template"
START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class SteppedClock:
    """A clock that stands still until it is told."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


_numbers = count()


@contextmanager
def fresh_database(postgres: sa.Engine, *, template: str = f"{TEMPLATE}_{os.getpid()}") -> Iterator[str]:
    """A database of its own, migrated like the template, as its owner reaches it."""
    name = f"moiety_test_{os.getpid()}_{next(_numbers)}"
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield postgres.url.set(database=name).render_as_string(hide_password=False)
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class Deployment:
    """A running service, and clients of it."""

    running: Running
    settings: Settings
    clock: SteppedClock
    _stack: ExitStack

    @property
    def address(self) -> str:
        return self.running.address

    def key(self, principal: str) -> str:
        """A new key for a principal."""
        with self.running.parts.database.transaction() as connection:
            return keys.issue_key(connection, Principal.parse(principal), self.clock())[1]

    def client(self, principal: str = "operators/olive") -> Client:
        """A client with a new key of the principal's."""
        return self._stack.enter_context(Client(self.address, self.key(principal)))


@contextmanager
def deployed(database_url: str, clock: SteppedClock, **overrides: object) -> Iterator[Deployment]:
    """The service running on a database."""
    chosen = {"database_url": database_url, "listen": "127.0.0.1:0", "drain_seconds": 2.0, **overrides}
    settings = load_settings(**chosen)
    with serving(settings, clock=clock) as running, ExitStack() as clients:
        yield Deployment(running, settings, clock, clients)
