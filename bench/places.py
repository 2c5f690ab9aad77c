"""AppendUsage where tables or bodies lie in other places, against the same service with all of it in whole tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bench.figures import Figure
from bench.intake import append_usage, require_recorded, warm_up
from bench.stage import Stage, Stream, staged
from bench.workload import Workload

PARTITIONS: Final = 8


def measure(whole: Stage, runs: int, *, batches: int) -> list[Figure]:
    """One stream of random ids into an empty pool, to each of three services in turn."""
    base = Workload(batches=batches)
    with staged(partitions=PARTITIONS) as parted, staged(bodies_in_files=False) as in_postgres:
        stages = (whole, parted, in_postgres)
        keys = [stage.platform_keys(1)[0] for stage in stages]
        for stage, key in zip(stages, keys, strict=True):
            warm_up(stage, key, base)
        rates: list[list[float]] = [[], [], []]
        sizes: list[list[float]] = [[], [], []]
        for seed in range(runs):
            tables = replace(base, seed=seed).tables()
            for stage, key, rate, size in zip(stages, keys, rates, sizes, strict=True):
                pool, before = stage.new_pool(base), stage.bytes_of_postgres()
                rate.append(append_usage([Stream(stage.address, pool, key)], tables))
                size.append((stage.bytes_of_postgres() - before) / base.events)
                require_recorded(stage, pool, tables)
    in_partitions = f"AppendUsage, tables in {PARTITIONS} partitions"
    in_files = "AppendUsage, bodies in files beside Postgres, each synced"
    bytes_elsewhere = "bytes of Postgres an event, bodies elsewhere"
    return [
        Figure("intake-partitions", in_partitions, "tables whole", "events/s", rates[1], rates[0], 0.9, 1.0),
        Figure("intake-elsewhere", in_files, "bodies in Postgres", "events/s", rates[0], rates[2], 0.8, 1.0),
        Figure(
            "storage-elsewhere", bytes_elsewhere, "all in Postgres", "bytes/event", sizes[0], sizes[2], 0.7, 0.6,
            lower=True,
        ),
    ]  # fmt: skip
