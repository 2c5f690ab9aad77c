"""Proofs as a log gets longer."""

from __future__ import annotations

from collections.abc import Sequence

from bench import proofs
from bench.figures import Series
from bench.stage import Stage
from ledger.store.logs.log import PoolRef


def measure(stage: Stage, runs: int, *, leaves: Sequence[int]) -> list[Series]:
    """Logs of so many leaves, each written in bulk: milliseconds to read a proof in one query and verify it."""
    lines: dict[str, list[tuple[float, list[float]]]] = {"inclusion": [], "consistency, with both roots": []}
    for place, size in enumerate(leaves):
        log = proofs.fill(stage.database_url, PoolRef(proofs.POOL.pool_id + place, f"proofs-{place}", "EUR"), size)
        with stage.parts.database.transaction() as connection:
            provers = proofs.inclusion(connection, log), proofs.consistency(connection, log)
            for name, prove in zip(lines, provers, strict=True):
                lines[name].append((size, [proofs.median_ms(prove) for _ in range(runs)]))
    return [Series("growth-proofs", "A proof, the median of 1,000 drawn at random", "leaves", "ms", lines)]
