"""From a pot and the weights to what each part of it is, and the fractions of a minor unit that are left over.

Under `PLACED` the whole computation is in minor units, and largest remainder places each of them. Under `CARRIED` it is
in nano-minor units: every part is rounded down to one, what was carried for it from the last posted round is added, and
whole minor units are given; the rest, below one, is carried on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from ledger.registry import NANO, PPM, Collective
from payout.apportionment import apportion, proportion, quotas
from payout.policy import CommonsRule, Policy, Rounding, UnattributedRule


@dataclass(frozen=True, slots=True)
class Carried:
    """Fractions of minor units that are owed, each in nano-minor units below 10^9; what is absent is 0."""

    kept_nano: int = 0
    """Owed to the commons fund."""
    attributed_nano: Mapping[str, int] = field(default_factory=dict)
    """Of each collective's attributed part."""
    commons_nano: Mapping[str, int] = field(default_factory=dict)
    """Of each collective's commons part."""

    def whole_minor(self) -> int:
        """Returns the least number of minor units that covers all of them: the balance of the account `rounding`."""
        total = self.kept_nano + sum(self.attributed_nano.values()) + sum(self.commons_nano.values())
        return -(-total // NANO)


NOTHING_CARRIED: Final = Carried()


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a pot comes to, in minor units; parts are in the order of the collectives.

    Always `pot == fee + sum of attributed + sum of commons + kept + rounding + what carries over`.
    """

    fee_minor: int
    attributed_minor: Sequence[int]
    commons_minor: Sequence[int]
    kept_minor: int
    rounding_minor: int
    """What the account `rounding` gains, or below zero what it gives."""
    carried: Carried
    """What is left for the next round."""


def nothing_of(collectives: Sequence[Collective], carried: Carried) -> Amounts:
    """Returns amounts of zero, with what was carried carried on."""
    none = [0] * len(collectives)
    return Amounts(0, none, none, 0, 0, carried)


def divide(
    policy: Policy,
    pot_minor: int,
    weights: Sequence[int],
    unattributed: int,
    collectives: Sequence[Collective],
    carried: Carried,
) -> Amounts:
    """Divides a pot by the policy's weights; at least one of them, or `unattributed`, is positive."""
    fee = policy.fee(pot_minor)
    unit = part_unit(policy)
    attributed_pot, commons_pot = _pots(policy, (pot_minor - fee) * unit, sum(weights), unattributed)
    attributed = _attributed(policy, attributed_pot, weights, unit)
    kept = commons_pot if policy.commons_rule is CommonsRule.FUND else 0
    commons = _share(policy, commons_pot - kept, commons_weights(policy.commons_rule, collectives))
    if policy.rounding is Rounding.PLACED:
        return Amounts(fee, attributed, commons, kept, 0, carried)
    names = [collective.name for collective in collectives]
    whole_attributed, attributed_nano = _whole_units(names, attributed, carried.attributed_nano)
    whole_commons, commons_nano = _whole_units(names, commons, carried.commons_nano)
    whole_kept, kept_nano = divmod(kept + carried.kept_nano, NANO)
    left = Carried(kept_nano, attributed_nano, commons_nano)
    rounding = left.whole_minor() - carried.whole_minor()
    return Amounts(fee, whole_attributed, whole_commons, whole_kept, rounding, left)


@dataclass(frozen=True, slots=True)
class Proportions:
    """What a unit of claim and a unit of commons weight come to, in the unit of `part_unit`."""

    attributed: Fraction | None
    """None where the pot cannot cover every floor, so that nobody gets an attributed part."""
    commons: Fraction


def part_unit(policy: Policy) -> int:
    """How many units, in which parts are computed, a minor unit has."""
    return NANO if policy.rounding is Rounding.CARRIED else 1


def proportions(
    policy: Policy, pot_minor: int, weights: Sequence[int], unattributed: int, collectives: Sequence[Collective]
) -> Proportions:
    """Returns what `divide` multiplies claims and commons weights by, before bounds, carries and rounding."""
    if not sum(weights) + unattributed:
        return Proportions(Fraction(0), Fraction(0))
    unit = part_unit(policy)
    attributed_pot, commons_pot = _pots(policy, (pot_minor - policy.fee(pot_minor)) * unit, sum(weights), unattributed)
    kept = commons_pot if policy.commons_rule is CommonsRule.FUND else 0
    commons = proportion(commons_pot - kept, commons_weights(policy.commons_rule, collectives))
    claims = policy.claims(weights)
    if not _floors_are_covered(policy, attributed_pot, claims, unit):
        return Proportions(None, commons)
    cap = None if policy.cap_minor is None else policy.cap_minor * unit
    return Proportions(proportion(attributed_pot, claims, floor=policy.floor_minor * unit, cap=cap), commons)


def _whole_units(
    names: Sequence[str], parts_nano: Sequence[int], carried_nano: Mapping[str, int]
) -> tuple[list[int], dict[str, int]]:
    """Returns each part with what was carried for it as minor units, and the nano-minor units to carry on."""
    amounts, left = [], {}
    for name, part in zip(names, parts_nano, strict=True):
        amount, fraction = divmod(part + carried_nano.get(name, 0), NANO)
        amounts.append(amount)
        if fraction:
            left[name] = fraction
    return amounts, left


def _share(policy: Policy, total: int, weights: Sequence[int], *, floor: int = 0, cap: int | None = None) -> list[int]:
    rule = quotas if policy.rounding is Rounding.CARRIED else apportion
    return rule(total, weights, floor=floor, cap=cap)


def _pots(policy: Policy, net: int, weight: int, unattributed: int) -> tuple[int, int]:
    """Returns the attributed and the commons pot, in the unit of `net`."""
    divisible = net - net * policy.commons_ppm // PPM
    if policy.unattributed is UnattributedRule.PRO_RATA:
        return divisible, net - divisible
    attributed, _ = _share(policy, divisible, [weight, unattributed])
    return attributed, net - attributed


def _attributed(policy: Policy, pot: int, weights: Sequence[int], unit: int) -> list[int]:
    claims = policy.claims(weights)
    if not _floors_are_covered(policy, pot, claims, unit):
        # The pot cannot cover every floor: it would be unfair to apply some of them, so the pot waits.
        return [0] * len(claims)
    cap = None if policy.cap_minor is None else policy.cap_minor * unit
    return _share(policy, pot, claims, floor=policy.floor_minor * unit, cap=cap)


def _floors_are_covered(policy: Policy, pot: int, claims: Sequence[int], unit: int) -> bool:
    return policy.floor_minor * unit * sum(1 for claim in claims if claim) <= pot


def commons_weights(rule: CommonsRule, collectives: Sequence[Collective]) -> list[int]:
    """Returns what each collective's commons part is in proportion to."""
    match rule:
        case CommonsRule.PER_CAPITA:
            return [collective.members for collective in collectives]
        case CommonsRule.EQUITY:
            return [collective.members * collective.equity_ppm for collective in collectives]
        case CommonsRule.EQUAL | CommonsRule.FUND:
            return [1] * len(collectives)
