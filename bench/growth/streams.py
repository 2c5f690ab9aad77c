"""Intake by more streams, to one pool and to as many pools, and by more servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, product

import pyarrow as pa

from bench.figures import Series
from bench.intake import append_usage, dealt, require_recorded, warm_up
from bench.stage import Stage, Stream, staged
from bench.workload import Workload


def measure(stage: Stage, runs: int, *, streams: Sequence[int], batches: int) -> list[Series]:
    """Each stream is a platform's own; two servers share one Postgres, and every other stream goes to the second."""
    workload = Workload(batches)
    with staged(servers=2) as two:
        cases: dict[str, Callable[[int, list[pa.RecordBatch]], float]] = {}
        for servers, on in (("one server", stage), ("two servers", two)):
            keys = on.platform_keys(max(streams))
            warm_up(on, keys[0], workload)
            cases[f"{servers}, one pool"] = partial(_rate, on, keys, workload, shared=True)
            cases[f"{servers}, a pool each"] = partial(_rate, on, keys, workload, shared=False)
        lines: dict[str, list[tuple[int, list[float]]]] = {name: [(count, []) for count in streams] for name in cases}
        # By turns, and each time with events of their own: a body that is kept already is not written again.
        fresh = workload.repeated(batches * runs * len(streams) * len(cases))
        for _, place, (name, rate) in product(range(runs), range(len(streams)), cases.items()):
            count, rates = lines[name][place]
            rates.append(rate(count, list(islice(fresh, batches))))
    return [Series("growth-streams", "AppendUsage, all streams together", "streams", "events/s", lines)]


def _rate(
    stage: Stage, all_keys: list[str], workload: Workload, count: int, tables: list[pa.RecordBatch], *, shared: bool
) -> float:
    """Events per second of so many streams into new pools, in which every event is new."""
    keys = all_keys[:count]
    pools = [stage.new_pool(workload) for _ in keys[: 1 if shared else None]]
    streams = [
        Stream(stage.addresses[place % len(stage.addresses)], pools[place % len(pools)], key)
        for place, key in enumerate(keys)
    ]
    rate = append_usage(streams, tables)
    for pool, recorded in zip(pools, dealt(tables, len(pools)), strict=True):
        require_recorded(stage, pool, recorded)
    return rate
