"""Intake by more streams, to one pool and to as many pools, and by more servers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product

import pyarrow as pa

from bench.figures import Series
from bench.intake import append_usage, dealt, require_recorded, warm_up
from bench.stage import Stage, Stream, staged
from bench.workload import Workload


def measure(stage: Stage, runs: int, *, streams: Sequence[int], batches: int) -> list[Series]:
    """Each stream is a platform's own; two servers share one Postgres, and every other stream goes to the second."""
    workload = Workload(batches)
    lines: dict[str, list[tuple[int, list[float]]]] = {}
    with staged(servers=2) as two:
        for servers, on in (("one server", stage), ("two servers", two)):
            keys = on.platform_keys(max(streams))
            warm_up(on, keys[0], workload)
            pools = (("one pool", True), ("a pool each", False))
            # Each time with events of their own: a body that is kept already is not written again.
            fresh = workload.repeated(batches * runs * len(streams) * len(pools))
            for name, _ in pools:
                lines[f"{servers}, {name}"] = [(count, []) for count in streams]
            for place, (name, shared) in product(list(range(len(streams))) * runs, pools):
                count, rates = lines[f"{servers}, {name}"][place]
                rates.append(_rate(on, keys[:count], workload, list(islice(fresh, batches)), shared=shared))
    return [Series("growth-streams", "AppendUsage, all streams together", "streams", "events/s", lines)]


def _rate(stage: Stage, keys: list[str], workload: Workload, tables: list[pa.RecordBatch], *, shared: bool) -> float:
    """Events per second into new pools, in which every event is new."""
    pools = [stage.new_pool(workload) for _ in keys[: 1 if shared else None]]
    streams = [
        Stream(stage.addresses[place % len(stage.addresses)], pools[place % len(pools)], key)
        for place, key in enumerate(keys)
    ]
    rate = append_usage(streams, tables)
    for pool, recorded in zip(pools, dealt(tables, len(pools)), strict=True):
        require_recorded(stage, pool, recorded)
    return rate
