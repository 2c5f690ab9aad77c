"""The review of rounds in Postgres: objecting, answering, and what a posting waits for.

Everything here is asked and done under the lock on the log's head, so that no objection comes between being looked for
and the posting that rests on there being none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from ledger.acts.act import SCHEDULER
from ledger.acts.controls import TWO, Kind
from ledger.acts.people import Actor, People
from ledger.errors import Sentence, StateError
from ledger.store.desk.pace import Pace
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.transactions import read_time
from payout.objections import MAX_SET_ASIDE, Answer, AnswerContent, ObjectionContent, review_ends
from payout.policy import Approval, Policy
from payout.statement import parse_statement
from payout.store import objections, rounds
from payout.store.objections import ObjectionRecord
from payout.store.round_tables import lines_of_table
from payout.store.rounds import RoundRecord, RoundState
from payout.store.windows import Window, find_window

REJECTED: Final = Pace("rejected_rounds_per_day", 24, timedelta(days=1))
"""Of one pool, before no other round is calculated by hand: each is told to every collective in it, and its tables stay
for ever. Whoever tries something out has the preview."""

_LOOKED_AT: Final = 100
"""Rounds among which the rejected ones are looked for: the others took new usage and new money."""

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Said:
    """Who says something of a round, as of now: the actor, who may act, and the time."""

    actor: Actor
    people: People
    now: datetime


def round_name(pool: PoolRef, number: int) -> str:
    """The resource name of a round."""
    return f"pools/{pool.name}/rounds/{number}"


def require_pace(connection: sa.Connection, pool: PoolRef) -> None:
    """Check that not too many rounds of a pool were rejected lately for another one to be asked for by hand.

    Raises:
        QuotaError: there were.
    """
    last = rounds.list_rounds(connection, pool, after=rounds.AFTER_ALL, limit=_LOOKED_AT, newest_first=True)
    rejected = [each.decided_at for each in last if each.state is RoundState.REJECTED]
    before = rejected[REJECTED.most - 1] if len(rejected) >= REJECTED.most else None
    REJECTED.require(f"pools/{pool.name}", before, read_time(connection))


def require_calculated(pool: PoolRef, record: RoundRecord) -> None:
    """Check that a round waits for its decision.

    Raises:
        StateError: it is decided.
    """
    if record.state is not RoundState.CALCULATED:
        name = round_name(pool, record.content.number)
        raise StateError(name, "ROUND_DECIDED", "is %(state)s already", state=record.state.value)


def require_in_statement(connection: sa.Connection, pool: PoolRef, record: RoundRecord, collective: str) -> None:
    """Check that a round says something of a collective.

    Raises:
        StateError: it was registered later.
    """
    digest = bytes.fromhex(record.content.statement_sha256)
    if not parse_statement(lines_of_table(connection, pool, digest, collective).table):
        name = round_name(pool, record.content.number)
        raise StateError(
            name,
            "NOT_IN_ROUND",
            "has no line of %(collective)s, which was registered later",
            collective=f"collectives/{collective}",
        )


def require_reviewed(
    connection: sa.Connection, pool: PoolRef, record: RoundRecord, policy: Policy, now: datetime
) -> Window | None:
    """Check that a round's review is over and that no objection is open; returns its window if witnesses time it.

    Raises:
        StateError: one of these is not so.
    """
    name, ends = round_name(pool, record.content.number), review_ends(record.calculated_at, policy)
    if now < ends:
        raise StateError(name, "REVIEW_RUNS", "can be approved from %(time)s on, when its review is over", time=ends)
    window = find_window(connection, pool, record, policy)
    if window is not None and window.ended is None:
        detail = Sentence("waits until the witnesses have cosigned the log with it, which begins its review")
        if window.ends:
            detail = Sentence("waits until the witnesses have cosigned the log after %(time)s", time=window.ends)
        raise StateError(name, "REVIEW_RUNS", detail)
    if waiting := objections.open_objections(connection, pool, record.content.number):
        names, more = ", ".join(waiting[:_SHOWN]), len(waiting) - _SHOWN
        said = Sentence("has objections that nobody has answered, of %(names)s", names=names)
        if more > 0:
            said = Sentence(
                "has objections that nobody has answered, of %(names)s and %(more)s more", names=names, more=more
            )
        raise StateError(name, "OBJECTION_OPEN", said)
    return window


def is_over(connection: sa.Connection, pool: PoolRef, record: RoundRecord, policy: Policy, now: datetime) -> bool:
    """Whether a round's review is over: by the database's clock, and by the witnesses' if they time it."""
    if now < review_ends(record.calculated_at, policy):
        return False
    window = find_window(connection, pool, record, policy)
    return window is None or window.ended is not None


def may_post_by_silence(
    connection: sa.Connection, pool: PoolRef, record: RoundRecord, policy: Policy, now: datetime
) -> bool:
    """Whether a round that was cut by schedule is approved by its policy now: nobody objected, and the time is over."""
    return (
        policy.approval is Approval.SILENCE
        and record.content.by == SCHEDULER
        and is_over(connection, pool, record, policy, now)
        and next(objections.list_objections(connection, pool, record.content.number, limit=1), None) is None
    )


def put_objection(
    connection: sa.Connection, pool: PoolRef, record: RoundRecord, policy: Policy, said: Said, reason: str
) -> ObjectionRecord:
    """Append a collective's objection to a round. The same again is a no-op.

    Raises:
        StateError: the round is decided or its review is over; or the collective objected before, for another reason;
            or its key does not hold.
    """
    number, name = record.content.number, round_name(pool, record.content.number)
    unsigned = ObjectionContent(round=number, round_hash=record.hash.hex(), reason=reason)
    content = said.actor.stamp(unsigned, said.people)
    said.people.require_actor(content, said.now, pool.name)
    for existing in objections.list_objections(connection, pool, number, only=content.collective):
        if existing.objection.content.reason != reason:
            raise StateError(name, "OBJECTED", "has an objection of %(by)s, and each collective has one", by=content.by)
        return existing
    require_calculated(pool, record)
    if is_over(connection, pool, record, policy, said.now):
        raise StateError(name, "REVIEW_OVER", "can no longer be objected to: its review is over")
    objections.append_objection(connection, pool, content, said.now)
    return objections.get_objection(connection, pool, number, content.collective)


def put_answer(
    connection: sa.Connection, pool: PoolRef, record: RoundRecord, said: Said, content: AnswerContent
) -> ObjectionRecord:
    """Append the answer to an objection; the content's hash is filled in. The same again by the same is a no-op.

    Raises:
        NotFoundError: the collective did not object.
        StateError: the round is decided; the objection was answered otherwise; too many are set aside; or the actor may
            not act, or calculated the round where that takes a second person.
    """
    number = record.content.number
    found = objections.get_objection(connection, pool, number, content.collective)
    if found.answer is not None:
        made = found.answer.content
        if (made.answer, made.by) == (content.answer, said.actor.name):
            return found
        raise StateError(
            round_name(pool, number), "OBJECTION_ANSWERED", "has answered it: %(answer)s", answer=made.answer
        )
    require_calculated(pool, record)
    stamped = said.actor.stamp(content.model_copy(update={"objection_hash": found.hash.hex()}), said.people)
    said.people.require_actor(stamped, said.now, pool.name)
    if record.content.by != SCHEDULER and said.people.controls.needed(Kind.ROUNDS) == TWO:
        said.people.require_second(record.content, stamped)
    if content.answer == Answer.SET_ASIDE and len(objections.set_aside(connection, pool, number)) >= MAX_SET_ASIDE:
        detail = Sentence(
            "has %(most)s amounts set aside; uphold the objection and calculate again", most=MAX_SET_ASIDE
        )
        raise StateError(round_name(pool, number), "TOO_MANY_SET_ASIDE", detail)
    objections.append_answer(connection, pool, stamped, said.now)
    return objections.get_objection(connection, pool, number, content.collective)
