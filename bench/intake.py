"""AppendUsage, durable, over loopback gRPC, against other ways to keep the same usage in the same Postgres."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from bench import peers
from bench.figures import Figure, timed
from bench.stage import METHOD, Stage
from bench.workload import Workload
from moiety import Client

WARM_UP_BATCHES = 4


def append_usage(stage: Stage, pool: str, keys: list[str], batches: list[pa.RecordBatch]) -> float:
    """Events per second with one stream per key. Every event must be accepted, and every weight be there."""
    parts = [batches[place :: len(keys)] for place in range(len(keys))]

    def submit(key: str, part: list[pa.RecordBatch]) -> int:
        with Client(stage.address, key) as client:
            receipts = client.submit_usage(pool, pa.Table.from_batches(part), METHOD, events_per_batch=len(part[0]))
        return sum(receipt.accepted_count for receipt in receipts)

    with ThreadPoolExecutor(len(keys)) as threads, timed() as seconds:
        accepted = sum(threads.map(submit, keys, parts))
    events = sum(map(len, batches))
    if accepted != events:
        raise AssertionError(f"{accepted} events accepted of {events}")
    return events / seconds()


def measure(stage: Stage, runs: int, *, batches: int) -> list[Figure]:
    """One stream of random ids, against each of three peers, in turn."""
    base = Workload(batches=batches)
    pool, (key,) = stage.new_pool(base), stage.platform_keys(1)
    append_usage(stage, pool, [key], replace(base, batches=WARM_UP_BATCHES, seed=-1 % 2**32).tables())
    ours, events, scores, transfers = [], [], [], []
    for seed in range(runs):
        tables = replace(base, seed=seed).tables()
        ours.append(append_usage(stage, pool, [key], tables))
        events.append(peers.copy_events(stage.database_url, tables))
        scores.append(peers.copy_scores(stage.database_url, tables[: max(1, batches // 8)]))
        transfers.append(peers.plain_ledger(stage.database_url, tables[0], collectives=base.collectives, events=200))
    per_score = [rate * base.shares_per_event for rate in ours]
    what = f"AppendUsage, one stream, {base.shares_per_event} shares an event, {base.events_per_batch:,} events a batch"
    return [
        Figure("intake", what, "COPY BINARY, a row per event", "events/s", ours, events, 1.0, 1.5),
        Figure("intake-scores", "the same", "COPY BINARY, a row per score", "scores/s", per_score, scores, 8, 15),
        Figure("intake-transfers", "the same", "a transfer per score", "scores/s", per_score, transfers, 300, 500),
    ]
