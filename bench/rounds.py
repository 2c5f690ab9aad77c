"""Rounds: calculating one against reading the same weight vectors, and replaying one against DuckDB."""

from __future__ import annotations

import gc
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from audit.replay import replay_round
from audit.store.stored_log import StoredLog
from bench.figures import Figure, timed
from bench.intake import append_usage
from bench.stage import CURRENCY, Stage, Stream
from bench.workload import Workload, claimed
from ledger.store.logs.log import REGISTRY
from moiety import Client
from services.process.memory import collect_less_often
from services.replaying.process import Source
from services.replaying.processes import PROCESSES, Replaying

SHARES_PER_EVENT: Final = 1_000
REVENUE_MINOR: Final = 100_000_000
THREADS: Final = PROCESSES
"""Of a replay, and of DuckDB."""


def measure_calculation(stage: Stage, runs: int, *, batches: int) -> list[Figure]:
    """A round over batches that each name 5,000 collectives; over a tenth of them; and over a tenth of larger ones."""
    all_batches = Workload(batches=batches, events_per_batch=5, shares_per_event=SHARES_PER_EVENT, covering=True)
    tenth = replace(all_batches, batches=max(1, batches // 10))
    fuller = replace(tenth, events_per_batch=50)
    (key,) = stage.platform_keys(1)
    pool, tenth_pool, fuller_pool = (_filled(stage, key, workload) for workload in (all_batches, tenth, fuller))
    stage.settle()
    ours, peer, of_tenth, of_fuller = [], [], [], []
    for _ in range(runs):
        ours.append(calculation_seconds(stage, pool))
        peer.append(bare_read_seconds(stage, pool))
        of_tenth.append(calculation_seconds(stage, tenth_pool))
        of_fuller.append(calculation_seconds(stage, fuller_pool))
    notes = {"batches": batches, "ten_times_the_events_per_batch": median(of_fuller) / median(of_tenth)}
    what = f"calculate a round of {batches:,} batches that each name 5,000 collectives"
    return [
        Figure("calculate", what, "a bare query for the vectors", "s", ours, peer, 1.0, 0.6, lower=True, notes=notes)
    ]


def _filled(stage: Stage, key: str, workload: Workload) -> str:
    pool = stage.new_pool(workload)
    step = replace(workload, batches=min(200, workload.batches))
    for place in range(workload.batches // step.batches):
        append_usage([Stream(stage.address, pool, key)], replace(step, seed=place).tables())
    with Client(stage.address, key) as platform:
        platform.report_revenue(pool, REVENUE_MINOR, CURRENCY, request_id="revenue")
    return pool


def calculation_seconds(stage: Stage, pool: str) -> float:
    """A preview over loopback gRPC: everything that calculating a round is, but to log it."""
    with Client(stage.address, stage.operator_key, timeout_seconds=600) as operator, timed() as seconds:
        preview = operator.preview_round(pool)
    if not preview.round.attributed_minor:
        raise AssertionError("the round distributes nothing")
    return seconds()


def bare_read_seconds(stage: Stage, pool: str) -> float:
    """The packed vectors of all batches of a pool, over a connection of its own."""
    pool_id = stage.ref(pool).pool_id
    with psycopg.connect(stage.database_url) as connection, timed() as seconds:
        cursor = connection.cursor("peer", binary=True)
        cursor.itersize = 500
        read = sum(
            len(row[0]) for row in cursor.execute("SELECT packed FROM batch_weights WHERE pool_id = %s", [pool_id])
        )
    if not read:
        raise AssertionError("no vectors were read")
    return seconds()


def measure_replay(stage: Stage, runs: int, *, batches: int) -> list[Figure]:
    """A round replayed from Postgres, hashing included, against DuckDB summing the same shares.

    Its processes are as many as DuckDB's threads. They are forked in the first run and kept for the others, as by a
    server; what they are forked from is there from its first replay on.
    """
    workload = Workload(batches=batches)
    tables = workload.tables()
    pool, (key,) = stage.new_pool(workload), stage.platform_keys(1)
    append_usage([Stream(stage.address, pool, key)], tables)
    with Client(stage.address, key) as platform:
        platform.report_revenue(pool, REVENUE_MINOR, CURRENCY, request_id="revenue")
    stage.operator.calculate_round(pool, request_id="round")
    stage.settle()
    shares = workload.events * workload.shares_per_event
    round_leaf = stage.operator.get_log_head(pool).size - 3  # the round, its approval and its posting come last
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shares.parquet"
        weight = _write_parquet(tables, path)
        ours, peer = [], []
        with closing(Replaying()) as replaying:
            replaying.load(None)
            collect_less_often()  # as a server does
            for _ in range(runs):
                ours.append(shares / _replay_seconds(stage, pool, round_leaf, shares, replaying))
                peer.append(shares / _duckdb_seconds(path, weight))
        gc.unfreeze()  # DuckDB tells of all that is left at the end
    what = "replay of a round's stored batches, hashing included"
    return [Figure("replay", what, "DuckDB's sum of the same shares from Parquet", "shares/s", ours, peer, 1.0, 1.5)]


def _replay_seconds(stage: Stage, pool: str, round_leaf: int, shares: int, replaying: Replaying) -> float:
    """As `AuditService.ReplayRound` does it."""
    database, ref = stage.parts.database, stage.ref(pool)
    source = Source(database.address, ref, stage.parts.settings.bodies_url)
    with timed() as seconds, ThreadPoolExecutor(THREADS) as threads, replaying.weighing(source) as weighing:
        log, registry = StoredLog(database, ref, stage.parts.bodies), StoredLog(database, REGISTRY, stage.parts.bodies)
        submit = lambda work: threads.submit(work).result  # noqa: E731  # its type is that of the argument
        replay = replay_round(log, registry, round_leaf, submit=submit, ahead=THREADS, weighing=weighing)
        try:
            while True:
                next(replay)
        except StopIteration as end:
            verdict = end.value
    if verdict.finding or verdict.progress.shares != shares:
        raise AssertionError(f"the replay says {verdict}")
    return seconds()


def _write_parquet(batches: list[pa.RecordBatch], path: Path) -> int:
    """A row per share, with its event's units and mode; returns the sum of units times share."""
    schema = pa.schema(
        [("collective", pa.dictionary(pa.int32(), pa.utf8())), ("share", pa.int32()), ("units", pa.int64()),
         ("mode", pa.uint8())]
    )  # fmt: skip
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            names, shares = batch.column("collectives").values, batch.column("shares").values
            width = len(shares) // len(batch)
            units = np.repeat(batch.column("units").to_numpy(), width)
            modes = np.repeat(batch.column("mode").to_numpy(), width)
            writer.write_batch(pa.record_batch([names, shares, pa.array(units), pa.array(modes)], schema=schema))
    return sum(map(claimed, batches))


def _duckdb_seconds(path: Path, weight: int) -> float:
    query = """
        SELECT collective, mode, sum(units::HUGEINT * share) AS weight, count(*) AS named
        FROM read_parquet(?) GROUP BY ALL ORDER BY ALL
    """
    with duckdb.connect(config={"threads": THREADS}) as connection, timed() as seconds:
        rows = connection.execute(query, [str(path)]).fetchall()
    if sum(row[2] for row in rows) != weight:
        raise AssertionError("DuckDB sums to something else")
    return seconds()
