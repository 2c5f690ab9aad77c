"""Proofs about a pool's log, each from one query by key: a path has at most 63 hashes, whatever the size."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.log.merkle import (
    EMPTY_ROOT,
    Coordinate,
    assemble_proof,
    consistency_coordinates,
    fold,
    inclusion_coordinates,
    perfect_subtrees,
)
from ledger.store.logs.log import PoolRef
from ledger.store.postgres.transactions import ask

_HASHES: Final = """
    SELECT 0 AS level, leaf_index, hash
      FROM leaf WHERE pool_id = %(pool_id)s AND leaf_index = ANY(%(leaves)s::bigint[])
    UNION ALL
    SELECT node.level, node.node_index, node.hash
      FROM unnest(%(levels)s::smallint[], %(places)s::bigint[]) AS wanted (level, node_index)
      JOIN node ON node.pool_id = %(pool_id)s AND node.level = wanted.level AND node.node_index = wanted.node_index
"""


def inclusion_proof(connection: sa.Connection, pool: PoolRef, index: int, size: int) -> list[bytes]:
    """Proves that the leaf at an index is in the log of this size, which the log must have.

    Raises:
        InvalidInputError: the index is not below the size.
    """
    if not 0 <= index < size:
        raise InvalidInputError.of(
            "leaf_index", "must be below the log's size of %(size)s, got %(got)s", size=size, got=index
        )
    (path,) = inclusion_proofs(connection, pool, [index], size)
    return path


def inclusion_proofs(connection: sa.Connection, pool: PoolRef, indexes: Sequence[int], size: int) -> list[list[bytes]]:
    """Proves the same of many leaves below the size, with one query."""
    paths = [inclusion_coordinates(index, size) for index in indexes]
    hashes = read_hashes(connection, pool, [place for path in paths for places in path for place in places])
    return [assemble_proof(path, hashes) for path in paths]


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """Proves that a log only grew: the hashes of the proof, and the roots of the log at both sizes."""

    old_root: bytes
    root: bytes
    hashes: tuple[bytes, ...]


def consistency_proof(connection: sa.Connection, pool: PoolRef, old_size: int, size: int) -> ConsistencyProof:
    """Proves that the log of this size, which the log must have, extends that of the old one.

    Raises:
        InvalidInputError: the old size is above the size.
    """
    if not 0 <= old_size <= size:
        raise InvalidInputError.of("old_size", "must be at most %(size)s, got %(got)s", size=size, got=old_size)
    path = consistency_coordinates(old_size, size)
    frontiers = [perfect_subtrees(old_size), perfect_subtrees(size)]
    hashes = read_hashes(connection, pool, [place for places in [*path, *frontiers] for place in places])
    old_root, root = (fold([hashes[place] for place in places]) if places else EMPTY_ROOT for places in frontiers)
    return ConsistencyProof(old_root, root, tuple(assemble_proof(path, hashes)))


def extends(connection: sa.Connection, pool: PoolRef, size: int, frontier: bytes) -> bool:
    """Returns whether the log has this right edge at this size, and so extends the log whose head that is."""
    places = perfect_subtrees(size)
    found = _find_hashes(connection, pool, places)
    return b"".join(found.get(place, b"") for place in places) == frontier


def read_hashes(connection: sa.Connection, pool: PoolRef, places: Iterable[Coordinate]) -> dict[Coordinate, bytes]:
    """Returns the hashes of perfect subtrees.

    Raises:
        LedgerCorruptError: one that the log must have is missing.
    """
    wanted = set(places)
    found = _find_hashes(connection, pool, wanted)
    if missing := wanted - found.keys():
        first = min(missing)
        raise LedgerCorruptError(f"pools/{pool.name}", f"lacks the hash at level {first.level}, place {first.index}")
    return found


def _find_hashes(connection: sa.Connection, pool: PoolRef, places: Collection[Coordinate]) -> dict[Coordinate, bytes]:
    """Returns the hashes of those perfect subtrees that the log has."""
    if not places:
        return {}
    nodes = [place for place in places if place.level]
    values = {
        "pool_id": pool.pool_id,
        "leaves": [place.index for place in places if not place.level],
        "levels": [place.level for place in nodes],
        "places": [place.index for place in nodes],
    }
    # Prepared and in binary, by the driver itself: reading text would take half of the time.
    rows = ask(connection, _HASHES, values).fetchall()
    return {Coordinate(level, place): node_hash for level, place, node_hash in rows}
