"""Settlement: calculating, deciding and posting rounds, one actor at a time.

Every step is one transaction in the pool's turn for rounds, so a crash never leaves a round between two steps.
Approval and posting are one step: an approved round is a posted one.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from ledger.acts.act import POLICY, SCHEDULER, ActContent, without_salt
from ledger.acts.controls import ONE, Kind
from ledger.acts.entries import Decision, DecisionContent
from ledger.acts.people import Actor, People
from ledger.errors import IdentityReusedError, InvalidInputError, Sentence, StateError
from ledger.log.leaves import Leaf
from ledger.money import require_sum
from ledger.registry import require_text
from ledger.store.logs import log, signing
from ledger.store.logs.bodies import Bodies
from ledger.store.logs.log import PoolRef
from ledger.store.money import journal
from ledger.store.pools import turns
from ledger.store.pools.turns import Turn
from ledger.store.postgres.database import Database
from ledger.store.postgres.transactions import computing, read_time
from ledger.store.registry.acts import MAX_REASON, Ruling, Subject, append_decision, begin, record_decision
from payout import review
from payout.adjustments import recouped_by
from payout.calculation import Asked, Calculation
from payout.dossiers import SALT_BYTES
from payout.entries import (
    FireTimes,
    PostingContent,
    RoundContent,
    posting_transfers,
)
from payout.objections import Answer, AnswerContent
from payout.periods import Waiting
from payout.policy import Policy
from payout.review import Said
from payout.rounds import Line, Nothing
from payout.schedule import due_fire_times
from payout.splits import SplitContent
from payout.statement import parse_statement
from payout.store import adjustments, objections, rounds, schedules, splits
from payout.store.calculation import next_round, past_round, still_holds
from payout.store.objections import ObjectionRecord
from payout.store.policies import get_policy
from payout.store.rereading import Proposed
from payout.store.reversals import require_covered
from payout.store.round_tables import lines_of_table
from payout.store.rounds import RoundRecord, RoundState
from payout.store.schedules import PoolSchedule
from payout.store.windows import Window, find_window


@dataclass(frozen=True, slots=True)
class _Posted:
    """What a posting follows from besides its round: the policy, the statement's lines, and what its review left.

    window: when the review was, if witnesses time it; aside: the collectives whose objections were set aside, sorted.
    """

    policy: Policy
    lines: Sequence[Line]
    window: Window | None = None
    aside: Sequence[str] = ()


_ROUND_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")


class Settlement:
    """What operators and the scheduler do with rounds."""

    def __init__(self, database: Database, bodies: Bodies) -> None:
        self._database, self._bodies = database, bodies

    def preview(
        self, pool: PoolRef, *, number: int = 0, policy: Policy | None = None, act: ActContent | None = None
    ) -> Calculation:
        """Returns the round that `calculate` would make now, or a past one again: under another policy if one is given,
        or as an act would have it.

        Nothing is recorded.

        Raises:
            StateError: the act would have a round read again that is too large for it, or cannot be read so.
        """
        proposed = Proposed(act, self._bodies) if act else None
        with self._database.snapshot() as connection:
            if number:
                return past_round(connection, pool, number, policy=policy, proposed=proposed)
            now = read_time(connection)
            return next_round(connection, pool, Asked(), now, policy=policy, proposed=proposed)[0]

    def calculate(self, pool: PoolRef, actor: Actor, request_id: str) -> RoundRecord:
        """Calculate the next round; repeating the request returns the same round.

        Raises:
            StateError: a round is open, there is nothing to distribute, the actor may not act, or the log is not known
                to extend what was signed.
            QuotaError: too many rounds of the pool were rejected lately.
            IdentityReusedError: another operator used the request id.
        """
        with self._database.transaction() as connection:
            turns.take(connection, pool, Turn.ROUNDS)
            if existing := rounds.find_request(connection, pool, request_id):
                if existing.content.by != actor.name:
                    raise IdentityReusedError.of("request_id", "was used by another operator")
                return existing
            signing.require_sound(connection, pool)
            _require_no_open_round(connection, pool)
            review.require_pace(connection, pool)
            asked = Asked(request_id, salt=secrets.token_bytes(SALT_BYTES))
            calculation, waiting = _next_round(connection, pool, asked)
            if waiting:
                raise StateError(f"pools/{pool.name}", "NOTHING_TO_DISTRIBUTE", _why(waiting))
            return self._record(connection, pool, calculation, actor, None)

    def calculate_due(self, pool: PoolRef, now: datetime) -> RoundRecord | None:
        """Calculate the round that the schedule asks for, once for all fire times up to `now` without a round.

        Returns None if none is due, the schedule is paused, a round is open, or another process is at work on the pool;
        and where there is nothing to distribute: then the fire times pass, and the schedule says why.

        Raises:
            StateError: the schedule was changed meanwhile.
        """
        with self._database.transaction() as connection:
            if not turns.try_take(connection, pool, Turn.ROUNDS):
                return None
            schedule = schedules.get_schedule(connection, pool)
            if schedule.paused or schedule.open_round:
                return None
            signing.require_sound(connection, pool)  # first: the fire times may be months of minutes
            due = due_fire_times(schedule, min(now, read_time(connection)))
            if due is None:
                return None
            fire_times = FireTimes(first=_rfc3339(due.first), last=_rfc3339(due.last), count=due.count)
            # A colon keeps these apart from every request id that a caller may choose.
            asked = Asked(f"fire:{fire_times.last}", fire_times, secrets.token_bytes(SALT_BYTES))
            calculation, waiting = _next_round(connection, pool, asked)
            if waiting:
                schedules.skip(connection, pool, due.last, waiting.because)
                logger.info("no round of pool %s at %s: %s", pool.name, fire_times.last, _why(waiting))
                return None
            return self._record(connection, pool, calculation, _BY_SCHEDULE, due.last, schedule)

    def approve(self, pool: PoolRef, number: int, actor: Actor) -> RoundRecord:
        """Approve a calculated round and post it. Repeating it as the same operator changes nothing.

        Raises:
            StateError: it was decided already; its review is not over; the actor may not act, or calculated it and
                the controls require two people; or the log is not known to extend what was signed.
        """
        return self._rule(pool, number, Ruling(Decision.APPROVED, actor))

    def reject(self, pool: PoolRef, number: int, actor: Actor, reason: str) -> RoundRecord:
        """Reject a calculated round, with a reason. Repeating it as the same operator changes nothing.

        Raises:
            StateError: it was decided already, or the actor may not act.
        """
        require_text(reason, "reason", least=1, most=MAX_REASON)
        return self._rule(pool, number, Ruling(Decision.REJECTED, actor, reason))

    def object_to(self, pool: PoolRef, number: int, actor: Actor, reason: str) -> ObjectionRecord:
        """Object to a calculated round as a collective, before its review is over. The same again is a no-op.

        Raises:
            StateError: the round is decided, its review is over, or it says nothing of the collective; the collective
                objected before; or its key does not hold.
        """
        require_text(reason, "reason", least=1, most=MAX_REASON)
        with self._database.transaction() as connection:
            calculated = rounds.get_round(connection, pool, number)
            review.require_in_statement(connection, pool, calculated, actor.name.rpartition("/")[2])
            policy = _policy_of(connection, pool, calculated.content)
            people, now = begin(connection, pool)
            record = rounds.get_round(connection, pool, number)
            said = Said(actor, people, now)
            return review.put_objection(connection, pool, record, policy, said, reason)

    def split(self, pool: PoolRef, actor: Actor, asked: SplitContent) -> Leaf[SplitContent]:
        """Log how a collective splits its amount of a posted round; `round_hash` is filled in. The same is a no-op.

        Raises:
            StateError: the round is not posted, or says nothing of the collective; the collective split the amount
                otherwise before; or its key does not hold.
            InvalidInputError: the amount is not the collective's.
        """
        with self._database.transaction() as connection:
            record = rounds.get_round(connection, pool, asked.round)
            name = review.round_name(pool, asked.round)
            if record.state is not RoundState.POSTED:
                raise StateError(
                    name,
                    "NOT_POSTED",
                    "is %(state)s: what it gives is split once it is posted",
                    state=record.state.value,
                )
            digest = bytes.fromhex(record.content.statement_sha256)
            lines = parse_statement(lines_of_table(connection, pool, digest, asked.collective).table)
            if not lines:
                raise StateError(name, "NOT_IN_STATEMENT", "has no line of %(collective)s", collective=asked.collective)
            if asked.amount_minor != lines[0].amount_minor:
                detail = Sentence(
                    "must be what the round gives, %(most)s, got %(got)s",
                    most=lines[0].amount_minor,
                    got=asked.amount_minor,
                )
                raise InvalidInputError.of("amount_minor", detail)
            people, now = begin(connection, pool)
            told = {"round_hash": record.hash.hex(), "salt": secrets.token_hex(SALT_BYTES)}
            content = actor.stamp(asked.model_copy(update=told), people)
            people.require_actor(content, now, pool.name)
            if (standing := splits.find_split(connection, pool, asked.round, asked.collective)) is not None:
                if without_salt(standing.content.said()) != without_salt(content.said()):
                    raise StateError(
                        name,
                        "SPLIT",
                        "was split by %(collective)s before, and each amount is split once",
                        collective=asked.collective,
                    )
                return standing
            return splits.append_split(connection, pool, content, now)

    def answer(
        self, pool: PoolRef, number: int, collective: str, answer: Answer, actor: Actor, reason: str
    ) -> ObjectionRecord:
        """Answer an objection; to uphold it rejects the round. The same again by the same operator is a no-op.

        Raises:
            NotFoundError: the collective did not object.
            StateError: the round is decided; the objection was answered otherwise; or the actor may not act, or
                calculated the round where that takes a second person.
        """
        require_text(reason, "reason", least=1, most=MAX_REASON)
        with self._database.transaction() as connection:
            turns.take(connection, pool, Turn.ROUNDS)
            people, now = begin(connection, pool)
            record = rounds.get_round(connection, pool, number)
            said = Said(actor, people, now)
            content = AnswerContent(
                round=number, collective=collective, objection_hash="0" * 64, answer=answer.value, reason=reason
            )
            answered = review.put_answer(connection, pool, record, said, content)
            if answer is Answer.UPHELD and record.state is RoundState.CALCULATED:
                subject = Subject(record.leaf_index, record.hash, record.content, ONE)
                # Everyone sees why a round was rejected, and the collective alone what it was answered.
                why = f"the objection at leaf {answered.objection.index} was upheld"
                ruling = Ruling(Decision.REJECTED, actor, why)
                record_decision(connection, pool, said.people, subject, ruling, said.now)
            return answered

    def post_unopposed(self, pool: PoolRef) -> RoundRecord | None:
        """Approve and post the open round where its policy takes silence for consent and nobody has objected.

        None if there is no such round, its review is not over, or another process acts on the pool.
        """
        with self._database.transaction() as connection:
            if not turns.try_take(connection, pool, Turn.ROUNDS):
                return None
            record = rounds.open_round(connection, pool)
            if record is None:
                return None
            policy = _policy_of(connection, pool, record.content)
            people, now = begin(connection, pool)
            if not review.may_post_by_silence(connection, pool, record, policy, now):
                return None
            signing.require_sound(connection, pool)
            lines, window = _lines(connection, pool, record.content), find_window(connection, pool, record, policy)
            return self._approve_by_policy(connection, pool, record, people, now, _Posted(policy, lines, window))

    def _rule(self, pool: PoolRef, number: int, ruling: Ruling) -> RoundRecord:
        with self._database.transaction() as connection:
            turns.take(connection, pool, Turn.ROUNDS)
            record = rounds.get_round(connection, pool, number)
            if _decided_as(record, ruling):
                return record
            review.require_calculated(pool, record)
            approves = ruling.decision is Decision.APPROVED
            if approves:
                signing.require_sound(connection, pool)
            # Before the lock, while usage still comes in: a large round's statement takes seconds to read.
            lines = _lines(connection, pool, record.content) if approves else []
            people, now = begin(connection, pool)
            needed = ONE if record.content.by == SCHEDULER else people.controls.needed(Kind.ROUNDS)
            subject = Subject(record.leaf_index, record.hash, record.content, needed)
            posted = None
            if approves:
                policy = _policy_of(connection, pool, record.content)
                window = review.require_reviewed(connection, pool, record, policy, now)
                posted = _Posted(policy, lines, window, objections.set_aside(connection, pool, number))
            record_decision(connection, pool, people, subject, ruling, now)
            if posted:
                self._post(connection, pool, record.content, now, posted)
            return rounds.get_round(connection, pool, number)

    def _record(
        self,
        connection: sa.Connection,
        pool: PoolRef,
        calculation: Calculation,
        actor: Actor,
        last_fire_time: datetime | None,
        schedule: PoolSchedule | None = None,
    ) -> RoundRecord:
        for body in calculation.bodies():
            log.put_body(connection, pool, body)
        # It may have been there before: a round with the same lines was rejected, say.
        log.checked_body(connection, pool, bytes.fromhex(calculation.content.statement_sha256))
        people, now = begin(connection, pool)
        # In the log, a schedule that was paused or changed meanwhile comes before this leaf, which could not follow it.
        if schedule is not None and not schedules.still_stands(connection, schedule):
            detail = "was paused or changed while the round was calculated"
            raise StateError(f"pools/{pool.name}/schedule", "SCHEDULE_CHANGED", detail)
        content = actor.stamp(still_holds(connection, calculation.content, people.size), people)
        if actor != _BY_SCHEDULE:
            people.require_actor(content, now, pool.name)
            if people.controls.needed(Kind.ROUNDS) > ONE:
                people.require_decidable(content)
        require_covered(connection, pool, content)
        (leaf,) = log.append(connection, pool, [content], now)
        rounds.insert_round(connection, pool, content, leaf.index, last_fire_time)
        record = RoundRecord(leaf.index, leaf.hash, now, content)
        policy = calculation.policy
        if policy.review_seconds or people.controls.needed(Kind.ROUNDS) > ONE:
            return record
        posted = _Posted(policy, calculation.distribution.lines)
        return self._approve_by_policy(connection, pool, record, people, now, posted)

    def _approve_by_policy(
        self,
        connection: sa.Connection,
        pool: PoolRef,
        record: RoundRecord,
        people: People,
        now: datetime,
        posted: _Posted,
    ) -> RoundRecord:
        approved = DecisionContent(
            subject=record.leaf_index, subject_hash=record.hash.hex(), decision=Decision.APPROVED.value, reason=""
        )
        decision = _BY_POLICY.stamp(approved, people)
        append_decision(connection, pool, decision, now)
        self._post(connection, pool, record.content, now, posted)
        return replace(record, decision=decision, decided_at=now, posted_at=now)

    def _post(
        self, connection: sa.Connection, pool: PoolRef, content: RoundContent, now: datetime, posted: _Posted
    ) -> None:
        require_covered(connection, pool, content)
        lines, window, aside, recoup_ppm = posted.lines, posted.window, posted.aside, posted.policy.recoup_ppm
        transfers = posting_transfers(content, lines, frozenset(aside))
        if recoup_ppm:
            size = log.read_head(connection, pool).size
            owed = adjustments.read_recouping(connection, pool, lines, log_size=size)
            transfers += recouped_by(recoup_ppm, lines, frozenset(aside), lambda account: owed.get(account, 0))
        name = review.round_name(pool, content.number)
        amount = require_sum(sum(transfer.amount_minor for transfer in transfers), name)
        began, ended = (_kept(connection, pool, note) for note in (window.began, window.ended)) if window else ("", "")
        posting = PostingContent(
            round=content.number,
            transfer_count=len(transfers),
            amount_minor=amount,
            set_aside=list(aside),
            review_began_sha256=began,
            review_ended_sha256=ended,
            recoup_ppm=recoup_ppm,
        )
        (leaf,) = log.append(connection, pool, [posting], now)
        rounds.insert_posting(connection, pool, content.number, leaf.index)
        if transfers:
            journal.post(connection, pool, leaf.index, transfers)


logger: Final = logging.getLogger(__name__)

_NOTHING: Final = {
    Nothing.NO_MONEY: Sentence("has no revenue to distribute; its usage waits for it"),
    Nothing.NO_USAGE: Sentence("has no usage that its policy counts; its revenue waits for it"),
    Nothing.NOT_PLACED: Sentence("has a pot of which its policy lets nobody take anything; usage and revenue wait"),
    Nothing.PERIOD_RUNS: Sentence("has a period that is not over"),
    Nothing.REPORTS_MISSING: Sentence("has a period whose reports are missing or not received; a report can be waived"),
}
"""Why no round is cut, as said of the pool."""


def _why(waiting: Waiting) -> Sentence:
    """Returns why no round is cut, with the period and the platforms."""
    why, told = _NOTHING[waiting.because], waiting.period
    names, more = ", ".join(waiting.platforms[:_NAMED_MAX]), len(waiting.platforms) - _NAMED_MAX
    if more > 0:
        told = Sentence("%(period)s: waits for %(names)s and %(more)s more", period=told, names=names, more=more)
    elif names:
        told = Sentence("%(period)s: waits for %(names)s", period=told, names=names)
    return Sentence("%(why)s (%(told)s)", why=why, told=told) if told else why


_NAMED_MAX: Final = 20

_BY_SCHEDULE: Final = Actor(SCHEDULER, "")
_BY_POLICY: Final = Actor(POLICY, "")


def _next_round(connection: sa.Connection, pool: PoolRef, asked: Asked) -> tuple[Calculation, Waiting | None]:
    """Returns the next round as of now. A large one may take minutes, in which only other rounds of the pool wait."""
    with computing(connection):
        return next_round(connection, pool, asked, read_time(connection))


def _lines(connection: sa.Connection, pool: PoolRef, content: RoundContent) -> list[Line]:
    """Returns the lines of the round's statement."""
    return parse_statement(log.checked_body(connection, pool, bytes.fromhex(content.statement_sha256)))


def _kept(connection: sa.Connection, pool: PoolRef, note: bytes | None) -> str:
    """Keep a note as a body; returns its hash."""
    if note is None:
        return ""
    log.put_body(connection, pool, note)
    return sha256(note).hexdigest()


def _policy_of(connection: sa.Connection, pool: PoolRef, content: RoundContent) -> Policy:
    return get_policy(connection, pool, content.policy_version).policy


def _require_no_open_round(connection: sa.Connection, pool: PoolRef) -> None:
    if open_round := rounds.open_round(connection, pool):
        name = review.round_name(pool, open_round.content.number)
        raise StateError(name, "ROUND_OPEN", "must be approved or rejected first")


def _decided_as(record: RoundRecord, ruling: Ruling) -> bool:
    made = record.decision
    return made is not None and (made.decision, made.by) == (ruling.decision, ruling.actor.name)


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def require_round_number(text: str, field: str) -> int:
    """Returns the number in a round's resource name.

    Raises:
        InvalidInputError: the text is not a round number.
    """
    if not _ROUND_NUMBER.fullmatch(text):
        raise InvalidInputError.of(field, "must end in a round number, got %(got)r", got=text[:20])
    return int(text)
