"""What the service takes: bytes on disk for an event, and memory under many streams."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bench.figures import Figure
from bench.intake import append_usage, require_recorded
from bench.stage import Stage, Stream
from bench.workload import Workload, uuid7_ids

STREAMS: Final = 8
MEGABYTE: Final = 10**6


def measure(stage: Stage, runs: int, *, batches: int) -> list[Figure]:
    """Both of the same submissions: eight platforms at once, to one pool, which is empty at first."""
    base = Workload(batches=batches, ids=uuid7_ids)
    keys = stage.platform_keys(STREAMS)
    sizes, memory = [], []
    for seed in range(runs):
        tables, pool = replace(base, seed=seed).tables(), stage.new_pool(base)
        before = stage.bytes_on_disk()
        append_usage([Stream(stage.address, pool, key) for key in keys], tables)
        sizes.append((stage.bytes_on_disk() - before) / base.events)
        memory.append(stage.server_memory_bytes_max() / MEGABYTE)
        require_recorded(stage, pool, tables)
    stored = "stored, with all indexes, at 16 shares an event, ids in order"
    return [
        Figure("storage", stored, "", "bytes/event", sizes, [], 150, 120, lower=True),
        Figure(
            "memory", f"the server's most memory under {STREAMS} streams", "", "MB", memory, [], 250, 180, lower=True
        ),
    ]
