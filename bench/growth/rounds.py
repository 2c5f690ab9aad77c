"""Rounds as there are more batches, and more collectives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.figures import Series
from bench.intake import append_usage
from bench.rounds import REVENUE_MINOR, SHARES_PER_EVENT, bare_read_seconds, calculation_seconds
from bench.stage import CURRENCY, Stage, Stream, staged
from bench.workload import Workload
from moiety import Client

KEPT_BATCHES: Final = 200
SHARES_AT_MOST: Final = 50
BATCHES_OF_ALL: Final = 20
"""That name all collectives between them: a batch may name 65,536."""


def measure(stage: Stage, runs: int, *, batches: Sequence[int], collectives: Sequence[int]) -> list[Series]:
    """Previews, which calculate what a round would be: of so many batches, and over so many collectives."""
    by_batches = _by_batches(stage, runs, batches)
    # A round is over every collective that is registered, whichever pool brought it.
    with staged(rest_seconds=stage.rest_seconds) as empty:
        return [by_batches, _by_collectives(empty, runs, collectives)]


def _by_batches(stage: Stage, runs: int, batches: Sequence[int]) -> Series:
    (key,) = stage.platform_keys(1)
    kept = min(KEPT_BATCHES, batches[0])
    workload = Workload(batches=kept, events_per_batch=5, shares_per_event=SHARES_PER_EVENT, covering=True)
    pool = _paid_pool(stage, key, workload)
    usage = workload.repeated(batches[-1])
    lines: dict[str, list[tuple[float, list[float]]]] = {"preview": [], "a bare query for the vectors": []}
    recorded = 0
    for mark in batches:
        while recorded < mark:
            step = [next(usage) for _ in range(min(kept, mark - recorded))]
            append_usage([Stream(stage.address, pool, key)], step)
            recorded += len(step)
        stage.settle()
        for name, seconds in zip(lines, (calculation_seconds, bare_read_seconds), strict=True):
            lines[name].append((mark, [seconds(stage, pool) for _ in range(runs)]))
    what = f"A round of batches that each name {workload.collectives:,} collectives"
    return Series("growth-round-batches", what, "batches", "s", lines)


def _by_collectives(stage: Stage, runs: int, collectives: Sequence[int]) -> Series:
    (key,) = stage.platform_keys(1)
    points = []
    for count in collectives:
        named = count // BATCHES_OF_ALL
        shares = min(named, SHARES_AT_MOST)
        workload = Workload(BATCHES_OF_ALL, named // shares, shares, count, covering=True)
        pool = _paid_pool(stage, key, workload)
        append_usage([Stream(stage.address, pool, key)], workload.tables())
        stage.settle()
        points.append((count, [calculation_seconds(stage, pool) for _ in range(runs)]))
    what = f"A round of {BATCHES_OF_ALL} batches that name every collective once"
    return Series("growth-round-collectives", what, "collectives", "s", {"preview": points})


def _paid_pool(stage: Stage, key: str, workload: Workload) -> str:
    pool = stage.new_pool(workload)
    with Client(stage.address, key) as platform:
        platform.report_revenue(pool, REVENUE_MINOR, CURRENCY, request_id="revenue")
    return pool
