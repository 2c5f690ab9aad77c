"""Acts in Postgres: one way for everything that an operator does, and for the second person's decision.

An act that one person may do is the leaf of its effect. An act that needs two is a proposal's leaf, followed by the
leaf of its effect once another operator approves it. Both are written under the lock on the log's head, so that what an
act is based on cannot change between the check and the write.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import sqlalchemy as sa

from ledger.acts.act import OPERATORS, ActContent, SaltedContent, without_salt
from ledger.acts.controls import ONE, Kind
from ledger.acts.entries import Decision, DecisionContent, PrincipalContent, ProposalContent
from ledger.acts.people import PEOPLE_KINDS, Actor, People
from ledger.errors import LostRaceError, Sentence, StateError
from ledger.log.leaves import Content
from ledger.registry import require_text
from ledger.store import tables as t
from ledger.store.logs import log, signing
from ledger.store.logs.log import REGISTRY, PoolRef
from ledger.store.postgres.conflicts import taken_keys
from ledger.store.postgres.rows import int8s, put_rows
from ledger.store.registry.people import read_people
from ledger.store.registry.proposals import (
    Proposal,
    ProposalState,
    get_proposal,
    list_proposals,
    proposal_name,
    waiting_acts,
)

MAX_REASON: Final = 1_000

MAX_OPEN_PROPOSALS: Final = 1_000
"""Of one operator in one log: each act is compared with all that are open, and one person must not flood the others."""

MAX_OPEN_OF_OWNER: Final = 50
"""Of a platform or a collective, which proposes where it is paid and written to: as many webhooks as it may have, twice
and more."""

A = TypeVar("A", bound=ActContent)


@dataclass(frozen=True, slots=True)
class Effect(Generic[A]):
    """A kind of act: what it does, and what a second person's approval is based on.

    carry_out: appends the act's leaf and writes what follows from it; returns what the caller gets to see.
    standing: what exists already, if the act would change nothing; else None.
    prepare: the content completed with what only the log knows, such as the next version.
    rests_on: the version of each resource that the act would replace, or that determines its meaning.
    """

    content: type[A]
    carry_out: Callable[[sa.Connection, PoolRef, A, datetime], Any]
    standing: Callable[[sa.Connection, PoolRef, A], Any | None] = lambda *_: None
    prepare: Callable[[sa.Connection, PoolRef, A], A] = lambda _connection, _pool, content: content
    rests_on: Callable[[sa.Connection, PoolRef, A], Mapping[str, str]] = lambda *_: {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of an act: what it did, or the proposal that waits for another operator."""

    done: Any = None
    proposal: Proposal | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a decision: a proposal or a round at its leaf, and how many people its effect needs."""

    leaf_index: int
    hash: bytes
    made: ActContent
    needed: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """An operator's decision on a proposal or a round."""

    decision: Decision
    actor: Actor
    reason: str = ""


def begin(connection: sa.Connection, pool: PoolRef) -> tuple[People, datetime]:
    """Lock a log's head, and return who may act now and the time of what is appended, as `log.lock_head` does.

    It is no earlier than the registry's last leaf, by which acts are judged.

    Raises:
        StateError: the deployment was never founded.
    """
    now = log.lock_head(connection, pool)
    people = read_people(connection)
    return people, max(now, people.time)


def look_alone(connection: sa.Connection) -> None:
    """Lock the registry's log until the commit, before looking what was done, proposed or changed already.

    Of two who ask at once the second then finds what the first did. For acts whose content is salted or planned anew
    each time: `Acts.perform`, which compares contents, would take them for two.
    """
    log.lock_head(connection, REGISTRY)


def append_act(connection: sa.Connection, pool: PoolRef, content: Content, now: datetime) -> int:
    """Append an act's leaf, and index it if it is about who may act. Returns its index."""
    (leaf,) = log.append(connection, pool, [content], now)
    if content.type in PEOPLE_KINDS:
        whose = content.principal if isinstance(content, PrincipalContent) else None
        row = {"pool_id": pool.pool_id, "leaf_index": leaf.index, "principal": whose}
        connection.execute(sa.insert(t.people).values(row))
    return leaf.index


class Acts:
    """Carries out acts or proposes them, and decides proposals."""

    def __init__(self, effects: Sequence[Effect[Any]]) -> None:
        self._effects = {effect.content.type: effect for effect in effects}

    def perform(
        self, connection: sa.Connection, pool: PoolRef, content: ActContent, actor: Actor, reason: str = ""
    ) -> Outcome:
        """Carry out an act, or propose it if the controls require a second person. Repeating it changes nothing.

        Raises:
            StateError: the actor may not act, or the state of what the act is about forbids it; or it moves money, and
                the log is not known to extend what was signed.
            InvalidInputError, NotFoundError, AlreadyExistsError: as the effect does.
        """
        require_text(reason, "reason", most=MAX_REASON)
        effect = self._effects[content.type]
        people, now = begin(connection, pool)
        stamped = actor.stamp(content, people)
        people.require_actor(stamped, now, _pool_name(pool))
        if (standing := effect.standing(connection, pool, stamped)) is not None:
            return Outcome(done=standing)
        people.require_enough_left(stamped)
        _require_sound(connection, pool, stamped)
        stamped = _salted(effect.prepare(connection, pool, stamped))
        if stamped.needed(people.controls) == ONE:
            return Outcome(done=effect.carry_out(connection, pool, stamped, now))
        people.require_decidable(stamped)
        rests_on = dict(effect.rests_on(connection, pool, stamped))
        said = stamped.said()
        mine = 0
        for waiting in list_proposals(connection, pool, only_open=True, at=now):
            # One that rests on something else by now could not be approved, and must not hide this one.
            made = waiting.content
            asked_before = made.effect, without_salt(made.content), made.rests_on
            if asked_before == (content.type, without_salt(said), rests_on):
                return Outcome(proposal=waiting)
            mine += made.by == actor.name
        _require_room(actor, mine)
        _try_out(connection, pool, effect, stamped, now)
        proposal = ProposalContent(effect=content.type, content=said, rests_on=rests_on, reason=reason)
        (leaf,) = log.append(connection, pool, [actor.stamp(proposal, people)], now)
        connection.execute(sa.insert(t.proposal).values(pool_id=pool.pool_id, leaf_index=leaf.index))
        return Outcome(proposal=get_proposal(connection, pool, leaf.index, at=now))

    def decide(self, connection: sa.Connection, pool: PoolRef, leaf_index: int, ruling: Ruling) -> Outcome:
        """Approve, reject or withdraw a proposal; approving carries it out. Repeating a decision changes nothing.

        Raises:
            StateError: it was decided otherwise or has lapsed, or the actor may not decide it; or it moves money, and
                the log is not known to extend what was signed.
            LostRaceError: what it is based on has changed, or what it asks for was done since: the proposal is stale.
            IdentityReusedError, AlreadyExistsError: something else was done since under the same id.
        """
        require_text(ruling.reason, "reason", least=0 if ruling.decision is Decision.APPROVED else 1, most=MAX_REASON)
        people, now = begin(connection, pool)
        proposal = get_proposal(connection, pool, leaf_index, at=now)
        if _says_the_same(proposal, ruling):
            return Outcome(proposal=proposal)
        if proposal.state is not ProposalState.OPEN:
            name = proposal_name(pool, leaf_index)
            raise StateError(name, "PROPOSAL_CLOSED", "was already decided: %(state)s", state=proposal.state.value)
        if ruling.decision is Decision.REJECTED and proposal.content.by == ruling.actor.name:
            raise StateError(ruling.actor.name, "PROPOSED_IT", "proposed it: withdraw it instead of rejecting it")
        act = self._act(proposal, people)
        subject = Subject(leaf_index, proposal.hash, proposal.content, act.needed(people.controls))
        record_decision(connection, pool, people, subject, ruling, now)
        done = None
        if ruling.decision is Decision.APPROVED:
            people.require_actor(act, now, _pool_name(pool))
            people.require_enough_left(act)
            _require_sound(connection, pool, act)
            done = self._carry_out(connection, pool, proposal, act, now)
        return Outcome(done=done, proposal=get_proposal(connection, pool, leaf_index))

    def _carry_out(
        self, connection: sa.Connection, pool: PoolRef, proposal: Proposal, act: ActContent, now: datetime
    ) -> Any:
        if self._is_stale(connection, pool, proposal, act):
            raise LostRaceError(f"what {proposal_name(pool, proposal.leaf_index)} is based on")
        return self._effects[act.type].carry_out(connection, pool, act, now)

    def _is_stale(self, connection: sa.Connection, pool: PoolRef, proposal: Proposal, act: ActContent) -> bool:
        """Whether what an act is based on has changed since it was proposed, or it was done, by another proposal or by
        one person: nobody can approve it any more.
        """
        effect = self._effects[act.type]
        is_changed = dict(effect.rests_on(connection, pool, act)) != proposal.content.rests_on
        return is_changed or effect.standing(connection, pool, act) is not None

    def waiting(self, connection: sa.Connection, kind: type[ActContent], **about: str) -> Proposal | None:
        """Returns the first open proposal of a kind of act of the registry whose content says this, if any.

        One that is stale is none: it could not be approved, and must not hide what is asked for anew.
        """
        for found in waiting_acts(connection, kind, **about):
            if not self._is_stale(connection, REGISTRY, found, self.proposed_act(found)):
                return found
        return None

    def proposed_act(self, proposal: Proposal) -> ActContent:
        """Returns the act that a proposal is for, without its actor."""
        content = proposal.content
        act: ActContent = self._effects[content.effect].content.model_validate(content.content)
        return act

    def _act(self, proposal: Proposal, people: People) -> ActContent:
        """Returns the act that a proposal is for, as its proposer's, checked now."""
        content = proposal.content
        stamped = Actor(content.by, content.by_key).stamp(self.proposed_act(proposal), people)
        return stamped.model_copy(update={"proposal": proposal.leaf_index})


def record_decision(
    connection: sa.Connection, pool: PoolRef, people: People, subject: Subject, ruling: Ruling, now: datetime
) -> None:
    """Append the decision of a proposal or a round.

    Raises:
        StateError: the actor may not act; or approves, needs to be another person than who made the subject, and
            is not; or withdraws what someone else made.
        LostRaceError: the subject was decided at the same time.
    """
    content = DecisionContent(
        subject=subject.leaf_index,
        subject_hash=subject.hash.hex(),
        decision=ruling.decision.value,
        reason=ruling.reason,
    )
    stamped = ruling.actor.stamp(content, people)
    people.require_actor(stamped, now, _pool_name(pool))
    if ruling.decision is Decision.APPROVED and subject.needed > ONE:
        people.require_second(subject.made, stamped)
    if ruling.decision is Decision.WITHDRAWN and subject.made.by != ruling.actor.name:
        raise StateError(ruling.actor.name, "NOT_THE_PROPOSER", "may reject what another proposed, not withdraw it")
    append_decision(connection, pool, stamped, now)


def append_decision(connection: sa.Connection, pool: PoolRef, content: DecisionContent, now: datetime) -> None:
    """Append a decision's leaf.

    Raises:
        LostRaceError: the subject was decided at the same time.
    """
    (leaf,) = log.append(connection, pool, [content], now)
    with taken_keys(lambda _: LostRaceError(f"the decision of leaf {content.subject}")):
        row = {"subject": int8s([content.subject]), "leaf_index": int8s([leaf.index])}
        put_rows(connection, t.decision, pool.pool_id, row)


def _salted(content: A) -> A:
    """Returns an act about what somebody is paid with its salt."""
    return content.model_copy(update={"salt": secrets.token_hex(32)}) if isinstance(content, SaltedContent) else content


def _require_sound(connection: sa.Connection, pool: PoolRef, act: ActContent) -> None:
    """After a restore to an earlier point, what was paid since could be paid again."""
    if act.kind is Kind.MONEY:
        signing.require_sound(connection, pool)


def _pool_name(pool: PoolRef) -> str | None:
    return None if pool == REGISTRY else pool.name


def _require_room(actor: Actor, open_proposals: int) -> None:
    most = MAX_OPEN_PROPOSALS if actor.name.startswith(OPERATORS) else MAX_OPEN_OF_OWNER
    if open_proposals >= most:
        detail = Sentence(
            "has %(open)s open proposals in this log, and may have %(most)s; have some decided first",
            open=open_proposals,
            most=most,
        )
        raise StateError(actor.name, "TOO_MANY_PROPOSALS", detail)


def _try_out(connection: sa.Connection, pool: PoolRef, effect: Effect[Any], content: ActContent, now: datetime) -> None:
    """Carry an act out and roll it back, so that a proposer hears at once that an act is impossible."""
    attempt = connection.begin_nested()
    try:
        effect.carry_out(connection, pool, content, now)
    finally:
        attempt.rollback()


def _says_the_same(proposal: Proposal, ruling: Ruling) -> bool:
    decided = proposal.decision.content if proposal.decision else None
    return decided is not None and (decided.decision, decided.by) == (ruling.decision.value, ruling.actor.name)
