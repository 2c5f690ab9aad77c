"""A round's amounts, recomputed from its weights: the usage is summed by the engine, the few figures left divided here.

This is docs/distribution.md written a second time, in the plainest way there is, so that the service's own function has
someone to agree with. It does not share a line with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

from moiety.analysis.export import Export, Row, rows, total
from moiety.analysis.weights import PPM, RoundTerms, require_fit, round_terms, unattributed_of, weights_of


@dataclass(frozen=True, slots=True)
class RecomputedRound:
    """A round's figures under the names that `rounds` has them, and its lines under those of `allocations`."""

    figures: Row
    lines: tuple[Row, ...]


def recompute_round(export: Export, number: int) -> RecomputedRound:
    """Everything about a round that its statement says, from usage, transfers, terms and the registry snapshot.

    Raises:
        AnalysisError: the export has no such round, or its weights do not fit a DECIMAL(38, 0).
    """
    terms = round_terms(export, number)
    require_fit(export, terms)
    policy = terms.policy
    lines = rows(weights_of(export, terms))
    (unattributed,) = rows(unattributed_of(export, terms))
    weights = [line["weight"] for line in lines]
    pot = _pot(export, terms)
    fee = kept = 0
    attributed = commons = [0] * len(lines)
    if sum(weights) + unattributed["weight_unattributed"]:
        fee = pot * policy["fee_ppm"] // PPM
        fee = fee if policy["fee_cap_minor"] is None else min(fee, policy["fee_cap_minor"])
        standing = (pot - fee) * policy["commons_ppm"] // PPM
        pro_rata = policy["unattributed"] == "PRO_RATA"
        parts = [1, 0] if pro_rata else [sum(weights), unattributed["weight_unattributed"]]
        attributed_pot, rest = apportion(pot - fee - standing, parts)
        attributed = _attributed(policy, attributed_pot, weights)
        kept = standing + rest if policy["commons_rule"] == "FUND" else 0
        commons = apportion(standing + rest - kept, [_commons_weight(policy, line) for line in lines])
    figures = {
        "weight": sum(weights),
        **unattributed,
        "pot_minor": pot,
        "fee_minor": fee,
        "attributed_minor": sum(attributed),
        "commons_minor": sum(commons),
        "commons_kept_minor": kept,
        "carried_minor": pot - fee - sum(attributed) - sum(commons) - kept,
    }
    amounts = zip(lines, attributed, commons, strict=True)
    return RecomputedRound(
        figures,
        tuple(
            {**line, "attributed_minor": own, "commons_minor": common, "amount_minor": own + common}
            for line, own, common in amounts
        ),
    )


def apportion(pot: int, claims: Sequence[int], *, floor: int = 0, cap: int | None = None) -> list[int]:
    """Largest remainder, ties to the lower position; with a floor and a cap the exact answer is `clamp(k * claim)`.

    Where nobody may take more, what is left of the pot is given to nobody. The floors must fit the pot.
    """
    exact = [Fraction(0)] * len(claims)
    claimants = [place for place, claim in enumerate(claims) if claim]
    most = pot if cap is None else cap
    if most * len(claimants) <= pot:
        return [most if claim else 0 for claim in claims]
    # Whoever is beyond a bound at the level of the others is put on it. Of the two sides, the one that is further out
    # is final: what it takes or leaves only drives the level further (as in water-filling).
    bounded: dict[int, int] = {}
    while True:
        free = [place for place in claimants if place not in bounded]
        left = pot - sum(bounded.values())
        level = Fraction(left, sum(claims[place] for place in free)) if free else Fraction(0)
        for place in free:
            exact[place] = level * claims[place]
        below = {place: floor for place in free if exact[place] < floor}
        above = {place: most for place in free if exact[place] > most}
        if not below and not above:
            break
        lacking = sum(floor - exact[place] for place in below)
        surplus = sum(exact[place] - most for place in above)
        bounded |= below if lacking > surplus else above if surplus > lacking else {**below, **above}
    for place, bound in bounded.items():
        exact[place] = Fraction(bound)
    amounts = [int(amount) for amount in exact]
    by_remainder = sorted(range(len(claims)), key=lambda place: (amounts[place] - exact[place], place))
    for place in by_remainder[: pot - sum(amounts)]:
        amounts[place] += 1
    return amounts


def _pot(export: Export, terms: RoundTerms) -> int:
    """The balance of the revenue account at the round's end."""
    transfers = export.of(terms.pool).transfers
    before = transfers.filter(transfers["leaf_index"] < terms.round["end_leaf"])
    amount = before["amount_minor"]
    given = (before["from_account"] == "revenue").ifelse(-amount, 0)
    (row,) = rows(before.agg(pot=total((before["to_account"] == "revenue").ifelse(amount, given))))
    return int(row["pot"])


def _attributed(policy: Row, pot: int, weights: Sequence[int]) -> list[int]:
    claims = list(weights)
    if policy["tempering"] == "SQRT":
        claims = [isqrt(weight) for weight in weights]
    elif policy["tempering"] == "EQUAL":
        claims = [min(weight, 1) for weight in weights]
    floor = policy["floor_minor"]
    if floor * sum(map(bool, claims)) > pot:
        return [0] * len(claims)  # the pot waits until it covers every floor
    return apportion(pot, claims, floor=floor, cap=policy["cap_minor"])


def _commons_weight(policy: Row, line: Row) -> int:
    per_capita = int(line["members"])
    return {"PER_CAPITA": per_capita, "EQUITY": per_capita * int(line["equity_ppm"])}.get(policy["commons_rule"], 1)
