"""The Merkle tree by its rules, against RFC 6962's recursive definitions written out naively."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from itertools import chain, pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import ProofError
from ledger.log.merkle import (
    Coordinate,
    Frontier,
    assemble_proof,
    consistency_coordinates,
    consistency_proof,
    inclusion_coordinates,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    subtree_roots,
    verify_consistency,
    verify_inclusion,
)

LARGEST_SIZE: Final = 70  # past 64, so that every shape of right edge up to six levels is met
ENTRIES: Final = [position.to_bytes(2) for position in range(LARGEST_SIZE)]
LEAVES: Final = [leaf_hash(entry) for entry in ENTRIES]
ROOTS: Final = [root(LEAVES[:size]) for size in range(LARGEST_SIZE + 1)]
WRONG: Final = sha256(b"of nothing in the tree").digest()

ALIKE_LEVELS: Final = [LEAVES[0]]
for _ in range(62):
    ALIKE_LEVELS.append(node_hash(ALIKE_LEVELS[-1], ALIKE_LEVELS[-1]))

sizes = st.integers(1, 2**62)


def split(count: int) -> int:
    """`k`, "the largest power of two smaller than n" (RFC 6962 section 2.1)."""
    k = 1
    while k * 2 < count:
        k *= 2
    return k


def rfc_root(entries: list[bytes]) -> bytes:
    """`MTH` (RFC 6962 section 2.1)."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = split(len(entries))
    return sha256(b"\x01" + rfc_root(entries[:k]) + rfc_root(entries[k:])).digest()


def rfc_path(m: int, entries: list[bytes]) -> list[bytes]:
    """`PATH` (RFC 6962 section 2.1.1)."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*rfc_path(m, entries[:k]), rfc_root(entries[k:])]
    return [*rfc_path(m - k, entries[k:]), rfc_root(entries[:k])]


def rfc_proof(m: int, entries: list[bytes], *, known: bool = True) -> list[bytes]:
    """`PROOF`, which is `SUBPROOF` with `b = true` (RFC 6962 section 2.1.2)."""
    if m == len(entries):
        return [] if known else [rfc_root(entries)]
    k = split(len(entries))
    if m <= k:
        return [*rfc_proof(m, entries[:k], known=known), rfc_root(entries[k:])]
    return [*rfc_proof(m - k, entries[k:], known=False), rfc_root(entries[:k])]


def mutations(proof: list[bytes]) -> Iterator[list[bytes]]:
    """Every way to change, drop, add, repeat or swap one hash of a proof."""
    for at, known in enumerate(proof):
        before, after = proof[:at], proof[at + 1 :]
        for changed in (bytes([known[0] ^ 1]) + known[1:], known[:-1] + bytes([known[-1] ^ 0x80])):
            yield [*before, changed, *after]
        for misshapen in (known[:-1], known + b"\x00", b""):
            yield [*before, misshapen, *after]
        yield [*before, *after]
        yield [*before, known, known, *after]
        yield [*before, WRONG, known, *after]
        if after:
            yield [*before, after[0], known, *after[1:]]
    yield [*proof, WRONG]


def mutations_in_place(hashes: list[bytes]) -> Iterator[list[bytes]]:
    return (mutated for mutated in mutations(hashes) if len(mutated) == len(hashes))


def leaves_under(subtree: Coordinate) -> tuple[int, int]:
    """The range of leaves of a perfect subtree."""
    return subtree.index << subtree.level, subtree.index + 1 << subtree.level


def joined(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Adjacent ranges as one; ranges that overlap stay apart."""
    result: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if result and result[-1][1] == begin:
            result[-1] = (result[-1][0], end)
        else:
            result.append((begin, end))
    return result


class AlikeSubtrees(dict[Coordinate, bytes]):
    """The perfect subtrees of a tree whose leaves are all alike: the hash depends on the level only."""

    def __missing__(self, subtree: Coordinate) -> bytes:
        return ALIKE_LEVELS[subtree.level]


def alike_root(size: int) -> bytes:
    """The root of a tree of `size` leaves that are all alike."""
    levels = [level for level in reversed(range(size.bit_length())) if size >> level & 1]
    return Frontier(size, tuple(ALIKE_LEVELS[level] for level in levels)).root()


@pytest.mark.parametrize("size", range(LARGEST_SIZE + 1))
def test_roots_and_proofs_are_those_of_the_recursive_definition(size: int) -> None:
    """Rule: `MTH`, `PATH` and `PROOF` of RFC 6962 section 2.1."""
    entries, leaves = ENTRIES[:size], LEAVES[:size]
    assert root(leaves) == rfc_root(entries)
    for index in range(size):
        assert inclusion_proof(index, leaves) == rfc_path(index, entries)
    for old_size in range(1, size + 1):
        assert consistency_proof(old_size, leaves) == rfc_proof(old_size, entries)


def test_every_leaf_of_every_tree_is_proven_included() -> None:
    """Rule: what the prover gives, the verifier takes (RFC 9162 section 2.1.3)."""
    for size in range(1, LARGEST_SIZE + 1):
        for index in range(size):
            proof = inclusion_proof(index, LEAVES[:size])
            verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])


def test_every_tree_is_proven_to_extend_every_smaller_one() -> None:
    """Rule: what the prover gives, the verifier takes (RFC 9162 section 2.1.4)."""
    for size in range(LARGEST_SIZE + 1):
        for old_size in range(size + 1):
            proof = consistency_proof(old_size, LEAVES[:size])
            verify_consistency(old_size, size, ROOTS[old_size], ROOTS[size], proof)


@pytest.mark.parametrize("size", range(1, LARGEST_SIZE + 1))
def test_every_single_mutation_of_an_inclusion_proof_is_refused(size: int) -> None:
    """Rule: a proof holds for one leaf at one index of one root, and in one form."""
    for index in range(size):
        leaf, proof, top = LEAVES[index], inclusion_proof(index, LEAVES[:size]), ROOTS[size]
        refused: list[tuple[bytes, int, list[bytes], bytes]] = [
            *((leaf, index, mutated, top) for mutated in mutations(proof)),
            *((leaf, other, proof, top) for other in range(-1, size + 1) if other != index),
            *((mutated, index, proof, top) for [mutated] in mutations_in_place([leaf])),
            *((leaf, index, proof, mutated) for [mutated] in mutations_in_place([top])),
        ]
        for mutated_leaf, mutated_index, mutated_proof, mutated_root in refused:
            with pytest.raises(ProofError):
                verify_inclusion(mutated_leaf, mutated_index, size, mutated_proof, mutated_root)


@pytest.mark.parametrize("size", range(LARGEST_SIZE + 1))
def test_every_single_mutation_of_a_consistency_proof_is_refused(size: int) -> None:
    """Rule: a proof holds for one old root and one new root, and in one form."""
    for old_size in range(size + 1):
        old, new, proof = ROOTS[old_size], ROOTS[size], consistency_proof(old_size, LEAVES[:size])
        refused: list[tuple[bytes, bytes, list[bytes]]] = [
            *((old, new, mutated) for mutated in mutations(proof)),
            *((mutated, new, proof) for [mutated] in mutations_in_place([old])),
        ]
        if old_size > 0:  # every tree extends the empty one, whatever its root
            refused += [(old, mutated, proof) for [mutated] in mutations_in_place([new])]
        if old_size != size:
            refused.append((new, old, proof))
        for mutated_old, mutated_new, mutated_proof in refused:
            with pytest.raises(ProofError):
                verify_consistency(old_size, size, mutated_old, mutated_new, mutated_proof)


def test_a_store_of_perfect_subtrees_answers_every_proof() -> None:
    """Rule: "`node(pool, level, index, hash)` for perfect subtrees only", and "a proof is one query"."""
    frontier = Frontier()
    store: dict[Coordinate, bytes] = {}
    for index, leaf in enumerate(LEAVES):
        store[Coordinate(0, index)] = leaf
        completed = frontier.append(leaf)
        assert not completed.keys() & store.keys()
        store |= completed
        size = index + 1
        for place in range(size):
            assert assemble_proof(inclusion_coordinates(place, size), store) == inclusion_proof(place, LEAVES[:size])
        for old_size in range(size + 1):
            assert assemble_proof(consistency_coordinates(old_size, size), store) == consistency_proof(
                old_size, LEAVES[:size]
            )


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70), st.lists(st.integers(0, 70), max_size=4))
def test_leaves_that_are_appended_together_make_the_same_frontier(leaves: list[bytes], cuts: list[int]) -> None:
    one_by_one, together = Frontier(), Frontier()
    for leaf in leaves:
        one_by_one.append(leaf)
    for begin, end in pairwise([0, *sorted(cuts), 70]):
        together.extend(leaves[begin:end])
    assert together == one_by_one


@given(st.lists(st.binary(max_size=40), max_size=300))
def test_a_frontier_has_the_root_of_all_that_was_appended(entries: list[bytes]) -> None:
    """Rule: the root depends on the entries and their order alone; stopping and going on changes nothing."""
    frontier = Frontier()
    for entry in entries:
        frontier = Frontier.from_bytes(frontier.size, frontier.to_bytes())
        frontier.append(leaf_hash(entry))
    leaves = [leaf_hash(entry) for entry in entries]
    assert frontier.root() == root(leaves) == rfc_root(entries)


@given(sizes, st.data())
def test_an_inclusion_proof_is_made_of_all_leaves_but_one(size: int, data: st.DataObject) -> None:
    """Rule: an inclusion proof covers the tree around its leaf, once, with one hash per level at most."""
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_coordinates(index, size)
    assert joined([*map(leaves_under, chain(*path)), (index, index + 1)]) == [(0, size)]
    assert len(path) <= (size - 1).bit_length()


@given(sizes, st.data())
def test_a_consistency_proof_is_split_at_the_old_size(size: int, data: st.DataObject) -> None:
    """Rule: a consistency proof covers what the old tree lacks, and what it had unless that is perfect."""
    old_size = data.draw(st.integers(1, size))
    path = consistency_coordinates(old_size, size)
    covered = joined([leaves_under(subtree) for subtree in chain(*path)])
    left_out = path == [] or old_size.bit_count() == 1
    assert covered == [(begin, size) for begin in [old_size if left_out else 0] if begin < size]
    assert not any(begin < old_size < end for begin, end in map(leaves_under, chain(*path)))


@given(sizes, st.data())
def test_proofs_hold_in_trees_of_any_size(size: int, data: st.DataObject) -> None:
    """Rule: as for small trees. All leaves are alike here, so that a subtree is known by its level."""
    index = data.draw(st.integers(0, size - 1))
    old_size = data.draw(st.integers(0, size))
    inclusion = assemble_proof(inclusion_coordinates(index, size), AlikeSubtrees())
    verify_inclusion(LEAVES[0], index, size, inclusion, alike_root(size))
    consistency = assemble_proof(consistency_coordinates(old_size, size), AlikeSubtrees())
    verify_consistency(old_size, size, alike_root(old_size), alike_root(size), consistency)
    for mutated in mutations(inclusion):
        if mutated != inclusion:
            with pytest.raises(ProofError):
                verify_inclusion(LEAVES[0], index, size, mutated, alike_root(size))


def test_roots_of_parts_are_the_leaves_of_the_same_tree() -> None:
    for size in range(1, LARGEST_SIZE + 1):
        parts = subtree_roots(LEAVES[:size], 3)
        assert root(parts) == ROOTS[size]
        for index in range(size):
            part, within = divmod(index, 8)
            path = inclusion_proof(within, LEAVES[part * 8 : min(size, part * 8 + 8)]) + inclusion_proof(part, parts)
            assert path == inclusion_proof(index, LEAVES[:size])
