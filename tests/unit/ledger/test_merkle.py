"""The Merkle tree by example: the published Certificate Transparency vectors, and what is refused.

The leaves, roots and proofs are those of the CT reference implementation's own tests.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

import pytest

from ledger.errors import LedgerError, ProofError
from ledger.log.merkle import (
    EMPTY_ROOT,
    Coordinate,
    Frontier,
    assemble_proof,
    consistency_coordinates,
    consistency_proof,
    fold,
    inclusion_coordinates,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

ENTRIES: Final = [
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
LEAVES: Final = [leaf_hash(entry) for entry in ENTRIES]
ROOTS: Final = [
    bytes.fromhex(known)
    for known in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
LEAF_1: Final = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
LEAF_4: Final = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
LEAF_6: Final = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
LEAVES_2_TO_3: Final = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
LEAVES_4_TO_5: Final = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
LEAVES_6_TO_7: Final = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
LEAVES_0_TO_3: Final = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
LEAVES_4_TO_7: Final = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    assert root(LEAVES[:size]) == ROOTS[size]


def test_a_frontier_has_the_published_root_at_every_size() -> None:
    frontier = Frontier()
    assert frontier.root() == ROOTS[0]
    for size, leaf in enumerate(LEAVES, start=1):
        frontier.append(leaf)
        assert frontier.size == size
        assert frontier.root() == ROOTS[size]


def test_leaves_and_nodes_are_hashed_apart() -> None:
    assert leaf_hash(b"entry") == sha256(b"\x00entry").digest()
    assert node_hash(LEAVES[0], LEAVES[1]) == sha256(b"\x01" + LEAVES[0] + LEAVES[1]).digest()
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (0, 1, []),
        (0, 8, [LEAF_1, LEAVES_2_TO_3, LEAVES_4_TO_7]),
        (5, 8, [LEAF_4, LEAVES_6_TO_7, LEAVES_0_TO_3]),
        (1, 5, [ROOTS[1].hex(), LEAVES_2_TO_3, LEAF_4]),
        (2, 3, [ROOTS[2].hex()]),
    ],
)
def test_inclusion_proofs_are_the_published_ones(index: int, size: int, proof: list[str]) -> None:
    assert [known.hex() for known in inclusion_proof(index, LEAVES[:size])] == proof
    verify_inclusion(LEAVES[index], index, size, [bytes.fromhex(known) for known in proof], ROOTS[size])


@pytest.mark.parametrize(
    ("old_size", "size", "proof"),
    [
        (1, 1, []),
        (1, 8, [LEAF_1, LEAVES_2_TO_3, LEAVES_4_TO_7]),
        (2, 5, [LEAVES_2_TO_3, LEAF_4]),
        (6, 7, [LEAVES_4_TO_5, LEAF_6, LEAVES_0_TO_3]),
        (6, 8, [LEAVES_4_TO_5, LEAVES_6_TO_7, LEAVES_0_TO_3]),
    ],
)
def test_consistency_proofs_are_the_published_ones(old_size: int, size: int, proof: list[str]) -> None:
    assert [known.hex() for known in consistency_proof(old_size, LEAVES[:size])] == proof
    verify_consistency(old_size, size, ROOTS[old_size], ROOTS[size], [bytes.fromhex(known) for known in proof])


def test_a_proof_hash_on_the_right_edge_is_folded_from_perfect_subtrees() -> None:
    # Leaf 0 of 7: its sibling, the pair after that, and leaves 4 to 6, which are a pair and a single leaf.
    path = inclusion_coordinates(0, 7)
    assert path == [
        (Coordinate(0, 1),),
        (Coordinate(1, 1),),
        (Coordinate(1, 2), Coordinate(0, 6)),
    ]
    hashes = {
        Coordinate(0, 1): LEAVES[1],
        Coordinate(1, 1): node_hash(LEAVES[2], LEAVES[3]),
        Coordinate(1, 2): node_hash(LEAVES[4], LEAVES[5]),
        Coordinate(0, 6): LEAVES[6],
    }
    assert assemble_proof(path, hashes) == inclusion_proof(0, LEAVES[:7])
    assert assemble_proof(path, hashes)[-1] == root(LEAVES[4:7])


def test_a_consistency_proof_begins_with_the_end_of_the_old_tree() -> None:
    assert consistency_coordinates(3, 7) == [
        (Coordinate(0, 2),),
        (Coordinate(0, 3),),
        (Coordinate(1, 0),),
        (Coordinate(1, 2), Coordinate(0, 6)),
    ]
    assert consistency_coordinates(4, 7) == [(Coordinate(1, 2), Coordinate(0, 6))]


def test_a_hash_that_the_store_lacks_is_not_made_up() -> None:
    with pytest.raises(KeyError):
        assemble_proof(inclusion_coordinates(0, 7), {})


def test_appending_gives_the_perfect_subtrees_that_the_leaf_completes() -> None:
    frontier = Frontier()
    completed = [frontier.append(leaf) for leaf in LEAVES]
    pair_0_1, pair_4_5 = root(LEAVES[:2]), root(LEAVES[4:6])
    assert completed[0] == completed[2] == completed[4] == completed[6] == {}
    assert completed[1] == {Coordinate(1, 0): pair_0_1}
    assert completed[5] == {Coordinate(1, 2): pair_4_5}
    assert completed[7] == {
        Coordinate(1, 3): root(LEAVES[6:]),
        Coordinate(2, 1): root(LEAVES[4:]),
        Coordinate(3, 0): root(LEAVES),
    }


def test_a_frontier_is_stored_and_read_back() -> None:
    frontier = Frontier()
    for leaf in LEAVES[:7]:
        frontier.append(leaf)
    stored = frontier.to_bytes()
    assert stored == root(LEAVES[:4]) + root(LEAVES[4:6]) + LEAVES[6]
    restored = Frontier.from_bytes(7, stored)
    assert restored == frontier
    restored.append(LEAVES[7])
    assert restored.root() == ROOTS[8]
    assert Frontier.from_bytes(0, Frontier().to_bytes()) == Frontier()


@pytest.mark.parametrize(
    ("size", "data"),
    [
        (-1, LEAVES[0]),
        (0, LEAVES[0]),
        (1, b""),
        (1, LEAVES[0][:-1]),
        (1, LEAVES[0] + b"\x00"),
        (2, LEAVES[0] + LEAVES[1]),
        (3, LEAVES[0]),
    ],
)
def test_a_frontier_that_does_not_fit_its_size_is_refused(size: int, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"^size "):
        Frontier.from_bytes(size, data)


@pytest.mark.parametrize("wrong", [b"", LEAVES[0][:-1], LEAVES[0] + b"\x00"])
def test_a_leaf_hash_of_the_wrong_length_is_not_appended(wrong: bytes) -> None:
    frontier = Frontier()
    frontier.append(LEAVES[0])
    with pytest.raises(ValueError, match="32 bytes"):
        frontier.append(wrong)
    assert frontier == Frontier(1, (LEAVES[0],))
    with pytest.raises(ValueError, match="32 bytes"):
        root([LEAVES[0], wrong])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (8, 8), (-1, 8)])
def test_there_is_no_inclusion_proof_for_a_leaf_outside_of_the_tree(index: int, size: int) -> None:
    with pytest.raises(ValueError, match=r"^index "):
        inclusion_coordinates(index, size)
    with pytest.raises(ValueError, match=r"^index "):
        inclusion_proof(index, LEAVES[:size])


@pytest.mark.parametrize("old_size", [-1, 9])
def test_there_is_no_consistency_proof_from_a_size_that_the_tree_has_not_had(old_size: int) -> None:
    with pytest.raises(ValueError, match=r"^old_size "):
        consistency_coordinates(old_size, 8)
    with pytest.raises(ValueError, match=r"^old_size "):
        consistency_proof(old_size, LEAVES)


@pytest.mark.parametrize("size", range(9))
def test_every_tree_extends_the_empty_one_and_itself(size: int) -> None:
    assert consistency_proof(0, LEAVES[:size]) == []
    assert consistency_proof(size, LEAVES[:size]) == []
    verify_consistency(0, size, EMPTY_ROOT, ROOTS[size], [])
    verify_consistency(size, size, ROOTS[size], ROOTS[size], [])


@pytest.mark.parametrize(
    ("old_size", "new_size", "old_root", "new_root", "proof", "reason"),
    [
        (0, 0, ROOTS[1], ROOTS[1], [], "empty tree"),
        (0, 0, ROOTS[0], ROOTS[1], [], "sizes are equal"),
        (0, 8, ROOTS[8], ROOTS[8], [], "empty tree"),
        (0, 8, ROOTS[0], ROOTS[8], [ROOTS[8]], "too long"),
        (8, 8, ROOTS[8], ROOTS[7], [], "sizes are equal"),
        (8, 8, ROOTS[8], ROOTS[8], [ROOTS[8]], "too long"),
        (8, 7, ROOTS[8], ROOTS[7], [], "does not extend"),
        (-1, 8, ROOTS[0], ROOTS[8], [], "does not extend"),
        (4, 8, ROOTS[4], ROOTS[8], [], "too short"),
        (3, 8, ROOTS[3], ROOTS[8], [], "too short"),
        (4, 8, ROOTS[4], ROOTS[8], [*consistency_proof(4, LEAVES), ROOTS[8]], "too long"),
        (3, 8, ROOTS[4], ROOTS[8], consistency_proof(3, LEAVES), "old root"),
        (3, 8, ROOTS[3], ROOTS[7], consistency_proof(3, LEAVES), "new root"),
    ],
)
def test_sizes_roots_and_proofs_that_do_not_go_together_are_refused(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: list[bytes], reason: str
) -> None:
    with pytest.raises(ProofError, match=reason):
        verify_consistency(old_size, new_size, old_root, new_root, proof)


@pytest.mark.parametrize("wrong", [b"", LEAVES[0][:-1], LEAVES[0] + b"\x00"])
def test_a_hash_of_the_wrong_length_is_refused_wherever_it_is(wrong: bytes) -> None:
    right = LEAVES[0]
    for leaf, proof, top in [(wrong, [right], right), (right, [wrong], right), (right, [right], wrong)]:
        with pytest.raises(ProofError, match="32 bytes"):
            verify_inclusion(leaf, 0, 2, proof, top)
    for old, new, proof in [(wrong, right, [right]), (right, wrong, [right]), (right, right, [wrong])]:
        with pytest.raises(ProofError, match="32 bytes"):
            verify_consistency(1, 2, old, new, proof)


def test_bytes_cannot_be_moved_from_one_hash_to_the_next() -> None:
    # A node hashes its children end to end, so a longer left and a shorter right child come to the same root.
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(LEAVES[0] + LEAVES[1][:1], 0, 2, [LEAVES[1][1:]], ROOTS[2])


@pytest.mark.parametrize("index", [-1, 8, 2**64])
def test_an_index_outside_of_the_tree_is_refused(index: int) -> None:
    with pytest.raises(ProofError, match="no leaf"):
        verify_inclusion(LEAVES[0], index, 8, inclusion_proof(0, LEAVES), ROOTS[8])


def test_nothing_is_included_in_an_empty_tree() -> None:
    with pytest.raises(ProofError, match="no leaf"):
        verify_inclusion(LEAVES[0], 0, 0, [], EMPTY_ROOT)


def test_a_node_does_not_pass_for_a_leaf() -> None:
    # Without its lowest step, a proof leads from an inner node to the root; but the tree is not that small.
    with pytest.raises(ProofError, match="too short"):
        verify_inclusion(root(LEAVES[:2]), 0, 8, inclusion_proof(0, LEAVES)[1:], ROOTS[8])


def test_the_reason_is_a_field_and_the_message_readable() -> None:
    with pytest.raises(LedgerError) as caught:
        verify_inclusion(LEAVES[0], 0, 8, [], ROOTS[8])
    assert isinstance(caught.value, ProofError)
    assert caught.value.reason == "the path is too short"
    assert str(caught.value) == "invalid proof: the path is too short"


def test_folding_goes_from_the_right() -> None:
    a, b, c = LEAVES[:3]
    assert fold([a]) == a
    assert fold([a, b, c]) == node_hash(a, node_hash(b, c))
