"""The reviews of a pool's rounds, as its log has them: nothing is approved before its time or over an objection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from audit.findings import at
from ledger.acts.entries import COLLECTIVES, POLICY, SCHEDULER, Decision, DecisionContent
from ledger.log.leaves import Leaf
from payout.entries import RoundContent
from payout.objections import MAX_SET_ASIDE, Answer, AnswerContent, ObjectionContent, review_ends
from payout.policy import Approval, Policy
from payout.rounds import Line


@dataclass(slots=True)
class _Review:
    """A round under review; the objections by collective, each with its leaf hash, and what was answered."""

    round_hash: str
    calculated_at: datetime
    by: str
    policy: Policy
    objections: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    decided: bool = False
    named: frozenset[str] = frozenset()
    """The collectives in its statement, once one of them objected."""


@dataclass(slots=True)
class Reviews:
    """What a replay knows of the reviews of rounds that are not posted or rejected."""

    _reviews: dict[int, _Review] = field(default_factory=dict)
    """By the round's number."""

    def begin(self, leaf: Leaf[RoundContent], round_hash: str, policy: Policy) -> None:
        """A round was calculated."""
        self._reviews[leaf.content.number] = _Review(round_hash, leaf.time, leaf.content.by, policy)

    def object_to(self, leaf: Leaf[ObjectionContent], leaf_hash: str, lines: Callable[[], Sequence[Line]]) -> None:
        """A collective objects; `lines` gives those of the round's statement."""
        content, here = leaf.content, at(leaf.index)
        review = self._open(leaf, content.round, content.round_hash)
        here.holds(content.by.startswith(COLLECTIVES), "by", content.by, "a collective")
        review.named = review.named or frozenset(line.collective for line in lines())
        here.holds(content.collective in review.named, "by", content.by, "a collective that the round's statement has")
        here.holds(content.collective not in review.objections, "by", content.by, "one that did not object before")
        review.objections[content.collective] = leaf_hash
        ends = review_ends(review.calculated_at, review.policy)
        here.holds(leaf.time < ends, "time", leaf.time.isoformat(), f"before {ends.isoformat()}, the review's end")

    def answer(self, leaf: Leaf[AnswerContent]) -> None:
        """An operator answers an objection."""
        content, here = leaf.content, at(leaf.index)
        review = self._open(leaf, content.round)
        here.same("objection_hash", content.objection_hash, review.objections.get(content.collective))
        here.holds(content.collective not in review.answers, "collective", content.collective, "one not answered yet")
        here.holds(content.answer in set(Answer), "answer", content.answer, f"one of {', '.join(Answer)}")
        review.answers[content.collective] = content.answer
        aside = sum(1 for answer in review.answers.values() if answer == Answer.SET_ASIDE)
        here.holds(aside <= MAX_SET_ASIDE, "amounts set aside", aside, f"at most {MAX_SET_ASIDE}")

    def decide(self, leaf: Leaf[DecisionContent], number: int) -> None:
        """A round is decided. It is approved with every objection answered and none upheld.

        Its policy approves only where there is no review, or where silence is consent and nobody objected.
        """
        content, here = leaf.content, at(leaf.index)
        review = self._reviews.get(number)
        if review is None:
            return  # It was decided before, which is a finding of its own.
        if content.decision != Decision.APPROVED:
            del self._reviews[number]
            return
        review.decided = True
        if content.by == POLICY and review.policy.review_seconds:
            here.holds(review.policy.approval is Approval.SILENCE, "by", content.by, "an operator")
            here.same("calculated by", review.by, SCHEDULER)
            here.same("objections", sorted(review.objections), [])
        here.same("open objections", sorted(review.objections.keys() - review.answers.keys()), [])
        upheld = sorted(name for name, answer in review.answers.items() if answer == Answer.UPHELD)
        here.same("objections upheld", upheld, [])

    def is_silent(self, number: int) -> bool:
        """Whether a round's policy takes silence for consent."""
        review = self._reviews.get(number)
        return review is not None and review.policy.approval is Approval.SILENCE

    def post(self, number: int) -> list[str]:
        """A round is posted: the collectives whose amounts are set aside, sorted."""
        review = self._reviews.pop(number, None)
        if review is None:
            return []  # It was rejected, which is a finding of its own.
        return sorted(name for name, answer in review.answers.items() if answer == Answer.SET_ASIDE)

    def _open(self, leaf: Leaf[Any], number: int, round_hash: str | None = None) -> _Review:
        """The review of a round that is not decided, and has this hash."""
        review, here = self._reviews.get(number), at(leaf.index)
        if review is None or review.decided:
            raise here.error("round", number, "one that waits for its decision")
        if round_hash is not None:
            here.same("round_hash", round_hash, review.round_hash)
        return review
