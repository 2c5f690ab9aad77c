"""Asking about every pool, where one of them may be out of reach: its node is lost, and the others' are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import sqlalchemy as sa

from ledger.errors import StoreUnavailableError
from ledger.store import registry
from ledger.store.database import Database
from ledger.store.log import PoolRef

T = TypeVar("T")

Ask = Callable[[sa.Connection, Sequence[PoolRef]], list[T]]
"""Asks about some pools in one query, which joins no table of the registry."""


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """What was found, and the pools that could not be asked about."""

    found: list[T]
    missed: list[PoolRef] = field(default_factory=list)


def ask_each(database: Database, ask: Ask[T]) -> Answers[T]:
    """Ask about all pools at once, and pool by pool where that fails because a node of the database is away.

    Raises:
        StoreUnavailableError: the database itself, or its registry, cannot be reached.
    """
    with database.reading() as connection:
        pools = registry.pool_refs(connection)
    try:
        with database.reading() as connection:
            return Answers(ask(connection, pools))
    except StoreUnavailableError:
        with database.reading() as connection:
            registry.pool_refs(connection)
    answers: Answers[T] = Answers([])
    for pool in pools:
        try:
            with database.reading() as connection:
                answers.found.extend(ask(connection, [pool]))
        except StoreUnavailableError:
            answers.missed.append(pool)
    return answers
