"""The review of a round: how long it takes, what a collective says against the round, and what is answered.

A round is posted once its review is over and no objection to it is open.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Final

from ledger.acts.act import COLLECTIVES, ActContent
from ledger.acts.controls import Kind
from ledger.log.leaves import Sha256Hex
from payout.policy import Policy

MAX_SET_ASIDE: Final = 500
"""Collectives whose amounts one round may set aside: its posting names them all, in an entry of 65,535 bytes. Where
more are in doubt, the round is."""


class Answer(StrEnum):
    """What an operator says to an objection."""

    DISMISSED = "DISMISSED"
    """The round goes on as it is."""
    UPHELD = "UPHELD"
    """The round is rejected."""
    SET_ASIDE = "SET_ASIDE"
    """The round goes on, and holds the collective's amount back as disputed."""


class ObjectionContent(ActContent):
    """A collective objects to a calculated round, which it may do once, before the review is over."""

    type: ClassVar[str] = "objection.v1"
    kind: ClassVar[Kind | None] = None
    done_by: ClassVar[str] = COLLECTIVES

    round: int
    round_hash: Sha256Hex
    """The leaf hash of the round's entry."""
    reason: str

    @property
    def collective(self) -> str:
        """The id of the collective that objects."""
        return self.by.removeprefix(COLLECTIVES)

    @property
    def key(self) -> Hashable:
        """The round and the collective."""
        return self.round, self.collective


class AnswerContent(ActContent):
    """An operator who did not calculate the round answered an objection."""

    type: ClassVar[str] = "answer.v1"
    kind: ClassVar[Kind | None] = None

    round: int
    collective: str
    objection_hash: Sha256Hex
    """The leaf hash of the objection's entry."""
    answer: str
    reason: str


def review_runs(calculated_at: datetime, policy: Policy, time: datetime) -> bool:
    """Whether a round is still under review at a time. Its end is not asked for: there may be no such date."""
    return time - calculated_at < timedelta(seconds=policy.review_seconds)


def review_ends(calculated_at: datetime, policy: Policy) -> datetime:
    """The earliest that a round may be posted."""
    return calculated_at + timedelta(seconds=policy.review_seconds)
