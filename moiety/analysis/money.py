"""Money by collective, mode, method, platform and month of the usage that earned it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
from ibis.expr.types import Table

from moiety.analysis.amounts import apportion
from moiety.analysis.export import WHOLE_LIMIT, AnalysisError, Export, Row, rows, total, whole
from moiety.analysis.usage import NANO, require_keys, usage_movements, usage_shares
from moiety.analysis.weights import PPM

_LINE: Final = ("pool", "round", "collective")
_AMOUNTS: Final = ("attributed_minor", "commons_minor")

_TYPES: Final[Mapping[str, pa.DataType]] = {
    "method_version": pa.int32(),
    "month": pa.date32(),
    **dict.fromkeys(_AMOUNTS, pa.int64()),
}
"""Those of the columns that are not text."""


def money_by(export: Export, *keys: str) -> pa.Table:
    """What posted rounds allocated, by some of USAGE_KEYS, as an Arrow table in the order of the keys.

    Columns: `currency`, the keys, `attributed_minor`, `commons_minor`. In each round, a collective's attributed amount
    belongs to its usage in proportion to the weight that the policy gave it, by largest remainder, whatever tempering,
    floor and cap made of its claim; so the amounts add up to the rounds' own. The commons comes from no usage: there,
    every key but `pool` and `collective` is null.

    Raises:
        AnalysisError: a key is unknown, or weights do not fit a DECIMAL(38, 0).
    """
    require_keys(keys)
    currencies = {row["pool"]: row["currency"] for row in rows(export.pools.select("pool", "currency"))}
    sums: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in _divided(export, [key for key in keys if key not in _LINE]):
        key = (currencies[row["pool"]], *(row.get(name) for name in keys))
        found = sums.setdefault(key, dict.fromkeys(_AMOUNTS, 0))
        for name in _AMOUNTS:
            found[name] += row[name]
    ordered = sorted(sums, key=lambda key: [(value is None, value) for value in key])
    columns: dict[str, list[Any]] = {
        **{name: [key[place] for key in ordered] for place, name in enumerate(("currency", *keys))},
        **{name: [sums[key][name] for key in ordered] for name in _AMOUNTS},
    }
    return pa.table({name: pa.array(values, _TYPES.get(name, pa.utf8())) for name, values in columns.items()})


def _divided(export: Export, inner: Sequence[str]) -> Iterator[Row]:
    """Every allocation of a posted round, its attributed part divided by the inner keys."""
    posted = _posted(export)
    parts: dict[tuple[Any, ...], list[Row]] = {}
    for part in rows(_policy_weights(export, posted, inner)):
        parts.setdefault(tuple(part[name] for name in _LINE), []).append(part)
    lines = export.allocations.inner_join(posted.select("pool", "round"), ["pool", "round"])
    for line in rows(lines.select(*_LINE, *_AMOUNTS)):
        earning = sorted(
            parts.get(tuple(line[name] for name in _LINE), ()), key=lambda part: [part[name] for name in inner]
        )
        amounts = apportion(line["attributed_minor"], [max(0, part["weight"]) for part in earning])
        for part, amount in zip(earning, amounts, strict=True):
            yield {**part, "attributed_minor": amount, "commons_minor": 0}
        yield {**line, "attributed_minor": line["attributed_minor"] - sum(amounts)}


def _posted(export: Export) -> Table:
    """Posted rounds with their intervals and the rates of their policies."""
    rounds, policies, postings = export.rounds, export.policies, export.postings
    rates = policies.select("pool", "ai_only_ppm", "human_ai_ppm", policy_version="version")
    return (
        rounds.select("pool", "policy_version", "start_leaf", "end_leaf", round="number")
        .inner_join(postings.select("pool", "round"), ["pool", "round"])
        .inner_join(rates, ["pool", "policy_version"])
    )


def _policy_weights(export: Export, posted: Table, inner: Sequence[str]) -> Table:
    """The `weight` that the policy gave each collective's usage in each posted round, by the inner keys."""
    movements = usage_movements(export)
    at = movements["at_leaf"]
    of_round = movements.inner_join(posted, ["pool", at >= posted["start_leaf"], at < posted["end_leaf"]])
    rate = (of_round["mode"] == "AI_ONLY").ifelse(of_round["ai_only_ppm"], of_round["human_ai_ppm"])
    rated = of_round.mutate(mode_ppm=rate.cast("int64")).drop("ai_only_ppm", "human_ai_ppm", "start_leaf", "end_leaf")
    _require_fit(rated)
    methods = export.methods
    confidence = methods.select(
        "pool", "method", method_version="version", confidence_ppm=methods["confidence_ppm"].cast("int64")
    )
    shares = usage_shares(rated).inner_join(confidence, ["pool", "method", "method_version"])
    raw = shares.group_by(list(dict.fromkeys([*_LINE, *inner, "mode_ppm", "confidence_ppm"]))).agg(
        raw=total(shares["weight"])
    )
    return raw.group_by([*_LINE, *inner]).agg(
        weight=total(whole(raw["raw"] * whole(raw["mode_ppm"] * raw["confidence_ppm"])))
    )


def _require_fit(rated: Table) -> None:
    """Check that no weight of a round can pass a DECIMAL(38, 0).

    Raises:
        AnalysisError: a weight of a round might not fit a DECIMAL(38, 0).
    """
    units = rated.group_by(["pool", "round", "sign"]).agg(units=total(rated["units"]), mode_ppm=rated["mode_ppm"].max())
    for row in rows(units):
        most = row["units"] * NANO * PPM * row["mode_ppm"]
        if most >= WHOLE_LIMIT:
            subject = f"round {row['round']} of {row['pool']}"
            raise AnalysisError(subject, f"its weights may reach {most}, which does not fit a DECIMAL(38, 0)")
