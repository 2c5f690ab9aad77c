"""Objections to rounds and what was answered, in Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ledger.errors import LostRaceError, NotFoundError
from ledger.log.leaves import Leaf, decode
from ledger.store import tables as lt
from ledger.store.logs import log
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.conflicts import taken_keys
from payout.objections import Answer, AnswerContent, ObjectionContent
from payout.store import tables as t


@dataclass(frozen=True, slots=True)
class ObjectionRecord:
    """An objection, with what was answered, if anything."""

    hash: bytes
    objection: Leaf[ObjectionContent]
    answer: Leaf[AnswerContent] | None

    @property
    def collective(self) -> str:
        """The id of the collective that objects."""
        return self.objection.content.collective


def list_objections(
    connection: sa.Connection,
    pool: PoolRef,
    number: int,
    *,
    only: str | None = None,
    after: str = "",
    limit: int | None = None,
) -> Iterator[ObjectionRecord]:
    """The objections to a round by collective, from beyond the collective `after`; of one collective or of all."""
    objected, answered = lt.leaf.alias("objected"), lt.leaf.alias("answered")
    collective = t.objection.c.collective.collate("C")
    same = (
        (t.answer.c.pool_id == t.objection.c.pool_id)
        & (t.answer.c.number == t.objection.c.number)
        & (t.answer.c.collective == t.objection.c.collective)
    )
    query = (
        sa.select(objected.c.entry, objected.c.hash, answered.c.entry.label("answer"))
        .select_from(t.objection)
        .join(objected, _at(objected, t.objection))
        .outerjoin(t.answer, same)
        .outerjoin(answered, _at(answered, t.answer))
        .where(t.objection.c.pool_id == pool.pool_id, t.objection.c.number == number, collective > after)
        .order_by(collective)
        .limit(limit)
    )
    if only is not None:
        query = query.where(t.objection.c.collective == only)
    for row in connection.execute(query):
        answer = decode(bytes(row.answer), {AnswerContent.type: AnswerContent}) if row.answer else None
        objection = decode(bytes(row.entry), {ObjectionContent.type: ObjectionContent})
        yield ObjectionRecord(bytes(row.hash), objection, answer)


def get_objection(connection: sa.Connection, pool: PoolRef, number: int, collective: str) -> ObjectionRecord:
    """A collective's objection to a round.

    Raises:
        NotFoundError: there is none.
    """
    for found in list_objections(connection, pool, number, only=collective):
        return found
    raise NotFoundError(f"pools/{pool.name}/rounds/{number}/objections/{collective}")


def open_objections(connection: sa.Connection, pool: PoolRef, number: int) -> list[str]:
    """The collectives whose objections to a round nobody has answered."""
    return [each.collective for each in list_objections(connection, pool, number) if each.answer is None]


def set_aside(connection: sa.Connection, pool: PoolRef, number: int) -> list[str]:
    """The collectives whose objections to a round were set aside, sorted."""
    return [
        each.collective
        for each in list_objections(connection, pool, number)
        if each.answer and each.answer.content.answer == Answer.SET_ASIDE
    ]


def append_objection(connection: sa.Connection, pool: PoolRef, content: ObjectionContent, now: datetime) -> None:
    """Append an objection's leaf, and its row.

    Raises:
        LostRaceError: the collective objected to the round before.
    """
    _append(connection, pool, t.objection, content, now)


def append_answer(connection: sa.Connection, pool: PoolRef, content: AnswerContent, now: datetime) -> None:
    """Append an answer's leaf, and its row.

    Raises:
        LostRaceError: the objection was answered before.
    """
    _append(connection, pool, t.answer, content, now)


def _append(
    connection: sa.Connection, pool: PoolRef, table: sa.Table, content: ObjectionContent | AnswerContent, now: datetime
) -> None:
    (leaf,) = log.append(connection, pool, [content], now)
    row = {"number": content.round, "collective": content.collective, "leaf_index": leaf.index}
    with taken_keys(lambda _: LostRaceError(f"the objection of {content.collective} to round {content.round}")):
        connection.execute(sa.insert(table).values(pool_id=pool.pool_id, **row))


def _at(leaf: Any, table: sa.Table) -> Any:
    return (leaf.c.pool_id == table.c.pool_id) & (leaf.c.leaf_index == table.c.leaf_index)
