"""The entries of a pool's log about distribution (terms, rounds, decisions, postings), and the list of all types."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from ledger.acts.act import ActContent
from ledger.acts.controls import Kind
from ledger.acts.entries import CollectiveContent, DecisionContent, ProposalContent
from ledger.entries import BookingContent, GrantContent, PayingContent, PaymentContent, ReleaseContent
from ledger.income import MatchContent, ReceiptContent, ReportContent, ReversalContent, WaiverContent
from ledger.journal import (
    COMMONS,
    FEES,
    REVENUE,
    ROUNDING,
    Purpose,
    Transfer,
    held_account,
)
from ledger.log.leaves import (
    AmountMinor,
    Content,
    DecimalInt,
    Past,
    Sha256Hex,
    is_empty,
    is_none,
    is_zero,
)
from ledger.usage.entries import (
    AdmissionContent,
    ClosingContent,
    IdSchemeContent,
    MembershipContent,
    MethodContent,
    RetractionContent,
    UsageContent,
)
from payout.adjustments import AdjustmentContent, account_of, recouped_by
from payout.objections import AnswerContent, ObjectionContent
from payout.policy import Policy
from payout.rounds import Line, Nothing
from payout.splits import SplitContent
from payout.statement import parse_statement
from payout.tariffs import TariffContent


class PoolContent(ActContent):
    """A pool was opened, with its first policy: the first leaf of its log.

    `opened_at` is the registry's leaf that opened the pool; where two people are needed, it follows the approval.
    """

    type: ClassVar[str] = "pool.v1"
    kind: ClassVar[Kind | None] = None

    opened_at: int = 0
    display_name: str
    currency: str
    distribute: str
    policy: Policy
    platforms: list[str]
    """The ids of the platforms that may report from the start."""


class PolicyContent(ActContent):
    """A pool's next policy was logged. It applies to the rounds that start after it."""

    type: ClassVar[str] = "policy.v1"
    kind: ClassVar[Kind | None] = Kind.TERMS

    version: int
    policy: Policy


class ScheduleContent(ActContent):
    """A pool's schedule was set. If the times changed, fire times count from the leaf's time."""

    type: ClassVar[str] = "schedule.v1"
    kind: ClassVar[Kind | None] = Kind.TERMS

    cron: str
    time_zone: str
    paused: bool


class PauseContent(ActContent):
    """A pool's schedule was paused, which one person may always do."""

    type: ClassVar[str] = "pause.v1"
    kind: ClassVar[Kind | None] = None


class FireTimes(BaseModel):
    """The scheduled times that a round answers: the first, the last, and how many they are.

    Times are in RFC 3339 and UTC, to the second: `2026-03-01T00:00:00Z`.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    first: str
    last: str
    count: int

    def moments(self) -> tuple[datetime, datetime]:
        """The first and the last.

        Raises:
            ValueError: they are not times, are not in order, or are not as many as `count` says.
        """
        first, last = (datetime.strptime(text, _FIRE_TIME).replace(tzinfo=UTC) for text in (self.first, self.last))
        if (first.strftime(_FIRE_TIME), last.strftime(_FIRE_TIME)) != (self.first, self.last):
            raise ValueError("must be times like 2026-03-01T00:00:00Z")
        if self.count < 1 or first > last or (self.count == 1) != (first == last):
            raise ValueError(f"must be so many times from the first to the last, got {self.count:,}")
        return first, last


_FIRE_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class RoundContent(ActContent):
    """A round was calculated. All of its inputs are named by hash or by place in a log.

    `statement_root` commits to what each line follows from, so that one can be shown without the others.
    Its registry is that of the first `registry_size` leaves of the registry's log, whose root it names.
    """

    type: ClassVar[str] = "round.v1"
    kind: ClassVar[Kind | None] = None

    number: int
    previous: int
    start: int
    end: int
    root: Sha256Hex
    policy_leaf: int
    policy_version: int
    registry_root: Sha256Hex
    registry_sha256: Sha256Hex
    statement_sha256: Sha256Hex
    weights_sha256: Sha256Hex
    salt_sha256: Sha256Hex
    """Of the 32 random bytes from which each line's salt follows."""
    statement_root: Sha256Hex
    """The root of the tree of dossiers, one for each line of the statement."""
    statement_lines: int
    events: int
    retracted: int
    weight: DecimalInt
    weight_unattributed: DecimalInt
    deficit_unattributed: DecimalInt
    pot_minor: AmountMinor
    fee_minor: AmountMinor
    attributed_minor: AmountMinor
    commons_minor: AmountMinor
    commons_kept_minor: AmountMinor
    carried_minor: AmountMinor
    rounding_minor: AmountMinor
    kept_after_nano: int
    request_id: str
    fire_times: FireTimes | None
    period: str = Field(default="", exclude_if=is_empty)
    """The period that it closes; what follows is left out without one, or where it is nothing."""
    usage_from: int | None = Field(default=None, exclude_if=is_none)
    """The first leaf whose usage may be in it, where that is before `start`: a month that earlier rounds left."""
    late_events: int = Field(default=0, exclude_if=is_zero)
    """Its usage of months before the period."""
    late_retracted: int = Field(default=0, exclude_if=is_zero)
    late_minor: AmountMinor = Field(default=0, exclude_if=is_zero)
    """Its pot as far as it is of earlier periods: money that came late, or was carried over."""
    waived: list[str] = Field(default=[], exclude_if=lambda names: not names)
    """The platforms whose reports for the period are missing or not received, and were waived."""

    @property
    def usage_start(self) -> int:
        """The first leaf whose usage may be in it."""
        return self.start if self.usage_from is None else self.usage_from

    @property
    def key(self) -> Hashable:
        """Its number."""
        return self.number

    @property
    def nothing(self) -> Nothing | None:
        """Why it gives nothing to anyone; None where it does, as every round that the service cuts."""
        if self.attributed_minor or self.commons_minor or self.commons_kept_minor or self.rounding_minor:
            return None
        if not self.pot_minor:
            return Nothing.NO_MONEY
        return Nothing.NOT_PLACED if self.weight + self.weight_unattributed else Nothing.NO_USAGE

    @property
    def uses_up_usage_for_nothing(self) -> bool:
        """Whether usage counts in it and is paid nothing. Without usage nothing is lost: the pot carries over."""
        return self.nothing is not None and bool(self.weight + self.weight_unattributed)

    @property
    def identity(self) -> tuple[str, ...]:
        """The id of the request that it answers."""
        return "request_id", self.type, self.request_id


class PostingContent(Content):
    """A round's transfers were written; they follow from its statement."""

    type: ClassVar[str] = "posting.v1"

    round: int
    transfer_count: int
    amount_minor: AmountMinor
    set_aside: list[str] = Field(default=[], exclude_if=lambda names: not names)
    """The collectives, by id, whose objections were set aside: what they get is held as disputed."""
    review_began_sha256: str = Field(default="", exclude_if=is_empty)
    """A note that witnesses cosigned of the log with its round: the review began then. Empty if none time reviews."""
    review_ended_sha256: str = Field(default="", exclude_if=is_empty)
    """A note that they cosigned after the review."""
    recoup_ppm: int = Field(default=0, exclude_if=is_zero)
    """The share that pays back what adjustments ask of collectives: its policy's."""

    def bodies(self) -> Mapping[str, str]:
        """The two notes, where witnesses time reviews."""
        return {name: digest for name, digest in Content.bodies(self).items() if digest}

    def transfers(self, past: Past) -> Sequence[Transfer]:
        """What its round's statement gives to whom."""
        content = past.entry(RoundContent, self.round)
        lines = past.parsed(content.statement_sha256, parse_statement)
        aside = frozenset(self.set_aside)
        transfers = posting_transfers(content, lines, aside)
        if not self.recoup_ppm:
            return transfers
        return [*transfers, *recouped_by(self.recoup_ppm, lines, aside, past.balance)]


def posting_transfers(
    content: RoundContent, lines: Sequence[Line], set_aside: AbstractSet[str] = frozenset()
) -> list[Transfer]:
    """Returns what posting a round moves: the fee, each collective's two parts in statement order, the fund's part.

    What is set aside is one part, and goes to the collective's held account. Last comes what `rounding` needs to cover
    the fractions that are carried on, or what it gives back.
    """
    transfers: list[Transfer] = []

    def move(to_account: str, amount_minor: int, purpose: Purpose) -> None:
        if amount_minor:
            transfers.append(Transfer(REVENUE, to_account, amount_minor, purpose))

    move(FEES, content.fee_minor, Purpose.FEE)
    for line in lines:
        if line.collective in set_aside:
            move(held_account(line.collective), line.amount_minor, Purpose.DISPUTED)
            continue
        account = account_of(line, set_aside)
        move(account, line.attributed_minor, Purpose.ATTRIBUTED)
        move(account, line.commons_minor, Purpose.COMMONS)
    move(COMMONS, content.commons_kept_minor, Purpose.COMMONS_FUND)
    if content.rounding_minor >= 0:
        move(ROUNDING, content.rounding_minor, Purpose.ROUNDING)
    else:
        transfers.append(Transfer(ROUNDING, REVENUE, -content.rounding_minor, Purpose.ROUNDING))
    return transfers


_KINDS: Final[tuple[type[Content], ...]] = (
    PoolContent, PolicyContent, ScheduleContent, PauseContent, AdmissionContent, ClosingContent, MethodContent,
    MembershipContent, IdSchemeContent, UsageContent, RetractionContent, ReportContent,
    RoundContent, ObjectionContent, AnswerContent, ProposalContent, DecisionContent, PostingContent, SplitContent,
    PaymentContent, ReleaseContent, GrantContent, ReceiptContent, MatchContent, ReversalContent, WaiverContent,
    TariffContent, PayingContent, BookingContent, AdjustmentContent,
)  # fmt: skip
CONTENTS: Final[dict[str, type[Content]]] = {kind.type: kind for kind in _KINDS}
"""Every type of entry that a pool's log may hold."""

DISTRIBUTES: Final = frozenset(
    kind.type for kind in (PolicyContent, MethodContent, MembershipContent, CollectiveContent)
)
"""The types of acts that a past round can be computed again with, as `as_proposed` and `rereading` do."""
