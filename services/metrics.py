"""What is counted while the service runs, in the form that Prometheus reads.

Where several workers serve one port, each counts in files of the folder that PROMETHEUS_MULTIPROC_DIR names, which must
be set before this is imported: whichever of them is asked gives the sums of all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

SHARED_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the workers' folder."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_CALLS: Final = Counter("moiety_calls", "Calls that ended, by method, transport and status.", ["method", "via", "code"])
_SECONDS: Final = Histogram(
    "moiety_call_seconds",
    "How long calls took, open streams too, by method and transport.",
    ["method", "via"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
_UNDER_WAY: Final = Gauge(
    "moiety_calls_under_way", "Calls under way, by transport.", ["via"], multiprocess_mode="livesum"
)
_WATCHES: Final = Gauge("moiety_watches", "Open watches of logs.", multiprocess_mode="livesum")
_HEAD_WAIT: Final = Histogram(
    "moiety_head_lock_wait_seconds",
    "How long it took to lock a log's head, which one transaction at a time has to append.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
_BATCHES: Final = Counter("moiety_intake_batches", "Usage batches recorded; one that is sent again counts again.")
_EVENTS: Final = Counter("moiety_intake_events", "Usage events in recorded batches that were accepted.")
_DUPLICATES: Final = Counter("moiety_intake_duplicates", "Usage events in recorded batches that were duplicates.")
_BYTES: Final = Counter("moiety_intake_bytes", "Bytes of recorded usage batches, as Arrow.")


@cache
def _ended(method: str, via: str, code: str) -> Counter:
    return _CALLS.labels(method, via, code)


@cache
def _took(method: str, via: str) -> Histogram:
    return _SECONDS.labels(method, via)


@cache
def _under_way(via: str) -> Gauge:
    return _UNDER_WAY.labels(via)


def count_call(method: str, via: str, code: str, seconds: float) -> None:
    """Count a call that ended. `method` is one of the contract's, so that a stranger cannot make up labels."""
    _ended(method, via, code).inc()
    _took(method, via).observe(seconds)


def count_head_wait(seconds: float) -> None:
    """Count the locking of a log's head, which took so long."""
    _HEAD_WAIT.observe(seconds)


@contextmanager
def under_way(via: str) -> Iterator[None]:
    """Count a call as under way meanwhile."""
    now = _under_way(via)
    now.inc()
    try:
        yield
    finally:
        now.dec()


@contextmanager
def watching() -> Iterator[None]:
    """Count a watch of a log as open meanwhile."""
    with _WATCHES.track_inprogress():
        yield


def count_batch(accepted: int, duplicates: int, body_bytes: int) -> None:
    """Count a usage batch that was recorded."""
    _BATCHES.inc()
    _EVENTS.inc(accepted)
    _DUPLICATES.inc(duplicates)
    _BYTES.inc(body_bytes)


def forget_worker(process: int, folder: str) -> None:
    """Leave out what a worker that has ended said of the present; what it counted stays."""
    mark_process_dead(process, folder)  # type: ignore[no-untyped-call]  # it gives nothing


def rendered(*asked: Collector) -> bytes:
    """All of it, with what these collectors find out now."""
    own = CollectorRegistry()
    for collector in asked:
        own.register(collector)
    counted = REGISTRY
    if os.environ.get(SHARED_FOLDER):
        counted = CollectorRegistry()
        MultiProcessCollector(counted)  # type: ignore[no-untyped-call]  # it registers itself
    return generate_latest(counted) + generate_latest(own)
