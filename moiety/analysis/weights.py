"""A round's weights from its events, as docs/distribution.md defines them.

The raw weights of all the events that there can be fit a DECIMAL(38, 0). What the policy and the confidence make of
them is up to 10^13 times as much, and it is checked that it fits before it is asked for: `require_fit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import ibis
from ibis.expr.types import Table

from moiety.analysis.export import WHOLE_LIMIT, AnalysisError, Export, Row, rows, total, whole
from moiety.analysis.usage import NANO, usage_movements, usage_shares

PPM: Final = 10**6
"""A whole, in millionths."""


@dataclass(frozen=True, slots=True)
class RoundTerms:
    """What a round was calculated from, besides usage: its row in `rounds`, and its policy's in `policies`."""

    pool: str
    round: Row
    policy: Row


def round_terms(export: Export, number: int) -> RoundTerms:
    """The terms of a round.

    Raises:
        AnalysisError: the export has no such round, or has it of several pools.
    """
    subject = f"round {number}"
    found = rows(export.rounds.filter(export.rounds["number"] == number))
    if len(found) != 1:
        known = ", ".join(sorted(each["pool"] for each in found))
        raise AnalysisError(subject, f"name the pool: {known}" if found else "is not in the export")
    (row,) = found
    policies = export.policies
    of_round = (policies["pool"] == row["pool"]) & (policies["version"] == row["policy_version"])
    (policy,) = rows(policies.filter(of_round))
    return RoundTerms(row["pool"], row, policy)


def round_weights(export: Export, number: int) -> Table:
    """The lines of a round's statement but for its amounts, recomputed from its events.

    Columns: `collective`, `status`, `members`, `equity_ppm`, `events`, `weight_ai_only`, `weight_human_ai`,
    `deficit_before`, `weight`, `deficit_after`, by the bytes of the collective's id.

    Raises:
        AnalysisError: the export has no such round, or its weights do not fit a DECIMAL(38, 0).
    """
    terms = round_terms(export, number)
    require_fit(export, terms)
    return weights_of(export, terms)


def weights_of(export: Export, terms: RoundTerms) -> Table:
    """The result of `round_weights`, of a round whose weights are known to fit."""
    shares = _with_rates(export, terms, usage_shares(_in_round(export, terms)))
    # First by method, so that the rates multiply sums rather than every share.
    raw = shares.group_by(["collective", "mode", "mode_ppm", "confidence_ppm"]).agg(
        events=total(shares["sign"]), raw=total(shares["weight"])
    )
    mode = raw["mode"]
    earned = raw.group_by("collective").agg(
        events=total(raw["events"]),
        weight_ai_only=total((mode == "AI_ONLY").ifelse(raw["raw"], whole(ibis.literal(0)))),
        weight_human_ai=total((mode == "HUMAN_AI").ifelse(raw["raw"], whole(ibis.literal(0)))),
        earned=total(whole(raw["raw"] * whole(raw["mode_ppm"] * raw["confidence_ppm"]))),
    )
    lines = (
        _of_round(export.registry, terms, terms.round["number"])
        .select("collective", "status", "members", "equity_ppm")
        .left_join(earned, "collective")
        .drop("collective_right")
        .left_join(_deficits(export, terms), "collective")
        .drop("collective_right")
    )
    zero = whole(ibis.literal(0))
    figures = ("events", "weight_ai_only", "weight_human_ai", "earned", "deficit_before")
    filled = lines.mutate(**{name: whole(ibis.coalesce(lines[name], zero)) for name in figures})
    net = whole(filled["earned"] - filled["deficit_before"])
    return (
        filled.mutate(weight=(net > 0).ifelse(net, zero), deficit_after=(net < 0).ifelse(whole(-net), zero))
        .drop("earned")
        .order_by("collective")
    )


def round_unattributed(export: Export, number: int) -> Table:
    """The unattributed part of a round, in one row: `weight_unattributed` and `deficit_unattributed`.

    Raises:
        AnalysisError: as `round_weights`.
    """
    terms = round_terms(export, number)
    require_fit(export, terms)
    return unattributed_of(export, terms)


def unattributed_of(export: Export, terms: RoundTerms) -> Table:
    """The result of `round_unattributed`, of a round whose weights are known to fit."""
    events = _with_rates(export, terms, _in_round(export, terms))
    counted = events["sign"] * events["units"]
    claimed = events["share_sum_nano"].cast("int64")
    raw = events.group_by(["mode_ppm", "confidence_ppm"]).agg(
        attributed=total(counted * claimed), unattributed=total(counted * (NANO - claimed))
    )
    doubted = whole(raw["attributed"] * whole(PPM - raw["confidence_ppm"]))
    unclaimed = whole(raw["unattributed"] * whole(ibis.literal(PPM)))
    earned = raw.mutate(earned=whole(whole(doubted + unclaimed) * whole(raw["mode_ppm"])))
    before = _unattributed_deficit(export, terms)
    summed = earned.agg(net=whole(total(earned["earned"]) - whole(ibis.literal(before, "decimal(38, 0)"))))
    net, zero = summed["net"], whole(ibis.literal(0))
    return summed.select(
        weight_unattributed=(net > 0).ifelse(net, zero), deficit_unattributed=(net < 0).ifelse(whole(-net), zero)
    )


def require_fit(export: Export, terms: RoundTerms) -> None:
    """Check that no sum on the way to a round's weights can pass a DECIMAL(38, 0).

    Raises:
        AnalysisError: a weight of the round, or a sum on the way to it, might not fit a DECIMAL(38, 0).
    """
    events = _in_round(export, terms)
    found = rows(events.group_by(["mode", "sign"]).agg(units=total(events["units"])))
    most = {1: 0, -1: _unattributed_deficit(export, terms)}
    most[-1] += sum(row["deficit_before"] for row in rows(_deficits(export, terms)))
    for row in found:
        most[row["sign"]] += row["units"] * NANO * PPM * terms.policy[f"{row['mode'].lower()}_ppm"]
    if max(most.values()) >= WHOLE_LIMIT:
        raise AnalysisError(
            f"round {terms.round['number']} of {terms.pool}",
            f"its weights may reach {max(most.values())}, which does not fit a DECIMAL(38, 0)",
        )


def _in_round(export: Export, terms: RoundTerms) -> Table:
    movements = usage_movements(export.of(terms.pool))
    at, interval = movements["at_leaf"], terms.round
    return movements.filter(at >= interval["start_leaf"], at < interval["end_leaf"])


def _with_rates(export: Export, terms: RoundTerms, movements: Table) -> Table:
    """With `mode_ppm` and `confidence_ppm`, as int64."""
    methods = export.methods
    confidence = methods.filter(methods["pool"] == terms.pool).select(
        "method", method_version="version", confidence_ppm=methods["confidence_ppm"].cast("int64")
    )
    by_mode = {mode: ibis.literal(terms.policy[f"{mode.lower()}_ppm"], "int64") for mode in ("AI_ONLY", "HUMAN_AI")}
    rate: Any = (movements["mode"] == "AI_ONLY").ifelse(by_mode["AI_ONLY"], by_mode["HUMAN_AI"])
    return movements.mutate(mode_ppm=rate).inner_join(confidence, ["method", "method_version"])


def _of_round(table: Table, terms: RoundTerms, number: int) -> Table:
    return table.filter(table["pool"] == terms.pool, table["round"] == number)


def _deficits(export: Export, terms: RoundTerms) -> Table:
    """What the round before left to be subtracted: `collective`, `deficit_before`."""
    left = _of_round(export.allocations, terms, terms.round["previous"])
    return left.filter(left["deficit_after"] > 0).select("collective", deficit_before="deficit_after")


def _unattributed_deficit(export: Export, terms: RoundTerms) -> int:
    rounds = export.rounds
    before = rounds.filter(rounds["pool"] == terms.pool, rounds["number"] == terms.round["previous"])
    return sum(row["deficit_unattributed"] for row in rows(before.select("deficit_unattributed")))
