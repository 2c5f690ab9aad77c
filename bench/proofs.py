"""Proofs: one query each, at a log of 300,000 leaves, against an absolute limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter
from typing import Final

import psycopg
import sqlalchemy as sa

from bench.figures import Figure
from bench.stage import Stage
from ledger.log.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from ledger.store.logs import proofs
from ledger.store.logs.log import PoolRef

POOL: Final = PoolRef(2**30, "proofs", "EUR")
"""A log without a pool: only its leaves and nodes are read."""

PROOFS: Final = 1_000
ENTRY: Final = b"x" * 400


@dataclass(frozen=True, slots=True)
class FilledLog:
    """A log whose leaves are known without keeping them."""

    pool: PoolRef
    leaves: int
    root: bytes


def measure(stage: Stage, runs: int, *, leaves: int) -> list[Figure]:
    """An inclusion proof, and a consistency proof, of places drawn at random: milliseconds, the median of each run."""
    log = fill(stage.database_url, POOL, leaves)
    with stage.parts.database.transaction() as connection:
        return [
            _figure("inclusion", "an inclusion proof", inclusion(connection, log), connection, runs, leaves),
            _figure(
                "consistency",
                "a consistency proof with both roots",
                consistency(connection, log),
                connection,
                runs,
                leaves,
            ),
        ]


def inclusion(connection: sa.Connection, log: FilledLog) -> Callable[[], None]:
    """Reads and verifies the inclusion proof of a leaf drawn at random."""
    draw = Random(1)

    def prove() -> None:
        index = draw.randrange(log.leaves)
        proof = proofs.inclusion_proof(connection, log.pool, index, log.leaves)
        verify_inclusion(_hash_of(index), index, log.leaves, proof, log.root)

    return prove


def consistency(connection: sa.Connection, log: FilledLog) -> Callable[[], None]:
    """Reads and verifies the consistency proof from a size drawn at random."""
    draw = Random(1)

    def prove() -> None:
        old_size = draw.randrange(1, log.leaves)
        proof = proofs.consistency_proof(connection, log.pool, old_size, log.leaves)
        verify_consistency(old_size, log.leaves, proof.old_root, log.root, proof.hashes)

    return prove


def _figure(
    name: str, what: str, prove: Callable[[], None], connection: sa.Connection, runs: int, leaves: int
) -> Figure:
    ours = [median_ms(prove) for _ in range(runs)]
    peer_ms = [median_ms(lambda: connection.exec_driver_sql("SELECT 1").scalar()) for _ in range(runs)]
    notes = {"proofs_per_run": PROOFS, "a_bare_select_1_ms": median(peer_ms)}
    text = f"{what} of a log of {leaves:,} leaves, read in one query and verified"
    return Figure(name, text, "", "ms", ours, [], 1.0, 0.5, lower=True, notes=notes)


def median_ms(prove: Callable[[], object]) -> float:
    """Of PROOFS of them."""
    took = []
    for _ in range(PROOFS):
        began = perf_counter()
        prove()
        took.append((perf_counter() - began) * 1_000)
    return median(took)


def _hash_of(index: int) -> bytes:
    return leaf_hash(ENTRY + index.to_bytes(8, "big"))


def fill(url: str, pool: PoolRef, leaves: int) -> FilledLog:
    """Write a log's leaves and nodes in bulk."""
    frontier, nodes = Frontier(), []
    with psycopg.connect(url) as connection:
        with connection.cursor().copy("COPY leaf (pool_id, leaf_index, entry, hash) FROM STDIN") as copy:
            for index in range(leaves):
                hashed = _hash_of(index)
                copy.write_row((pool.pool_id, index, ENTRY + index.to_bytes(8, "big"), hashed))
                nodes += [(place.level, place.index, found) for place, found in frontier.append(hashed).items()]
        with connection.cursor().copy("COPY node (pool_id, level, node_index, hash) FROM STDIN") as copy:
            for level, place, found in nodes:
                copy.write_row((pool.pool_id, level, place, found))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE leaf, node")
    return FilledLog(pool, leaves, frontier.root())
