"""Rounds: one pure function decides who gets what.

`distribute` both makes and replays a round. It takes and returns integers; no clock, no randomness, no floating-point
number and no unordered iteration affects it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from ledger.registry import PPM, Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY, HUMAN_AI, MODES
from payout.amounts import NOTHING_CARRIED, Carried, divide, nothing_of
from payout.policy import Policy, counted_weight
from payout.weights import UsageKey, UsageSum


class Line(NamedTuple):
    """One collective in a round: its figures and its two amounts.

    A tuple, since a round may have a million of them: a dataclass takes four times as long to make.

    The weights by mode are raw. With the policy's factors applied and `deficit_before` subtracted, they are `weight`;
    if that is negative, it is `deficit_after`, which the next round subtracts. The fractions before and after, in
    nano-minor units below 10^9, are what each of the two amounts had carried to it, and what it carries on.
    """

    collective: str
    status: CollectiveStatus
    events: int
    weight_ai_only: int
    weight_human_ai: int
    deficit_before: int
    weight: int
    deficit_after: int
    attributed_minor: int
    commons_minor: int
    attributed_before_nano: int = 0
    attributed_after_nano: int = 0
    commons_before_nano: int = 0
    commons_after_nano: int = 0

    @property
    def amount_minor(self) -> int:
        """Both parts together."""
        return self.attributed_minor + self.commons_minor


class Nothing(StrEnum):
    """Why no round is cut, so that nothing is used up: it would give nobody anything, or its period cannot close."""

    NO_MONEY = "NO_MONEY"
    """There is no revenue."""
    NO_USAGE = "NO_USAGE"
    """There is no usage that the policy counts."""
    NOT_PLACED = "NOT_PLACED"
    """The policy lets nobody take any of the pot: it cannot cover every floor, say."""
    PERIOD_RUNS = "PERIOD_RUNS"
    """The next period is not over."""
    REPORTS_MISSING = "REPORTS_MISSING"
    """A report of the next period is missing or not received, and nobody waived it."""


@dataclass(frozen=True, slots=True)
class Deficits:
    """Weight that retractions took back beyond what there was, and that the next round subtracts."""

    unattributed: int = 0
    by_collective: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Who gets what, in minor units. Always `pot == fee + attributed + commons + commons_kept + carried + rounding`.

    `carried_minor` stays in the revenue; `rounding_minor` is what the account `rounding` gains, or gives where it is
    negative, so that it covers the fractions that the lines and `kept_after_nano`, the commons fund's own, carry on.
    """

    events: int
    retracted: int
    weight: int
    weight_unattributed: int
    deficit_unattributed: int
    pot_minor: int
    fee_minor: int
    attributed_minor: int
    commons_minor: int
    commons_kept_minor: int
    carried_minor: int
    rounding_minor: int
    kept_after_nano: int
    lines: tuple[Line, ...]


def distribute(
    policy: Policy,
    pot_minor: int,
    usage: Mapping[UsageKey, UsageSum],
    confidence_ppm: Mapping[tuple[str, int], int],
    collectives: Sequence[Collective],
    deficits: Deficits = Deficits(),
    carried: Carried = NOTHING_CARRIED,
) -> Distribution:
    """Distribute a pot over the collectives, as docs/distribution.md says.

    If there is no usage, or none that the policy counts, nothing is distributed and the pot carries over.

    Args:
        policy: the terms in force.
        pot_minor: what there is to distribute.
        usage: sums by method version and mode.
        confidence_ppm: by method version.
        collectives: every registered one, sorted by the bytes of its name.
        deficits: those that the last posted round left.
        carried: the fractions that it left.
    """
    earned, earned_unattributed = _policy_weights(policy, usage, confidence_ppm)
    net = [earned.get(c.name, 0) - deficits.by_collective.get(c.name, 0) for c in collectives]
    net_unattributed = earned_unattributed - deficits.unattributed
    weights, unattributed = [max(0, weight) for weight in net], max(0, net_unattributed)
    if sum(weights) + unattributed:
        amounts = divide(policy, pot_minor, weights, unattributed, collectives, carried)
    else:
        amounts = nothing_of(collectives, carried)
    left, attributed, commons = amounts.carried, sum(amounts.attributed_minor), sum(amounts.commons_minor)
    names = [collective.name for collective in collectives]

    def each(figures: Mapping[str, int]) -> list[int]:
        return [figures.get(name, 0) for name in names] if figures else [0] * len(names)

    raw = {mode: _by_collective(total.attributed for key, total in usage.items() if key.mode == mode) for mode in MODES}
    events = _by_collective(total.counts for total in usage.values())
    columns = {
        "collective": names,
        "status": [collective.status for collective in collectives],
        "events": each(events),
        "weight_ai_only": each(raw[AI_ONLY]),
        "weight_human_ai": each(raw[HUMAN_AI]),
        "deficit_before": each(deficits.by_collective),
        "weight": weights,
        "deficit_after": [max(0, -weight) for weight in net],
        "attributed_minor": amounts.attributed_minor,
        "commons_minor": amounts.commons_minor,
        "attributed_before_nano": each(carried.attributed_nano),
        "attributed_after_nano": each(left.attributed_nano),
        "commons_before_nano": each(carried.commons_nano),
        "commons_after_nano": each(left.commons_nano),
    }
    lines = tuple(map(Line._make, zip(*(columns[name] for name in Line._fields), strict=True)))
    return Distribution(
        events=sum(total.events for total in usage.values()),
        retracted=sum(total.retracted for total in usage.values()),
        weight=sum(weights),
        weight_unattributed=unattributed,
        deficit_unattributed=max(0, -net_unattributed),
        pot_minor=pot_minor,
        fee_minor=amounts.fee_minor,
        attributed_minor=attributed,
        commons_minor=commons,
        commons_kept_minor=amounts.kept_minor,
        carried_minor=pot_minor
        - (amounts.fee_minor + attributed + commons + amounts.kept_minor + amounts.rounding_minor),
        rounding_minor=amounts.rounding_minor,
        kept_after_nano=left.kept_nano,
        lines=lines,
    )


def _policy_weights(
    policy: Policy, usage: Mapping[UsageKey, UsageSum], confidence_ppm: Mapping[tuple[str, int], int]
) -> tuple[dict[str, int], int]:
    """Returns A[c] by collective, and C, before deficits."""
    mode_ppm = {AI_ONLY: policy.ai_only_ppm, HUMAN_AI: policy.human_ai_ppm}
    weights: dict[str, int] = {}
    unattributed = 0
    for key, total in usage.items():
        confidence = confidence_ppm[key.method, key.method_version]
        for collective, weight in total.attributed.items():
            counted = counted_weight(weight, mode_ppm[key.mode], confidence)
            weights[collective] = weights.get(collective, 0) + counted
        doubted = (PPM - confidence) * sum(total.attributed.values())
        unattributed += mode_ppm[key.mode] * (PPM * total.unattributed + doubted)
    return weights, unattributed


def _by_collective(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    first, *others = [*parts] or [{}]
    sums = dict(first)
    for part in others:
        for collective, value in part.items():
            sums[collective] = sums.get(collective, 0) + value
    return sums
