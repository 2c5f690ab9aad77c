"""A round's amounts, recomputed from its weights: the usage is summed by the engine, the few figures left divided here.

This is docs/distribution.md written a second time, in the plainest way there is, so that the service's own function has
someone to agree with. It does not share a line with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

from moiety.analysis.export import Export, Row, rows, total
from moiety.analysis.usage import NANO
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
    before, kept_before = _carried(export, terms, lines)
    after, kept_after = before, kept_before
    fee = kept = 0
    attributed = commons = [0] * len(lines)
    if sum(weights) + unattributed["weight_unattributed"]:
        fee = pot * policy["fee_ppm"] // PPM
        fee = fee if policy["fee_cap_minor"] is None else min(fee, policy["fee_cap_minor"])
        carries = policy["rounding"] == "CARRIED"
        unit = NANO if carries else 1
        net = (pot - fee) * unit
        standing = net * policy["commons_ppm"] // PPM
        pro_rata = policy["unattributed"] == "PRO_RATA"
        parts = [1, 0] if pro_rata else [sum(weights), unattributed["weight_unattributed"]]
        attributed_pot = apportion(net - standing, parts, place=not carries)[0]
        commons_pot = net - attributed_pot
        attributed = _attributed(policy, attributed_pot, weights, unit)
        kept = commons_pot if policy["commons_rule"] == "FUND" else 0
        factors = [_commons_weight(policy, line) for line in lines]
        commons = apportion(commons_pot - kept, factors, place=not carries)
        if carries:
            sums = [[part + old for part, old in zip(attributed, before["attributed"], strict=True)],
                    [part + old for part, old in zip(commons, before["commons"], strict=True)]]  # fmt: skip
            attributed, commons = ([total_nano // NANO for total_nano in each] for each in sums)
            after = dict(zip(before, ([total_nano % NANO for total_nano in each] for each in sums), strict=True))
            kept, kept_after = divmod(kept + kept_before, NANO)
    rounding = _whole(after, kept_after) - _whole(before, kept_before)
    figures = {
        "weight": sum(weights),
        **unattributed,
        "pot_minor": pot,
        "fee_minor": fee,
        "attributed_minor": sum(attributed),
        "commons_minor": sum(commons),
        "commons_kept_minor": kept,
        "carried_minor": pot - fee - sum(attributed) - sum(commons) - kept - rounding,
        "rounding_minor": rounding,
        "kept_after_nano": kept_after,
    }
    amounts = zip(lines, attributed, commons, strict=True)
    return RecomputedRound(
        figures,
        tuple(
            {
                **line,
                "attributed_minor": own,
                "commons_minor": common,
                "amount_minor": own + common,
                "attributed_before_nano": before["attributed"][at],
                "attributed_after_nano": after["attributed"][at],
                "commons_before_nano": before["commons"][at],
                "commons_after_nano": after["commons"][at],
            }
            for at, (line, own, common) in enumerate(amounts)
        ),
    )


def apportion(
    pot: int, claims: Sequence[int], *, floor: int = 0, cap: int | None = None, place: bool = True
) -> list[int]:
    """Largest remainder, ties to the lower position; with a floor and a cap the exact answer is `clamp(k * claim)`.

    Where nobody may take more, what is left of the pot is given to nobody. The floors must fit the pot. With `place`
    off, the exact answers are rounded down and the units that are left are given to nobody.
    """
    exact = [Fraction(0)] * len(claims)
    claimants = [at for at, claim in enumerate(claims) if claim]
    most = pot if cap is None else cap
    if most * len(claimants) <= pot:
        return [most if claim else 0 for claim in claims]
    # Whoever is beyond a bound at the level of the others is put on it. Of the two sides, the one that is further out
    # is final: what it takes or leaves only drives the level further (as in water-filling).
    bounded: dict[int, int] = {}
    while True:
        free = [at for at in claimants if at not in bounded]
        left = pot - sum(bounded.values())
        level = Fraction(left, sum(claims[at] for at in free)) if free else Fraction(0)
        for at in free:
            exact[at] = level * claims[at]
        below = {at: floor for at in free if exact[at] < floor}
        above = {at: most for at in free if exact[at] > most}
        if not below and not above:
            break
        lacking = sum(floor - exact[at] for at in below)
        surplus = sum(exact[at] - most for at in above)
        bounded |= below if lacking > surplus else above if surplus > lacking else {**below, **above}
    for at, bound in bounded.items():
        exact[at] = Fraction(bound)
    amounts = [int(amount) for amount in exact]
    by_remainder = sorted(range(len(claims)), key=lambda at: (amounts[at] - exact[at], at))
    for at in by_remainder[: pot - sum(amounts) if place else 0]:
        amounts[at] += 1
    return amounts


def _carried(export: Export, terms: RoundTerms, lines: Sequence[Row]) -> tuple[dict[str, list[int]], int]:
    """The fractions that the last posted round left: of both parts by line, and the commons fund's; billionths."""
    previous, of_pool = terms.round["previous"], export.of(terms.pool)
    left = {
        row["collective"]: row for row in rows(of_pool.allocations.filter(of_pool.allocations["round"] == previous))
    }
    kept = [row["kept_after_nano"] for row in rows(of_pool.rounds.filter(of_pool.rounds["number"] == previous))]
    parts = {
        part: [int(left.get(line["collective"], {}).get(f"{part}_after_nano", 0)) for line in lines]
        for part in ("attributed", "commons")
    }
    return parts, sum(kept)


def _whole(fractions: Mapping[str, Sequence[int]], kept_nano: int) -> int:
    """The least number of minor units that covers all fractions."""
    return -(-(kept_nano + sum(map(sum, fractions.values()))) // NANO)


def _pot(export: Export, terms: RoundTerms) -> int:
    """The balance of the revenue account at the round's end."""
    transfers = export.of(terms.pool).transfers
    before = transfers.filter(transfers["leaf_index"] < terms.round["end_leaf"])
    amount = before["amount_minor"]
    given = (before["from_account"] == "revenue").ifelse(-amount, 0)
    (row,) = rows(before.agg(pot=total((before["to_account"] == "revenue").ifelse(amount, given))))
    return int(row["pot"])


def _attributed(policy: Row, pot: int, weights: Sequence[int], unit: int) -> list[int]:
    claims = list(weights)
    if policy["tempering"] == "SQRT":
        claims = [isqrt(weight) for weight in weights]
    elif policy["tempering"] == "EQUAL":
        claims = [min(weight, 1) for weight in weights]
    floor, cap = policy["floor_minor"] * unit, policy["cap_minor"]
    if floor * sum(map(bool, claims)) > pot:
        return [0] * len(claims)  # the pot waits until it covers every floor
    return apportion(pot, claims, floor=floor, cap=None if cap is None else cap * unit, place=unit == 1)


def _commons_weight(policy: Row, line: Row) -> int:
    per_capita = int(line["members"])
    return {"PER_CAPITA": per_capita, "EQUITY": per_capita * int(line["equity_ppm"])}.get(policy["commons_rule"], 1)
