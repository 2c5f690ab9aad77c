"""Intake by more streams, to one pool and to as many pools, and by more servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.figures import Points, Series
from bench.intake import append_usage, dealt, require_recorded, warm_up
from bench.stage import Stage, Stream, staged
from bench.workload import Workload


def measure(stage: Stage, runs: int, *, streams: Sequence[int], batches: int) -> list[Series]:
    """Each stream is a platform's own; two servers share one Postgres, and every other stream goes to the second."""
    lines = _lines(stage, "one server", runs, streams, batches)
    with staged(servers=2) as two:
        lines |= _lines(two, "two servers", runs, streams, batches)
    return [Series("growth-streams", "AppendUsage, all streams together", "streams", "events/s", lines)]


def _lines(stage: Stage, servers: str, runs: int, streams: Sequence[int], batches: int) -> dict[str, Points]:
    keys = stage.platform_keys(max(streams))
    lines: dict[str, Points] = {}
    warm_up(stage, keys[0], _BASE)
    for name, shared in (("one pool", True), ("a pool each", False)):
        lines[f"{servers}, {name}"] = [
            (
                count,
                [
                    _rate(stage, keys[:count], replace(_BASE, batches=batches, seed=seed), shared)
                    for seed in range(runs)
                ],
            )
            for count in streams
        ]
    return lines


_BASE = Workload(batches=0)


def _rate(stage: Stage, keys: list[str], workload: Workload, shared: bool) -> float:
    tables = workload.tables()
    pools = [stage.new_pool(workload) for _ in keys[: 1 if shared else None]]
    streams = [
        Stream(stage.addresses[place % len(stage.addresses)], pools[place % len(pools)], key)
        for place, key in enumerate(keys)
    ]
    rate = append_usage(streams, tables)
    for pool, recorded in zip(pools, dealt(tables, len(pools)), strict=True):
        require_recorded(stage, pool, recorded)
    return rate
