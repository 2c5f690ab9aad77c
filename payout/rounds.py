"""Rounds: one pure function decides who gets what.

`distribute` both makes and replays a round. It takes and returns integers; no clock, no randomness, no floating-point
number and no unordered iteration affects it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ledger.registry import PPM, Collective, CollectiveStatus
from ledger.usage.format import AI_ONLY, HUMAN_AI, MODES
from payout.apportionment import apportion
from payout.policy import CommonsRule, Policy, UnattributedRule, counted_weight
from payout.weights import UsageKey, UsageSum


@dataclass(frozen=True, slots=True)
class Line:
    """One collective in a round: its figures and its two amounts.

    The weights by mode are raw. With the policy's factors applied and `deficit_before` subtracted, they are `weight`;
    if that is negative, it is `deficit_after`, which the next round subtracts.
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

    @property
    def amount_minor(self) -> int:
        """Both parts together."""
        return self.attributed_minor + self.commons_minor


@dataclass(frozen=True, slots=True)
class Deficits:
    """Weight that retractions took back beyond what there was, and that the next round subtracts."""

    unattributed: int = 0
    by_collective: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Distribution:
    """Who gets what. Always `pot == fee + attributed + commons + commons_kept + carried`, in minor units."""

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
    lines: tuple[Line, ...]


def distribute(
    policy: Policy,
    pot_minor: int,
    usage: Mapping[UsageKey, UsageSum],
    confidence_ppm: Mapping[tuple[str, int], int],
    collectives: Sequence[Collective],
    deficits: Deficits = Deficits(),
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
    """
    earned, earned_unattributed = _policy_weights(policy, usage, confidence_ppm)
    net = [earned.get(c.name, 0) - deficits.by_collective.get(c.name, 0) for c in collectives]
    net_unattributed = earned_unattributed - deficits.unattributed
    weights, unattributed = [max(0, weight) for weight in net], max(0, net_unattributed)
    if not sum(weights) + unattributed:
        attributed, commons = [0] * len(net), [0] * len(net)
        fee = kept = 0
    else:
        fee = policy.fee(pot_minor)
        attributed_pot, commons_pot = _pots(policy, pot_minor - fee, sum(weights), unattributed)
        attributed = _attributed(policy, attributed_pot, weights)
        kept = commons_pot if policy.commons_rule is CommonsRule.FUND else 0
        commons = apportion(commons_pot - kept, _commons_weights(policy.commons_rule, collectives))
    raw = {mode: _by_collective(total.attributed for key, total in usage.items() if key.mode == mode) for mode in MODES}
    events = _by_collective(total.counts for total in usage.values())
    lines = tuple(
        Line(
            collective=collective.name,
            status=collective.status,
            events=events.get(collective.name, 0),
            weight_ai_only=raw[AI_ONLY].get(collective.name, 0),
            weight_human_ai=raw[HUMAN_AI].get(collective.name, 0),
            deficit_before=deficits.by_collective.get(collective.name, 0),
            weight=max(0, weight),
            deficit_after=max(0, -weight),
            attributed_minor=attributed_minor,
            commons_minor=commons_minor,
        )
        for collective, weight, attributed_minor, commons_minor in zip(
            collectives, net, attributed, commons, strict=True
        )
    )
    return Distribution(
        events=sum(total.events for total in usage.values()),
        retracted=sum(total.retracted for total in usage.values()),
        weight=sum(weights),
        weight_unattributed=unattributed,
        deficit_unattributed=max(0, -net_unattributed),
        pot_minor=pot_minor,
        fee_minor=fee,
        attributed_minor=sum(attributed),
        commons_minor=sum(commons),
        commons_kept_minor=kept,
        carried_minor=pot_minor - fee - sum(attributed) - sum(commons) - kept,
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
    sums: dict[str, int] = {}
    for part in parts:
        for collective, value in part.items():
            sums[collective] = sums.get(collective, 0) + value
    return sums


def _pots(policy: Policy, net_minor: int, weight: int, unattributed: int) -> tuple[int, int]:
    """Returns the attributed and the commons pot."""
    standing = net_minor * policy.commons_ppm // PPM
    if policy.unattributed is UnattributedRule.PRO_RATA:
        return net_minor - standing, standing
    attributed, rest = apportion(net_minor - standing, [weight, unattributed])
    return attributed, standing + rest


def _attributed(policy: Policy, pot_minor: int, weights: Sequence[int]) -> list[int]:
    claims = policy.claims(weights)
    if policy.floor_minor * sum(1 for claim in claims if claim) > pot_minor:
        # The pot cannot cover every floor: it would be unfair to apply some of them, so the pot waits.
        return [0] * len(claims)
    return apportion(pot_minor, claims, floor=policy.floor_minor, cap=policy.cap_minor)


def _commons_weights(rule: CommonsRule, collectives: Sequence[Collective]) -> list[int]:
    match rule:
        case CommonsRule.PER_CAPITA:
            return [collective.members for collective in collectives]
        case CommonsRule.EQUITY:
            return [collective.members * collective.equity_ppm for collective in collectives]
        case CommonsRule.EQUAL | CommonsRule.FUND:
            return [1] * len(collectives)
