"""More calls than a server can answer, and one platform's flood: what is still of use, and what others wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Final

import grpc

from bench.calls import bearer, submit_request
from bench.figures import Figure, spread
from bench.stage import Stage
from bench.workload import Workload
from moiety.v1 import registry_pb2, registry_pb2_grpc, usage_pb2_grpc

CALLERS: Final = 16
"""As many at a time as a server is measured with otherwise: what it then answers is its capacity."""

TIMES: Final = 10
"""By how much more is asked than it can answer."""

BUSY: Final = 2
"""Processes that compute beside the server, as the client of a flood and Postgres do: what another caller then waits
is not for the service.
"""

DEADLINE_SECONDS: Final = 5.0
"""What a caller waits for at most: an answer after it is of no use."""


def measure(stage: Stage, runs: int, *, seconds: float) -> list[Figure]:
    """Useful calls at ten times the capacity, and another platform's 99th percentile under a flood."""
    workload = Workload(batches=1, collectives=200)
    pool = stage.new_pool(workload)
    flooding, other = stage.platform_keys(2)
    useful, capacity, flooded, busy, quiet = [], [], [], [], []
    with ProcessPoolExecutor(BUSY, get_context("spawn")) as processes:
        # A server that was just started answers slower than it can, and a tenth of too little would be no overload.
        _submit(stage.address, pool, flooding, CALLERS, 0.0, seconds)
        processes.submit(time.sleep, 0).result()
        for _ in range(runs):
            capacity.append(_submit(stage.address, pool, flooding, CALLERS, 0.0, seconds))
            # As an open loop: calls come ten times as often as they can be answered, whatever comes of them.
            useful.append(_submit(stage.address, pool, flooding, CALLERS * 64, TIMES * capacity[-1], seconds))
            quiet.append(_waits(stage.address, pool, other, processes.submit(time.sleep, seconds)))
            computing = [processes.submit(_compute, seconds) for _ in range(BUSY)]
            busy.append(_waits(stage.address, pool, other, computing[-1]))
            flood = processes.submit(_submit, stage.address, pool, flooding, CALLERS * 8, 0.0, seconds)
            flooded.append(_waits(stage.address, pool, other, flood))
    return [
        Figure(
            "overload", f"SubmitUsage of 100 events answered in {DEADLINE_SECONDS:g} s, of {TIMES} times as many",
            f"{CALLERS} callers", "calls/s", useful, capacity, 0.9, 0.97,
        ),
        Figure(
            "flood", "GetPool by one platform, 99th percentile, while another sends all it can",
            f"while {BUSY} other processes compute", "ms", flooded, busy, 2.0, 1.3, lower=True,
            notes={"times_an_idle_machine": spread([one / alone for one, alone in zip(flooded, quiet, strict=True)])},
        ),
    ]  # fmt: skip


def _submit(address: str, pool: str, key: str, most: int, rate: float, seconds: float) -> float:
    """Useful answers per second: at most so many calls under way, and so many begun per second (0: as many as can)."""
    workload = Workload(batches=1, collectives=200)
    done: list[bool] = []
    under_way: set[Any] = set()
    with grpc.insecure_channel(address) as channel:
        submit = usage_pb2_grpc.UsageServiceStub(channel).SubmitUsage
        for _ in _paced(rate, seconds):
            while len(under_way) >= most:
                _gather(under_way, done)
            asked = submit_request(pool, workload)
            under_way.add(submit.future(asked, metadata=bearer(key), timeout=DEADLINE_SECONDS))
        _gather(under_way, done)
        for each in under_way:
            each.cancel()
    return sum(done) / seconds


def _gather(under_way: set[Any], done: list[bool]) -> None:
    """Take in the calls that have ended; waits a moment for the first."""
    ended = {each for each in under_way if each.done()}
    if not ended:
        time.sleep(0.001)
    done.extend(each.code() is grpc.StatusCode.OK for each in ended)
    under_way -= ended


def _compute(seconds: float) -> None:
    """Take a processor for so long."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def _paced(rate: float, seconds: float) -> Iterator[None]:
    """Goes on for so long, so often per second."""
    began = time.perf_counter()
    count = 0
    while (now := time.perf_counter() - began) < seconds:
        if rate and count > now * rate:
            time.sleep(0.001)
            continue
        count += 1
        yield


def _waits(address: str, pool: str, key: str, until: Future[Any]) -> float:
    """The 99th percentile of one caller's waits in milliseconds, until something has ended."""
    waits = []
    with grpc.insecure_channel(address) as channel:
        get_pool = registry_pb2_grpc.RegistryServiceStub(channel).GetPool
        request = registry_pb2.GetPoolRequest(name=f"pools/{pool}")
        while not until.done():
            began = time.perf_counter()
            get_pool(request, metadata=bearer(key), timeout=60)
            waits.append(time.perf_counter() - began)
            time.sleep(0.005)
    until.result()
    return 1000 * sorted(waits)[len(waits) * 99 // 100]
