"""Schedules: many pools whose rounds are due in the same minute, cut by one process, and what callers feel of it."""

from __future__ import annotations

from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from statistics import median
from time import sleep
from typing import Any, Final

from bench.figures import Figure, timed
from bench.intake import append_usage
from bench.stage import CURRENCY, Stage, Stream
from bench.workload import Workload
from moiety import Client
from moiety.v1.registry_pb2 import Schedule
from services.settings import load_settings
from services.wiring import system_clock, wire

SECONDS_MAX: Final = 120.0
SLOWER_MAX: Final = 2.0
"""How much longer a call may take meanwhile."""
QUIET_SECONDS: Final = 5
REVENUE_MINOR: Final = 100_000
AT_ONCE: Final = 8
"""Pools that are filled at the same time, the first of them before: it registers the collectives."""


def measure(stage: Stage, *, pools: int) -> list[Figure]:
    """Cut a round in each of so many pools at once, while balances are read. Run once: a round is cut once."""
    workload = Workload(1, events_per_batch=10, shares_per_event=5, collectives=50, covering=True)
    (key,) = stage.platform_keys(1)
    (table,) = workload.tables()
    with Client(stage.address, key) as platform, ThreadPoolExecutor(AT_ONCE) as threads:

        def filled(_: int) -> str:
            name = stage.new_pool(workload)
            append_usage([Stream(stage.address, name, key)], [table])
            platform.report_revenue(name, REVENUE_MINOR, CURRENCY, request_id="revenue")
            stage.operator.update_schedule(name, Schedule(cron="* * * * *", time_zone="UTC"))
            return name

        names = [filled(0), *threads.map(filled, range(1, pools))]
    stage.settle()
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        quiet = _read_seconds(stage, names[0], other.submit(sleep, QUIET_SECONDS))
        cutting = other.submit(_cut_seconds, stage.database_url, pools)
        busy = _read_seconds(stage, names[0], cutting)
    what = f"cut the rounds of {pools:,} pools that are due in the same minute, in one process"
    return [
        Figure("schedules", what, "", "s", [cutting.result()], [], SECONDS_MAX, SECONDS_MAX / 4, lower=True),
        Figure(
            "schedules-calls", "GetBalance while they are cut", "before", "ms", [1000 * busy], [1000 * quiet],
            SLOWER_MAX, 1.2, lower=True,
        ),
    ]  # fmt: skip


def _cut_seconds(database_url: str, pools: int) -> float:
    # A minute ahead, instead of waiting for the first minute after the last schedule was set.
    parts = wire(load_settings(database_url=database_url), clock=lambda: system_clock() + timedelta(minutes=1))
    try:
        with timed() as seconds:
            made = parts.scheduler.run_once()
    finally:
        parts.close()
    if len(made) != pools:
        raise AssertionError(f"{len(made)} rounds were cut, of {pools}")
    return seconds()


def _read_seconds(stage: Stage, pool: str, work: Future[Any]) -> float:
    """How long a balance takes to read, in the median, until some work in another process is done."""
    found = []
    while not work.done():
        with timed() as seconds:
            stage.operator.get_balance(pool, "revenue")
        found.append(seconds())
        sleep(0.05)
    return median(found)
