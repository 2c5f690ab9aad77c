"""Policies: the terms under which a pool is distributed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from math import isqrt
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from ledger.errors import InvalidInputError, Sentence
from ledger.income import Period
from ledger.log.leaves import DecimalInt, is_empty, is_zero
from ledger.money import MAX_AMOUNT_MINOR
from ledger.registry import PPM, require_range

MAX_MODE_PPM: Final = 10 * PPM
MAX_REVIEW_SECONDS: Final = 366 * 24 * 3600
MIN_SILENCE_SECONDS: Final = 3 * 24 * 3600
"""Silence agrees to nothing before whoever might object has had a weekend and a working day."""


FIRST_MONTH: Final = 12 * 1970
"""Usage is not older."""


class UnattributedRule(StrEnum):
    """What happens to weight that no collective claims."""

    COMMONS = "COMMONS"
    PRO_RATA = "PRO_RATA"


class CommonsRule(StrEnum):
    """How the commons is shared."""

    EQUAL = "EQUAL"
    PER_CAPITA = "PER_CAPITA"
    EQUITY = "EQUITY"
    FUND = "FUND"


class Tempering(StrEnum):
    """How a weight becomes a claim."""

    PROPORTIONAL = "PROPORTIONAL"
    SQRT = "SQRT"
    EQUAL = "EQUAL"


class Rounding(StrEnum):
    """What becomes of the fractions of a minor unit that an exact share has."""

    CARRIED = "CARRIED"
    """They are carried to the collective's next round, so that over many rounds nobody is off by a unit."""
    PLACED = "PLACED"
    """Largest remainder: every unit is placed in every round, and no round knows of another."""


class Approval(StrEnum):
    """What a round that has a review waits for."""

    OPERATOR = "OPERATOR"
    """An operator, who approves it once the review is over."""
    SILENCE = "SILENCE"
    """The end of the review: a round cut by schedule to which nobody objected is then approved by its policy."""


class Periods(StrEnum):
    """Which periods of UTC a pool's rounds close, one each."""

    NONE = "NONE"
    """None: a round is of what was logged since the last one."""
    MONTH = "MONTH"
    QUARTER = "QUARTER"
    YEAR = "YEAR"

    @property
    def months(self) -> int:
        """How many months a period has; 0 for none."""
        return {Periods.NONE: 0, Periods.MONTH: 1, Periods.QUARTER: 3, Periods.YEAR: 12}[self]


class Policy(BaseModel):
    """One version of a pool's terms. Amounts are in minor units, rates in millionths; None means no cap."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    fee_ppm: int = 0
    fee_cap_minor: DecimalInt | None = None
    commons_ppm: int = 0
    unattributed: Annotated[UnattributedRule, Field(strict=False)] = UnattributedRule.COMMONS
    commons_rule: Annotated[CommonsRule, Field(strict=False)] = CommonsRule.EQUAL
    tempering: Annotated[Tempering, Field(strict=False)] = Tempering.PROPORTIONAL
    floor_minor: DecimalInt = 0
    cap_minor: DecimalInt | None = None
    ai_only_ppm: int = PPM
    human_ai_ppm: int = PPM
    review_seconds: int = 0
    rounding: Annotated[Rounding, Field(strict=False)] = Rounding.CARRIED
    approval: Annotated[Approval, Field(strict=False, exclude_if=lambda value: value is Approval.OPERATOR)] = (
        Approval.OPERATOR
    )
    period: Annotated[Periods, Field(strict=False, exclude_if=lambda value: value is Periods.NONE)] = Periods.NONE
    period_from: str = Field(default="", exclude_if=is_empty)
    """The first period that a round closes, where the round before it was of none; empty without periods."""
    public: bool = Field(default=False, exclude_if=lambda value: not value)
    """Whether everyone may see the pool's terms, totals and commons, without signing in."""

    recoup_ppm: int = Field(default=0, exclude_if=is_zero)
    """The share of what a round gives to a collective that pays back what adjustments ask of it."""

    def require_sound(self) -> Policy:
        """Returns the policy if it is valid.

        Raises:
            InvalidInputError: a field is out of bounds; the error names it.
        """
        require_range(self.fee_ppm, "policy.fee_ppm", 0, PPM)
        require_range(self.fee_cap_minor or 0, "policy.fee_cap_minor", 0, MAX_AMOUNT_MINOR)
        require_range(self.commons_ppm, "policy.commons_ppm", 0, PPM)
        require_range(self.floor_minor, "policy.floor_minor", 0, MAX_AMOUNT_MINOR)
        require_range(self.cap_minor or 0, "policy.cap_minor", 0, MAX_AMOUNT_MINOR)
        require_range(self.ai_only_ppm, "policy.ai_only_ppm", 0, MAX_MODE_PPM)
        require_range(self.human_ai_ppm, "policy.human_ai_ppm", 0, MAX_MODE_PPM)
        require_range(self.review_seconds, "policy.review_seconds", 0, MAX_REVIEW_SECONDS)
        require_range(self.recoup_ppm, "policy.recoup_ppm", 0, PPM)
        if self.approval is Approval.SILENCE and self.review_seconds < MIN_SILENCE_SECONDS:
            reason = Sentence(
                "needs a review of at least %(least)s seconds, has %(got)s",
                least=MIN_SILENCE_SECONDS,
                got=self.review_seconds,
            )
            raise InvalidInputError.of("policy.approval", reason)
        if self.cap_minor is not None and self.cap_minor < self.floor_minor:
            raise InvalidInputError.of(
                "policy.cap_minor", "must be at least the floor, %(least)s", least=self.floor_minor
            )
        self._require_first_period()
        return self

    def _require_first_period(self) -> None:
        if self.period is Periods.NONE:
            if self.period_from:
                raise InvalidInputError.of("policy.period_from", "must be empty without a period")
            return
        first = Period.parse(self.period_from, "policy.period_from")
        if first.months != self.period.months or first.first < FIRST_MONTH:
            reason = Sentence(
                "must be a %(period)s from 1970 on, got %(got)s", period=self.period.value.lower(), got=self.period_from
            )
            raise InvalidInputError.of("policy.period_from", reason)

    def fee(self, pot_minor: int) -> int:
        """Returns the operator's fee on a pot, in minor units, rounded down."""
        fee = pot_minor * self.fee_ppm // PPM
        return fee if self.fee_cap_minor is None else min(fee, self.fee_cap_minor)

    def claims(self, weights: Sequence[int]) -> list[int]:
        """Returns the tempered weights, in the same order; zero stays zero."""
        match self.tempering:
            case Tempering.PROPORTIONAL:
                return list(weights)
            case Tempering.SQRT:
                return [isqrt(weight) for weight in weights]
            case Tempering.EQUAL:
                return [1 if weight else 0 for weight in weights]


def counted_weight(weight: int, mode_ppm: int, confidence_ppm: int) -> int:
    """Returns what a raw weight counts for: times the policy's multiplier of its mode and its method's confidence."""
    return weight * mode_ppm * confidence_ppm


def policy_in_force(policies: list[tuple[int, int, Policy]], start: int) -> tuple[int, int, Policy]:
    """Returns the last policy logged before `start`; for a pool's first round, the policy of its first leaf."""
    return [found for found in policies if found[0] < start or found[0] == 0][-1]
