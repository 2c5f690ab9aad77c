"""Usage by collective, mode, method, platform and month: exact weights, less what was retracted."""

from __future__ import annotations

from typing import Any, Final

import ibis
from ibis.expr.types import Table

from moiety.analysis.export import AnalysisError, Export, total

NANO: Final = 10**9
"""One whole share."""

USAGE_KEYS: Final = ("pool", "collective", "mode", "method", "method_version", "platform", "month")
"""What usage and money can be told apart by. The month is that of the event, in UTC."""

_OF_EVENT: Final = ("platform", "method", "method_version", "mode", "month", "units", "share_sum_nano", "shares")


def usage_by(export: Export, *keys: str, round_number: int | None = None) -> Table:
    """Usage by some of USAGE_KEYS, of everything logged or of a round of a pool (`export.of(pool)`).

    Columns: the keys; `events`, less those retracted; `units` of these; `weight`, the sum of units times share in
    billionths; and, where `collective` is not among the keys, `unattributed`, the weight that no collective claims.
    """
    require_keys(keys)
    movements = usage_movements(export)
    if round_number is not None:
        found = export.rounds.filter(export.rounds["number"] == round_number)
        movements = movements.inner_join(
            found.select("pool", "start_leaf", "end_leaf"),
            ["pool", movements["at_leaf"] >= found["start_leaf"], movements["at_leaf"] < found["end_leaf"]],
        )
    counted = {"events": total(ibis._["sign"]), "units": total(ibis._["sign"] * ibis._["units"])}
    if "collective" in keys:
        return usage_shares(movements).group_by(list(keys)).agg(**counted, weight=total(ibis._["weight"]))
    of_events = ibis._["sign"] * ibis._["units"]
    return movements.group_by(list(keys)).agg(
        **counted,
        weight=total(of_events * ibis._["share_sum_nano"].cast("int64")),
        unattributed=total(of_events * (NANO - ibis._["share_sum_nano"].cast("int64"))),
    )


def usage_movements(export: Export) -> Table:
    """Every accepted event with the sign +1 at the leaf of its batch, and every retracted one with -1 at the leaf that
    took it back: a round counts those whose `at_leaf` is in its interval.
    """
    events, retractions = export.events, export.retractions
    added = events.filter(events["accepted"])
    taken = retractions.select("pool", "position", "batch_leaf", at_leaf="leaf_index").inner_join(
        events.select("pool", "position", *_OF_EVENT, batch_leaf="leaf_index"), ["pool", "batch_leaf", "position"]
    )
    sign = {number: ibis.literal(number, "int64") for number in (1, -1)}
    return ibis.union(
        added.select("pool", *_OF_EVENT, at_leaf="leaf_index", sign=sign[1]),
        taken.select("pool", *_OF_EVENT, "at_leaf", sign=sign[-1]),
    )


def usage_shares(movements: Table) -> Table:
    """A row for each share of each movement, with `collective` and the signed `weight`: below 2^60, so an int64."""
    apart = movements.unnest("shares")
    share: Any = apart["shares"]
    return apart.mutate(
        collective=share["collective"],
        weight=apart["sign"] * apart["units"] * share["share_nano"].cast("int64"),
    ).drop("shares")


def require_keys(keys: tuple[str, ...]) -> None:
    """Check that keys are given, each once.

    Raises:
        AnalysisError: a key is missing, or given twice.
    """
    unknown = [key for key in keys if key not in USAGE_KEYS]
    if unknown or len(set(keys)) != len(keys):
        raise AnalysisError("keys", f"must be some of {', '.join(USAGE_KEYS)}, each once; are {', '.join(keys)}")
