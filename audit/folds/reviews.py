"""The reviews of a pool's rounds, as its log has them: nothing is approved before its time or over an objection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from audit.findings import at
from audit.steps import Step
from ledger.acts.act import COLLECTIVES, POLICY, SCHEDULER
from ledger.acts.entries import Decision, DecisionContent
from ledger.errors import FormatError
from ledger.log.leaves import Leaf
from ledger.log.merkle import Frontier
from ledger.log.witness_policy import WitnessPolicy
from ledger.log.witnessed import Witnessed, timing_policy, witnessed
from payout.entries import PostingContent, RoundContent
from payout.objections import MAX_SET_ASIDE, Answer, AnswerContent, ObjectionContent, review_runs
from payout.policy import Approval, Policy
from payout.rounds import Line


def review_said(calculated_at: datetime, policy: Policy) -> str:
    """Says how long a review takes: its end may lie beyond the last date."""
    return f"{policy.review_seconds} seconds after {calculated_at.isoformat()}"


@dataclass(slots=True)
class _Review:
    """A round under review; the objections by collective, each with its leaf hash, and what was answered."""

    leaf_index: int
    round_hash: str
    calculated_at: datetime
    by: str
    policy: Policy
    witnesses: WitnessPolicy | None
    """Those who time it; None if the database's clock alone does."""
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
    _roots: dict[int, bytes] = field(default_factory=dict)
    """The log's root at each size since a round was calculated whose review witnesses time."""

    def begin(self, leaf: Leaf[RoundContent], round_hash: str, policy: Policy, witnesses: str) -> None:
        """A round was calculated; `witnesses` is the policy of those who time its review, empty for none."""
        timed = timing_policy(witnesses) if policy.review_seconds else None
        review = _Review(leaf.index, round_hash, leaf.time, leaf.content.by, policy, timed)
        self._reviews[leaf.content.number] = review

    def grow(self, frontier: Frontier) -> None:
        """A leaf was taken in: remember the log's root, which witnesses may have cosigned."""
        if any(review.witnesses for review in self._reviews.values()):
            self._roots[frontier.size] = frontier.root()
        else:
            self._roots.clear()

    def require_window(self, leaf: Leaf[PostingContent], origin: str, read: Callable[[str], bytes]) -> bool:
        """Check the notes of a posting, between which its round's review was; returns whether witnesses time it.

        `read` returns the body under a field's digest, `origin` is the log's.
        """
        content, here = leaf.content, at(leaf.index, step=Step.DECISIONS)
        review = self._reviews.get(content.round)
        if review is None or review.witnesses is None:
            for figure in ("review_began_sha256", "review_ended_sha256"):
                here.same(figure, getattr(content, figure), "")
            return False
        began = self._seen(leaf, "review_began_sha256", origin, read, review)
        here.holds(began.checkpoint.size > review.leaf_index, "size", began.checkpoint.size, "one with the round")
        ends = began.time + timedelta(seconds=review.policy.review_seconds)
        ended = self._seen(leaf, "review_ended_sha256", origin, read, review, ends)
        grown = ended.checkpoint.size >= began.checkpoint.size
        here.holds(grown, "size", ended.checkpoint.size, f"{began.checkpoint.size} or more")
        return True

    def _seen(
        self,
        leaf: Leaf[PostingContent],
        figure: str,
        origin: str,
        read: Callable[[str], bytes],
        review: _Review,
        since: datetime | None = None,
    ) -> Witnessed:
        """Returns what the note of a posting says, which a quorum of the review's witnesses cosigned."""
        here, digest = at(leaf.index, step=Step.DECISIONS), getattr(leaf.content, figure)
        here.holds(bool(digest), figure, "none", "a note that witnesses cosigned")
        assert review.witnesses is not None  # noqa: S101 - the caller has checked it
        try:
            seen = witnessed(read(digest), review.witnesses, since)
        except FormatError as error:
            raise here.error(figure, error, "a cosigned checkpoint") from None
        after = f" at {since.isoformat()} or later" if since else ""
        if seen is None:
            raise here.error(figure, "a note", f"one that {review.witnesses} cosigned{after}")
        here.same("origin", seen.checkpoint.origin, origin)
        known = self._roots.get(seen.checkpoint.size)
        here.same("root", seen.checkpoint.root.hex(), known.hex() if known else "one of this log since the round")
        return seen

    def object_to(self, leaf: Leaf[ObjectionContent], leaf_hash: str, lines: Callable[[], Sequence[Line]]) -> None:
        """A collective objects; `lines` gives those of the round's statement."""
        content, here = leaf.content, at(leaf.index)
        review = self._open(leaf, content.round, content.round_hash)
        here.holds(content.by.startswith(COLLECTIVES), "by", content.by, "a collective")
        review.named = review.named or frozenset(line.collective for line in lines())
        here.holds(content.collective in review.named, "by", content.by, "a collective that the round's statement has")
        here.holds(content.collective not in review.objections, "by", content.by, "one that did not object before")
        review.objections[content.collective] = leaf_hash
        if review.witnesses is None:  # else it ends when they say so, which this leaf cannot tell
            runs = review_runs(review.calculated_at, review.policy, leaf.time)
            here.holds(
                runs, "time", leaf.time.isoformat(), f"less than {review_said(review.calculated_at, review.policy)}"
            )

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
