"""Who did what in a log, checked against who may: the rules by which one person does not count as two.

A log's acts are judged by the registry as of the size that each names. The same rules that the service applies
(`ledger.acts.people`) are applied again here, to the registry that follows from its own log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, Protocol

from audit.findings import At, at
from audit.folds.payments import PaymentsFold
from audit.steps import Step
from ledger.acts.act import LEDGER, POLICY, SCHEDULER, ActContent
from ledger.acts.controls import ONE, Controls, Kind
from ledger.acts.entries import (
    CollectiveContent,
    ControlsContent,
    Decision,
    DecisionContent,
    PoolOpenedContent,
    ProposalContent,
)
from ledger.acts.people import BEGINNING, PROPOSAL_LIFETIME, People
from ledger.errors import InvalidInputError, StateError
from ledger.log.canonical import canonical
from ledger.log.leaves import Leaf
from ledger.registry import Collective
from payout.entries import PolicyContent, PoolContent, RoundContent
from payout.objections import AnswerContent, ObjectionContent
from payout.splits import SplitContent

STALE_AFTER: Final = timedelta(minutes=1)
"""How much older than an act the registry may be that it was judged by."""


def require_review(content: ActContent, controls: Controls) -> None:
    """Check that a policy has a review where posting a round takes two people.

    Raises:
        InvalidInputError: it has none.
    """
    match content:
        case PolicyContent(policy=policy):
            seconds: object = policy.review_seconds
        case PoolOpenedContent(policy=said):
            seconds = said.get("review_seconds")
        case _:
            return
    if controls.needed(Kind.ROUNDS) > ONE and not seconds:
        raise InvalidInputError.of("policy.review_seconds", "must be above 0 where posting a round takes two people")


class DoneAct(NamedTuple):
    """An act that was carried out: which, by whom, and who approved it; nobody where one person did it alone."""

    log: str
    leaf_index: int
    type: str
    by: str
    approved_by: str = ""

    @property
    def alone(self) -> bool:
        """Whether one person did it, and no other person had a say."""
        return self.by != SCHEDULER and self.approved_by in ("", POLICY)


class RegistryAsOf(Protocol):
    """The registry as of each of its sizes, which are asked for in ascending order."""

    def people_at(self, size: int) -> People:
        """Who may act after so many leaves, or after all that there are where these are fewer."""

    def last_time(self) -> datetime | None:
        """When the last leaf was logged below the size that was asked for last."""

    def next_time(self) -> datetime | None:
        """When the leaf after it was logged; None if there is none."""

    def opened_at(self, leaf_index: int) -> PoolOpenedContent | None:
        """What opened a pool at a leaf; None if nothing did."""


class RegistryOfPool(RegistryAsOf, Protocol):
    """What else the fold of a pool asks of it, as of the size that was asked for last."""

    @property
    def people(self) -> People:
        """Who may act."""

    @property
    def payments(self) -> PaymentsFold:
        """Pay runs and banks' files, of this size or a later one: each is named by its leaf."""

    def root(self) -> bytes:
        """The root of the leaves so far."""

    def has_platform(self, name: str) -> bool:
        """Whether a platform is registered."""

    def collective_at(self, leaf_index: int) -> CollectiveContent | None:
        """What a leaf says of a collective; None if it says nothing of one."""

    def snapshot(self) -> list[Collective]:
        """The collectives, by the bytes of their names."""


@dataclass(slots=True)
class ActsFold:
    """Takes in a log's leaves in order, and what was done in it."""

    log: str
    registry: RegistryAsOf
    hash_at: Callable[[int], str]
    """The hash of an earlier leaf of this log, in hexadecimal."""
    of_registry: bool = False
    is_silent: Callable[[int], bool] = lambda _: False
    """Whether the policy of the round at a leaf takes silence for consent, for a round that was cut by schedule."""
    is_short: Callable[[int], bool] = lambda _: False
    """Whether the bank took back some of the pot of the round at a leaf."""
    done: list[DoneAct] = field(default_factory=list)
    proposals: dict[int, Leaf[ProposalContent]] = field(default_factory=dict)
    """By leaf."""
    rounds: dict[int, Leaf[Any]] = field(default_factory=dict)
    """What `decision.v1` may also decide, by leaf."""
    decided: dict[int, Leaf[DecisionContent]] = field(default_factory=dict)
    """By the leaf of what was decided."""
    approved: Leaf[DecisionContent] | None = None
    """The approval of a proposal that the next leaf must carry out."""
    time: datetime = BEGINNING
    registry_size: int = 0

    def take_in(self, leaf: Leaf[Any]) -> None:
        """Check the next leaf.

        Raises:
            FoundError: the leaf's time falls, or nobody may do what it says.
        """
        content, here = leaf.content, self._here(leaf.index)
        if leaf.time < self.time:
            raise here.error("time", leaf.time.isoformat(), f"{self.time.isoformat()} or later")
        self.time = leaf.time
        due, self.approved = self.approved, None
        if due is not None:
            carried_out = getattr(content, "proposal", None)
            expected = f"{due.content.subject}, which leaf {due.index} approved"
            here.holds(carried_out == due.content.subject, "proposal", carried_out, expected)
        if isinstance(content, ActContent):
            self._judge(leaf, due, here)

    def end(self) -> None:
        """No leaf comes any more.

        Raises:
            FoundError: an approval without what it approved.
        """
        if self.approved is not None:
            raise self._here(self.approved.index).error("decision", "APPROVED", "an effect right after it")

    def _here(self, leaf_index: int) -> At:
        return at(leaf_index, step=Step.DECISIONS, log=self.log if self.of_registry else "")

    def _judge(self, leaf: Leaf[Any], due: Leaf[DecisionContent] | None, here: At) -> None:
        people = self._people(leaf, here)
        match leaf.content:
            case DecisionContent():
                self._decide(leaf, people)
            case ProposalContent():
                self.proposals[leaf.index] = leaf
                self._require_actor(leaf, people)
            case RoundContent():
                self._round(leaf, people)
            case ObjectionContent() | SplitContent():
                self._require_actor(leaf, people)
            case AnswerContent():
                self._answer(leaf, people)
            case PoolContent():
                self._require_actor(leaf, people)
                self._opened(leaf.index, leaf.content)
            case _:
                self._effect(leaf, people, due, here)

    def _people(self, leaf: Leaf[Any], here: At) -> People:
        """Who may act as of the registry's size that an act names, which is as new as it must be."""
        size = leaf.content.registry_size
        if self.of_registry:
            ours = leaf.index - (leaf.content.proposal is not None)
            here.same("registry_size", size, ours)
            people = self.registry.people_at(leaf.index)
            here.same("people_leaf", leaf.content.people_leaf, people.last_leaf)
            return people
        here.holds(size >= max(1, self.registry_size), "registry_size", size, f"{max(1, self.registry_size)} or more")
        self.registry_size = size
        people = self.registry.people_at(size)
        here.holds(people.size == size, "registry_size", size, f"at most {people.size}, of which the registry is")
        here.same("people_leaf", leaf.content.people_leaf, people.last_leaf)
        newer, last = self.registry.next_time(), self.registry.last_time()
        if newer is not None:
            expected = f"one with leaf {size}, which was there since {newer.isoformat()}"
            here.holds(leaf.time - newer <= STALE_AFTER, "registry_size", size, expected)
        if last is not None:
            expected = f"one without leaf {size - 1}, which is of {last.isoformat()}"
            here.holds(last <= leaf.time, "registry_size", size, expected)
        return people

    def _require_actor(self, leaf: Leaf[Any], people: People) -> None:
        """Who does it may act, with this key, at this time."""
        content = leaf.content
        pool = None if self.of_registry else self.log
        try:
            people.require_actor(content, leaf.time, pool)
        except StateError as error:
            raise self._here(leaf.index).error("by", f"{content.by!r}, who {error.detail}", "one who may act") from None

    def _opened(self, leaf_index: int, content: PoolContent) -> None:
        """A pool's first leaf says what the registry's leaf does that opened it."""
        opened, here = self.registry.opened_at(content.opened_at), self._here(leaf_index)
        here.holds(opened is not None, "opened_at", content.opened_at, "a leaf of the registry that opened the pool")
        assert opened is not None  # noqa: S101 - it was just checked
        here.same("registry_size", content.registry_size, content.opened_at + 1)
        here.same("pool", self.log, opened.pool_id)
        for figure in ("display_name", "currency", "distribute", "platforms", "by", "by_key"):
            here.same(figure, getattr(content, figure), getattr(opened, figure))
        here.same("policy", canonical(content.policy.model_dump(mode="json")), canonical(opened.policy))

    def _round(self, leaf: Leaf[Any], people: People) -> None:
        self.rounds[leaf.index] = leaf
        fire_times, here = leaf.content.fire_times, self._here(leaf.index)
        by_schedule = leaf.content.by == SCHEDULER
        here.holds(by_schedule == (fire_times is not None), "fire_times", fire_times, "those of a round by schedule")
        if fire_times is not None:
            here.holds(not leaf.content.by_key, "by_key", leaf.content.by_key, "none: the schedule has no key")
            _, last = fire_times.moments()
            here.holds(last <= leaf.time, "fire_times.last", last, f"no later than {leaf.time}")
        else:
            self._require_actor(leaf, people)

    def _answer(self, leaf: Leaf[AnswerContent], people: People) -> None:
        """Who answers an objection is another person than who calculated the round, where posting it takes two."""
        self._require_actor(leaf, people)
        for asked in self.rounds.values():
            if asked.content.number == leaf.content.round and self._needed(asked, people) > ONE:
                self._require_second(leaf, asked.content, people)

    def _decide(self, leaf: Leaf[DecisionContent], people: People) -> None:
        content, here = leaf.content, self._here(leaf.index)
        subject = self.proposals.get(content.subject) or self.rounds.get(content.subject)
        waits = subject is not None and content.subject not in self.decided
        here.holds(waits, "subject", content.subject, "a proposal or a round that waits for its decision")
        assert subject is not None  # noqa: S101 - it was just checked
        here.same("subject_hash", content.subject_hash, self.hash_at(content.subject))
        known = ", ".join(Decision)
        here.holds(content.decision in set(Decision), "decision", content.decision, f"one of {known}")
        self.decided[content.subject] = leaf
        approves = content.decision == Decision.APPROVED
        if content.by == POLICY and content.subject in self.rounds:
            alone = people.controls.needed(Kind.ROUNDS) == ONE or self.is_silent(content.subject)
            here.holds(approves and alone, "by", POLICY, "an operator: the controls ask for two people")
        elif content.by == LEDGER and content.subject in self.rounds:
            rejects = content.decision == Decision.REJECTED and self.is_short(content.subject)
            here.holds(rejects, "by", LEDGER, "an operator: the revenue has the pot of the round")
        else:
            self._require_actor(leaf, people)
            if approves and self._needed(subject, people) > ONE:
                self._require_second(leaf, subject.content, people)
        if content.decision == Decision.WITHDRAWN:
            here.same("by", content.by, subject.content.by)
        if content.subject in self.proposals:
            self._decide_proposal(leaf, subject, approves=approves)
        elif approves:
            asked = subject.content
            second = content.by == POLICY or asked.by == SCHEDULER or self._is_second(leaf, asked, people)
            self._done(subject, content.by if second else "")

    def _decide_proposal(self, leaf: Leaf[DecisionContent], subject: Leaf[Any], *, approves: bool) -> None:
        lapsed = leaf.time - subject.time > PROPOSAL_LIFETIME
        self._here(leaf.index).holds(
            not (approves and lapsed), "subject", subject.index, "a proposal of the last 30 days"
        )
        if approves:
            self.approved = leaf

    def _needed(self, subject: Leaf[Any], people: People) -> int:
        """How many people what is decided needs; of a proposal its effect says so, which comes next."""
        if isinstance(subject.content, RoundContent):
            return ONE if subject.content.by == SCHEDULER else people.controls.needed(Kind.ROUNDS)
        return ONE

    def _require_second(self, leaf: Leaf[Any], first: ActContent, people: People) -> None:
        try:
            people.require_second(first, leaf.content)
        except StateError as error:
            claimed = f"{leaf.content.by!r}, who {error.detail}"
            raise self._here(leaf.index).error("by", claimed, "another operator, who may decide") from None

    def _effect(self, leaf: Leaf[Any], people: People, due: Leaf[DecisionContent] | None, here: At) -> None:
        content = leaf.content
        self._require_actor(leaf, people)
        try:
            people.require_enough_left(content)
            require_review(content, people.controls)
            if isinstance(content, ControlsContent):
                content.controls.require_sound()
        except (StateError, InvalidInputError) as error:
            raise here.error(content.type, error, "an act that the controls allow") from None
        needed = content.needed(people.controls)
        if content.proposal is None:
            here.holds(needed == ONE, "proposal", "none", "one that another operator approved")
            self._done(leaf, "")
            return
        here.holds(due is not None, "proposal", content.proposal, "one that the leaf before it approved")
        assert due is not None  # noqa: S101 - it was just checked
        proposed = self.proposals[content.proposal].content
        # As JSON spells them: in Python `True` is 1.
        stated = (content.type, canonical(content.said()), content.by, content.by_key)
        here.holds(
            stated == (proposed.effect, canonical(proposed.content), proposed.by, proposed.by_key),
            content.type, f"what leaf {content.proposal} does not say", "what was proposed, by who proposed it",
        )  # fmt: skip
        if needed > ONE:
            self._require_second(due, proposed, people)
        self._done(leaf, due.content.by if self._is_second(due, proposed, people) else "")

    def _is_second(self, decision: Leaf[DecisionContent], first: ActContent, people: People) -> bool:
        """Whether who decides is another person than who made it, needed or not."""
        try:
            people.require_second(first, decision.content)
        except StateError:
            return False
        return True

    def _done(self, leaf: Leaf[Any], approved_by: str) -> None:
        self.done.append(DoneAct(self.log, leaf.index, leaf.content.type, leaf.content.by, approved_by))
