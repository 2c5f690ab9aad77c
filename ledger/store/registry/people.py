"""Who may act, read from the registry's log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Final, cast

import sqlalchemy as sa

from ledger.acts.entries import PrincipalContent, PrincipalStatus
from ledger.acts.people import PEOPLE_KINDS, People
from ledger.errors import StateError
from ledger.log.leaves import Content, Leaf, decode
from ledger.store import tables as t
from ledger.store.logs.log import REGISTRY
from ledger.store.postgres.transactions import ask


def read_people(connection: sa.Connection, size: int | None = None) -> People:
    """Returns who may act, as of now, or after the first `size` leaves of the registry's log.

    Raises:
        StateError: the deployment was never founded.
    """
    head = ask(connection, _REGISTRY_HEAD, (REGISTRY.pool_id,)).fetchone()
    now_size, last_time = cast("tuple[int, datetime]", head or (0, None))
    if not now_size:
        raise StateError("the deployment", "NOT_FOUNDED", "has no operators yet; run `moiety db found`")
    people = People()
    for leaf in _people_leaves(connection, now_size if size is None else size):
        people.take_in(leaf)
    if size is None:
        people.size, people.time = now_size, last_time
    return people


def leaves_about_operators(connection: sa.Connection, size: int) -> list[int]:
    """Returns the leaves about operators among the first `size` of the registry's log, which acts name as a chain."""
    people, found = People(), []
    for leaf in _people_leaves(connection, size):
        people.take_in(leaf)
        if people.last_leaf == leaf.index:
            found.append(leaf.index)
    return found


def _people_leaves(connection: sa.Connection, size: int) -> Iterator[Leaf[Content]]:
    rows = ask(connection, _PEOPLE, (REGISTRY.pool_id, size)).fetchall()
    for (entry,) in cast("list[tuple[bytes]]", rows):
        yield decoded(entry)


# Every act reads all of them, of which most are keys and stay the same: decoding takes most of the time. What is kept
# are bytes and what they mean, so that nothing is taken for known that the database did not just say.
@lru_cache(maxsize=20_000)
def decoded(entry: bytes) -> Leaf[Content]:
    """Returns the leaf of an entry about people."""
    return decode(entry, PEOPLE_KINDS)


# Raw SQL: every act asks who may act, and SQLAlchemy takes longer to send it than Postgres to run it.
_REGISTRY_HEAD: Final = "SELECT size, last_time FROM head WHERE pool_id = %s"
_PEOPLE: Final = """
SELECT entry FROM people JOIN leaf ON leaf.pool_id = people.pool_id AND leaf.leaf_index = people.leaf_index
WHERE people.pool_id = %s AND people.leaf_index < %s ORDER BY people.leaf_index
"""


def is_suspended(connection: sa.Connection, principal: str) -> bool:
    """Returns whether an operator or auditor is suspended, without reading everybody's leaves."""
    on = (t.leaf.c.pool_id == t.people.c.pool_id) & (t.leaf.c.leaf_index == t.people.c.leaf_index)
    query = (
        sa.select(t.leaf.c.entry)
        .join_from(t.people, t.leaf, on)
        .where(t.people.c.pool_id == REGISTRY.pool_id, t.people.c.principal == principal)
        .order_by(t.people.c.leaf_index.desc())
        .limit(1)
    )
    entry = connection.execute(query).scalar()
    if entry is None:  # a founder, of whom nothing was said since
        return False
    said = decode(bytes(entry), {PrincipalContent.type: PrincipalContent}).content
    return said.status == PrincipalStatus.SUSPENDED
