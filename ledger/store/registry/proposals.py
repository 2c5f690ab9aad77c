"""Proposals in Postgres: acts that wait for a second person, with what was decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from ledger.acts.act import ActContent
from ledger.acts.entries import DecisionContent, ProposalContent
from ledger.acts.people import PROPOSAL_LIFETIME
from ledger.errors import NotFoundError
from ledger.log.leaves import Leaf, decode
from ledger.store import tables as t
from ledger.store.logs import log
from ledger.store.logs.log import REGISTRY, PoolRef, log_name
from ledger.store.postgres.transactions import read_time


class ProposalState(StrEnum):
    """The state of a proposal."""

    OPEN = "OPEN"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"
    LAPSED = "LAPSED"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal with its state. `log` is the pool whose log it is in, or `registry`."""

    log: PoolRef
    leaf_index: int
    hash: bytes
    time: datetime
    content: ProposalContent
    state: ProposalState
    decision: Leaf[DecisionContent] | None


def get_proposal(connection: sa.Connection, pool: PoolRef, leaf_index: int, *, at: datetime | None = None) -> Proposal:
    """Returns a proposal by its leaf, in its state at a time, or at the database's.

    Raises:
        NotFoundError: the leaf is not a proposal's.
    """
    for found in list_proposals(connection, pool, after=leaf_index - 1, limit=1, at=at):
        if found.leaf_index == leaf_index:
            return found
    raise NotFoundError(proposal_name(pool, leaf_index))


def list_proposals(
    connection: sa.Connection,
    pool: PoolRef,
    *,
    only_open: bool = False,
    after: int = -1,
    limit: int | None = None,
    at: datetime | None = None,
) -> Iterator[Proposal]:
    """Returns a log's proposals in log order, after the leaf `after`, in their state at a time, or at the database's.

    Acts pass the time of their leaves, which is later where the clock was set back.
    """
    now = at or read_time(connection)
    if only_open:
        after = _past_lapsed(connection, pool, after, now)
    for row in connection.execute(_proposals(pool, after, limit, only_undecided=only_open)).all():
        yield _proposal(pool, row, now)


def waiting_acts(connection: sa.Connection, kind: type[ActContent], **about: str) -> Iterator[Proposal]:
    """Yields the open proposals of a kind of act of the registry whose content says this, and locks its log's head."""
    for found in list_proposals(connection, REGISTRY, only_open=True, at=log.lock_head(connection, REGISTRY)):
        made = found.content
        if made.effect == kind.type and all(made.content[field] == value for field, value in about.items()):
            yield found


def proposal_name(pool: PoolRef, leaf_index: int) -> str:
    """The resource name of a proposal."""
    return f"{log_name(pool)}/proposals/{leaf_index}"


def _at(leaf: Any, pool_id: Any, index: Any) -> Any:
    return (leaf.c.pool_id == pool_id) & (leaf.c.leaf_index == index)


def _past_lapsed(connection: sa.Connection, pool: PoolRef, after: int, now: datetime) -> int:
    """Returns the leaf behind which all undecided proposals are open: those that lapsed stay undecided, come first, and
    are more and more. It is `after` unless one lapsed behind it.
    """
    oldest = connection.execute(_proposals(pool, after, 1, only_undecided=True)).first()
    if oldest is None or _proposal(pool, oldest, now).state is ProposalState.OPEN:
        return after
    return log.first_since(connection, pool, now - PROPOSAL_LIFETIME) - 1


def _proposals(pool: PoolRef, after: int, limit: int | None, *, only_undecided: bool) -> sa.Select[Any]:
    """The proposals behind a leaf with what was decided, in log order; of all or of the undecided ones."""
    proposed, decided = t.leaf.alias("proposed"), t.leaf.alias("decided")
    query = (
        sa.select(proposed.c.leaf_index, proposed.c.entry, proposed.c.hash, decided.c.entry.label("decision"))
        .select_from(t.proposal)
        .join(proposed, _at(proposed, t.proposal.c.pool_id, t.proposal.c.leaf_index))
        .outerjoin(
            t.decision,
            (t.decision.c.pool_id == t.proposal.c.pool_id) & (t.decision.c.subject == t.proposal.c.leaf_index),
        )
        .outerjoin(decided, _at(decided, t.decision.c.pool_id, t.decision.c.leaf_index))
        .where(t.proposal.c.pool_id == pool.pool_id, t.proposal.c.leaf_index > after)
        .order_by(t.proposal.c.leaf_index)
        .limit(limit)
    )
    return query.where(t.decision.c.leaf_index.is_(None)) if only_undecided else query


def _proposal(pool: PoolRef, row: Any, now: datetime) -> Proposal:
    leaf = decode(bytes(row.entry), {ProposalContent.type: ProposalContent})
    decision = decode(bytes(row.decision), {DecisionContent.type: DecisionContent}) if row.decision else None
    if decision:
        state = ProposalState(decision.content.decision)
    else:
        state = ProposalState.LAPSED if now - leaf.time > PROPOSAL_LIFETIME else ProposalState.OPEN
    return Proposal(pool, leaf.index, bytes(row.hash), leaf.time, leaf.content, state, decision)
