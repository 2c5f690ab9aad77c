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

from ledger.acts.act import ActContent
from ledger.acts.controls import Controls
from ledger.acts.entries import Decision, Founder, KeyContent, PrincipalContent
from ledger.acts.people import Actor
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.database import Database
from ledger.store.registry.acts import Ruling
from moiety import Client
from moiety.keys import NewKey, make_key
from services.access.founding import Founding, found, is_founded
from services.access.keys import parse_hash
from services.process.host import Running, serving
from services.settings import Settings, load_settings
from tests.support.engines import engine_at

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
        # Files are copied in two thirds of the time that their blocks take one by one, through the write-ahead log.
        connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield postgres.url.set(database=name).render_as_string(hide_password=False)
    with postgres.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def as_owner(url: str) -> Iterator[sa.Connection]:
    """A transaction of the database's owner."""
    engine = engine_at(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@dataclass(frozen=True)
class FirstOperator:
    """One of the two operators by whom every deployment of a test is founded, with a key that nobody has."""

    name: str
    key: NewKey

    @property
    def actor(self) -> Actor:
        return Actor(self.name, self.key.key_id)

    @property
    def founder(self) -> Founder:
        key_id, secret_hash = parse_hash(self.key.hash, "hash")
        return Founder(operator=self.name, key_id=key_id, secret_hash=secret_hash)


FOUNDERS: Final = (
    FirstOperator("operators/olive", NewKey("1" * 16, "1" * 43)),
    FirstOperator("operators/otto", NewKey("2" * 16, "2" * 43)),
)


def issue_key(operator: Client, principal: str) -> tuple[str, str]:
    """The id and the text of a new key that an operator issues."""
    made = make_key()
    operator.create_api_key(principal, made.hash)
    return made.key_id, made.text


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
        """A new key for a principal, which is registered if it is an operator or auditor that is not yet."""
        key = make_key()
        key_id, secret_hash = parse_hash(key.hash, "hash")
        if principal.startswith(("operators/", "auditors/")):
            self.act(PrincipalContent(principal=principal, status="ACTIVE"))
        self.act(KeyContent(key_id=key_id, principal=principal, secret_hash=secret_hash))
        return key.text

    def act(self, content: ActContent) -> None:
        """Have the founders do something about the registry: the first, or both where it needs two people."""
        acts = self.running.parts.acts
        with self.running.parts.database.transaction() as connection:
            outcome = acts.perform(connection, REGISTRY, content, FOUNDERS[0].actor)
            if outcome.proposal:
                approved = Ruling(Decision.APPROVED, FOUNDERS[1].actor)
                acts.decide(connection, REGISTRY, outcome.proposal.leaf_index, approved)

    def client(self, principal: str = "operators/olive") -> Client:
        """A client with a new key of the principal's."""
        return self._stack.enter_context(Client(self.address, self.key(principal)))


def found_for_tests(
    database_url: str, clock: SteppedClock, controls: Controls | None = None, *, pooler: bool = False
) -> None:
    """Found the deployment on a database by the two founders, unless it was."""
    founding = Founding("log.example", [each.founder for each in FOUNDERS], controls or Controls.of_one())
    database = Database(database_url, connections=2, pooler=pooler, clock=clock)
    with database.transaction() as connection:
        if not is_founded(connection):
            found(connection, founding)
    database.close()


@contextmanager
def deployed(
    database_url: str, clock: SteppedClock, *, controls: Controls | None = None, **overrides: object
) -> Iterator[Deployment]:
    """The service running on a database, founded by two operators; one person may do anything unless told otherwise."""
    found_for_tests(database_url, clock, controls, pooler=bool(overrides.get("database_pooler")))
    chosen = {"database_url": database_url, "listen": "127.0.0.1:0", "drain_seconds": 2.0, **overrides}
    settings = load_settings(**chosen)
    with serving(settings, clock=clock) as running, ExitStack() as clients:
        yield Deployment(running, settings, clock, clients)
