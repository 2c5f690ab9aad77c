"""Reversals of money in, and what they do to a round that is not posted yet: it has reserved its pot."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa

from ledger.acts.act import LEDGER
from ledger.acts.entries import Decision, DecisionContent
from ledger.acts.people import People
from ledger.errors import InvalidInputError, LostRaceError, Sentence, StateError
from ledger.income import ReceiptContent, ReversalContent
from ledger.journal import REVENUE
from ledger.store import tables as t
from ledger.store.logs.log import PoolRef
from ledger.store.money import income, journal, movements
from ledger.store.money.movements import RecordedLeaf
from ledger.store.registry.acts import Effect, append_decision
from ledger.store.registry.platforms import platform_number
from payout.entries import RoundContent
from payout.store import rounds


def require_covered(connection: sa.Connection, pool: PoolRef, content: RoundContent) -> None:
    """Check, under the lock on the log's head, that the revenue still has a round's pot.

    Raises:
        LostRaceError: some of it was taken back since it was counted.
    """
    if _revenue(connection, pool) < content.pot_minor:
        raise LostRaceError(f"the revenue of pools/{pool.name}")


def _reverse(connection: sa.Connection, pool: PoolRef, content: ReversalContent, now: datetime) -> RecordedLeaf:
    found = income.find_income(connection, pool, content.reverses)
    if (content.of, content.platform) != (found.content.type, found.platform):
        raise LostRaceError(f"whose leaf {content.reverses} is")
    if content.amount_minor > found.left_minor:
        reason = Sentence(
            "must be at most %(left)s, what is left of it, got %(got)s",
            left=found.left_minor,
            got=content.amount_minor,
        )
        raise InvalidInputError.of("reversal.amount_minor", reason)
    if content.chargeback and content.of != ReceiptContent.type:
        raise InvalidInputError.of("reversal.chargeback", "is of a receipt, not of a report")
    moved = movements.append_movement(connection, pool, content, now)
    number = platform_number(connection, content.platform) if content.platform else None
    row = {
        "pool_id": pool.pool_id,
        "leaf_index": moved.leaf.index,
        "reverses": content.reverses,
        "platform_id": number,
        "amount_minor": content.amount_minor,
    }
    connection.execute(sa.insert(t.reversal).values(row))
    _free_or_refuse(connection, pool, moved, now)
    return moved


def _free_or_refuse(connection: sa.Connection, pool: PoolRef, moved: RecordedLeaf, now: datetime) -> None:
    """Reject the open round if the bank has taken some of its pot; refuse to take it by hand."""
    content: ReversalContent = moved.leaf.content
    open_round = rounds.open_round(connection, pool)
    if open_round is None or _revenue(connection, pool) >= open_round.content.pot_minor:
        return
    number = open_round.content.number
    if not content.chargeback:
        detail = Sentence(
            "round %(round)s has reserved this money; reverse it once the round is posted or rejected",
            round=str(number),
        )
        raise StateError(f"pools/{pool.name}", "MONEY_RESERVED", detail)
    _reject(connection, pool, open_round, moved.leaf.index, content.registry_size, content.people_leaf, now)


def reject_uncovered(connection: sa.Connection, pool: PoolRef, leaf_index: int, people: People, now: datetime) -> None:
    """Reject the open round if a leaf has taken some of its pot: the money is no longer there."""
    open_round = rounds.open_round(connection, pool)
    if open_round is not None and _revenue(connection, pool) < open_round.content.pot_minor:
        _reject(connection, pool, open_round, leaf_index, people.size, people.last_leaf, now)


def _reject(
    connection: sa.Connection,
    pool: PoolRef,
    open_round: rounds.RoundRecord,
    leaf_index: int,
    registry_size: int,
    people_leaf: int,
    now: datetime,
) -> None:
    rejection = DecisionContent(
        by=LEDGER,
        registry_size=registry_size,
        people_leaf=people_leaf,
        subject=open_round.leaf_index,
        subject_hash=open_round.hash.hex(),
        decision=Decision.REJECTED.value,
        reason=f"leaf {leaf_index} took back money of its pot",
    )
    append_decision(connection, pool, rejection, now)


def _revenue(connection: sa.Connection, pool: PoolRef) -> int:
    amount, _ = journal.latest_balance(connection, pool, REVENUE)
    return amount or 0


def _standing(connection: sa.Connection, pool: PoolRef, content: ReversalContent) -> RecordedLeaf | None:
    return movements.standing_movement(connection, pool, content)


def _left(connection: sa.Connection, pool: PoolRef, content: ReversalContent) -> dict[str, str]:
    return {f"leaves/{content.reverses}": str(income.find_income(connection, pool, content.reverses).left_minor)}


REVERSE: Final = Effect(ReversalContent, _reverse, _standing, rests_on=_left)
"""Takes back a report or a receipt, in part or whole, exactly once by request id. Returns a `RecordedLeaf`.

Raises StateError if an open round has reserved the money and the bank has not taken it already, InvalidInputError for
more than is left, NotFoundError if there is no such report or receipt.
"""
