"""AppendUsage, durable, over loopback gRPC, against a bare COPY of the same events into a table with a unique index.

The peer keeps one row per event: the id, and two int arrays with the collectives and the shares, over one connection of
its own, one transaction per batch. It checks nothing, and keeps no log and no weights; that is what makes it a limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa

import moiety
from bench.workload import Workload
from moiety import Client

POOL, METHOD = "bench", "bench"


def declare(operator: Client, workload: Workload, platforms: int) -> list[str]:
    """Register what the workload needs, and give a key for each platform."""
    for collective_id in workload.collective_ids():
        operator.create_collective(collective_id, moiety.Collective(display_name=collective_id))
    operator.create_pool(POOL, moiety.Pool(display_name="Bench", currency="EUR", policy=moiety.Policy(fee_ppm=50_000)))
    operator.create_method(POOL, METHOD, moiety.Method(display_name="Bench", confidence_ppm=900_000))
    keys = []
    for number in range(platforms):
        operator.create_platform(f"platform-{number}", moiety.Platform(display_name=f"Platform {number}"))
        keys.append(operator.create_api_key(f"platforms/platform-{number}").secret)
    return keys


def append_usage(address: str, keys: list[str], tables: list[pa.RecordBatch]) -> float:
    """Events per second with one stream per key; every event must be accepted."""
    parts = [tables[place :: len(keys)] for place in range(len(keys))]

    def submit(key: str, part: list[pa.RecordBatch]) -> int:
        with Client(address, key) as client:
            receipts = client.submit_usage(POOL, pa.Table.from_batches(part), METHOD, events_per_batch=len(part[0]))
        return sum(receipt.accepted_count for receipt in receipts)

    with ThreadPoolExecutor(len(keys)) as threads, _timed() as seconds:
        accepted = sum(threads.map(submit, keys, parts))
    events = sum(len(table) for table in tables)
    if accepted != events:
        raise AssertionError(f"{accepted} events accepted of {events}")
    return events / seconds()


def copy_binary(url: str, tables: list[pa.RecordBatch]) -> float:
    """Events per second of the peer; encoding its buffers is not timed."""
    buffers = [_copy_buffer(table) for table in tables]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS peer")
        connection.execute(
            "CREATE TABLE peer (id uuid PRIMARY KEY, collectives int4[] NOT NULL, shares int4[] NOT NULL)"
        )
        with _timed() as seconds:
            for buffer in buffers:
                with connection.cursor().copy("COPY peer FROM STDIN (FORMAT BINARY)") as copy:
                    copy.write(buffer)
        (count,) = connection.execute("SELECT count(*) FROM peer").fetchone() or (0,)
        connection.execute("DROP TABLE peer")
    events = sum(len(table) for table in tables)
    if count != events:
        raise AssertionError(f"{count} rows copied of {events}")
    return events / seconds()


def compare(url: str, address: str, keys: list[str], workloads: list[Workload]) -> dict[str, Any]:
    """Both in turn, once per workload; medians, spread and the ratio."""
    ours, peer = [], []
    for workload in workloads:
        tables = workload.tables()
        ours.append(append_usage(address, keys, tables))
        peer.append(copy_binary(url, tables))
    ratios = [one / other for one, other in zip(ours, peer, strict=True)]
    return {
        "append_usage_events_per_second": _spread(ours),
        "copy_binary_events_per_second": _spread(peer),
        "ratio": _spread(ratios),
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": median(values), "max": max(values)}


def _copy_buffer(table: pa.RecordBatch) -> bytes:
    events = len(table)
    indices = table.column("collectives").values.indices.to_numpy().reshape(events, -1)
    shares = table.column("shares").values.to_numpy().reshape(events, -1)
    width = shares.shape[1]
    array = [("dimensions", ">i4"), ("nulls", ">i4"), ("type", ">u4"), ("length", ">i4"), ("first", ">i4")]
    items = [("items", [("bytes", ">i4"), ("value", ">i4")], (width,))]
    layout = np.dtype(
        [("fields", ">i2"), ("id_bytes", ">i4"), ("id", "V16")]
        + [(name, [("bytes", ">i4"), *array, *items]) for name in ("collectives", "shares")]
    )
    rows = np.zeros(events, dtype=layout)
    rows["fields"], rows["id_bytes"] = 3, 16
    rows["id"] = np.frombuffer(table.column("event_id").buffers()[1], dtype="V16")
    for name, values in (("collectives", indices), ("shares", shares)):
        rows[name]["bytes"] = 20 + 8 * width
        rows[name]["dimensions"], rows[name]["type"], rows[name]["length"], rows[name]["first"] = 1, 23, width, 1
        rows[name]["items"]["bytes"], rows[name]["items"]["value"] = 4, values
    return b"PGCOPY\n\xff\r\n\x00" + bytes(8) + rows.tobytes() + b"\xff\xff"


@contextmanager
def _timed() -> Iterator[Callable[[], float]]:
    began = time.perf_counter()
    ended: list[float] = []
    yield lambda: ended[0] - began
    ended.append(time.perf_counter())
