"""Queries about every pool, some of which may be unreachable: if a node is lost, only its pools are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import sqlalchemy as sa

from ledger.errors import StoreUnavailableError
from ledger.store.logs.log import PoolRef
from ledger.store.pools.pools import pool_refs
from ledger.store.postgres.database import Database

T = TypeVar("T")

Ask = Callable[[sa.Connection, Sequence[PoolRef]], list[T]]
"""Queries some pools at once, without joining a table of the registry."""


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """What was found, and the pools that could not be reached."""

    found: list[T]
    missed: list[PoolRef] = field(default_factory=list)


def ask_each(database: Database, ask: Ask[T]) -> Answers[T]:
    """Query all pools at once, or pool by pool if that fails because a node of the database is unavailable.

    Raises:
        StoreUnavailableError: the database itself, or its registry, cannot be reached.
    """
    with database.reading() as connection:
        pools = pool_refs(connection)
    try:
        with database.reading() as connection:
            return Answers(ask(connection, pools))
    except StoreUnavailableError:
        with database.reading() as connection:
            pool_refs(connection)
    answers: Answers[T] = Answers([])
    for pool in pools:
        try:
            with database.reading() as connection:
                answers.found.extend(ask(connection, [pool]))
        except StoreUnavailableError:
            answers.missed.append(pool)
    return answers
