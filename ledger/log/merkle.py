"""The Merkle tree of a pool's log: hashes, roots, proofs and their verification.

Follows RFC 6962 section 2.1 and RFC 9162 section 2.1. Hashes are SHA-256, 32 bytes each; sizes count leaves.

A tree is made of *perfect subtrees*: 2^level leaves, none missing. Such a subtree never changes after its
last leaf, so a store keeps it under its `Coordinate`. Every other hash is on the right edge and is folded
from a few perfect ones. So a proof is first worked out as coordinates, which are then all looked up at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ledger.errors import ProofError

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()


@dataclass(frozen=True, slots=True, order=True)
class Coordinate:
    """The place of a perfect subtree: the leaves from `index * 2^level` to below `(index + 1) * 2^level`."""

    level: int
    index: int


def leaf_hash(entry: bytes) -> bytes:
    """Returns the hash of a log entry as a leaf: SHA-256(0x00 || entry)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Returns the hash over two adjacent subtrees: SHA-256(0x01 || left || right).

    Their lengths are not checked here, but where they are read.
    """
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Returns the root of the tree over `leaf_hashes`; `EMPTY_ROOT` if there are none.

    Raises:
        ValueError: a leaf hash is not 32 bytes.
    """
    if not _are_hashes(leaf_hashes):
        raise ValueError(f"leaf_hashes must be {HASH_BYTES} bytes each")
    row = list(leaf_hashes)
    while len(row) > 1:
        # The last of an odd row moves up unchanged, which gives the RFC's split at a power of two.
        unpaired = row[len(row) & ~1 :]
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row) - 1, 2)] + unpaired
    return row[0] if row else EMPTY_ROOT


def subtree_roots(leaf_hashes: Sequence[bytes], level: int) -> list[bytes]:
    """Returns the roots of each 2^level leaves, and of what is left: the tree over these is the tree over the leaves.

    So the inclusion proof of a leaf is the one within its part, and then the one of its part among these.
    """
    return [root(leaf_hashes[at : at + (1 << level)]) for at in range(0, len(leaf_hashes), 1 << level)]


def fold(hashes: Sequence[bytes]) -> bytes:
    """Returns the hash over adjacent perfect subtrees, at least one, the largest (leftmost) first."""
    *others, folded = hashes
    for left in reversed(others):
        folded = node_hash(left, folded)
    return folded


@dataclass(slots=True)
class Frontier:
    """The right edge of a growing tree: all that is needed to append to it and to know its root.

    `hashes` are those of its perfect subtrees, the largest (leftmost) first, one for each bit set in `size`.

    Raises:
        ValueError: `size` is negative, or `hashes` have the wrong number or lengths for it.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count() or not _are_hashes(self.hashes):
            raise ValueError(f"size {self.size} cannot have these hashes, or it is negative")

    def append(self, leaf_hash: bytes) -> dict[Coordinate, bytes]:
        """Appends a leaf and returns the perfect subtrees that it completes, from level 1 up.

        Raises:
            ValueError: `leaf_hash` is not 32 bytes; nothing is appended.
        """
        if not _is_hash(leaf_hash):
            raise ValueError(f"leaf_hash must be {HASH_BYTES} bytes")
        if not self.size & 1:  # every other leaf completes none
            self.hashes, self.size = (*self.hashes, leaf_hash), self.size + 1
            return {}
        completed = {}
        subtree = leaf_hash
        trailing_ones = (self.size ^ (self.size + 1)).bit_length() - 1
        for level in range(1, trailing_ones + 1):
            subtree = node_hash(self.hashes[-level], subtree)
            completed[Coordinate(level, self.size >> level)] = subtree
        self.hashes = (*self.hashes[: len(self.hashes) - trailing_ones], subtree)
        self.size += 1
        return completed

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Appends leaves of 32 bytes each, in half of the time where nobody needs the subtrees that they complete."""
        size, hashes = self.size, list(self.hashes)
        for subtree in leaf_hashes:
            completed, size = size, size + 1
            while completed & 1:
                subtree = node_hash(hashes.pop(), subtree)  # noqa: PLW2901
                completed >>= 1
            hashes.append(subtree)
        self.size, self.hashes = size, tuple(hashes)

    def root(self) -> bytes:
        """Returns the root of the tree; `EMPTY_ROOT` if it has no leaf."""
        return fold(self.hashes) if self.hashes else EMPTY_ROOT

    def to_bytes(self) -> bytes:
        """Returns `hashes` as one string, to be stored with `size`."""
        return b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, size: int, data: bytes) -> Frontier:
        """Reads back what `to_bytes` gave at this size.

        Raises:
            ValueError: `size` is negative, or `data` has the wrong length for it.
        """
        return cls(size, tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)))


def inclusion_coordinates(index: int, size: int) -> list[tuple[Coordinate, ...]]:
    """Returns the subtrees that fold into each hash of an inclusion proof (RFC 9162 section 2.1.3.1).

    Raises:
        ValueError: a tree of `size` leaves has no leaf at `index`.
    """
    if not 0 <= index < size:
        raise ValueError(f"index must be from 0 to below the size of {size}, got {index}")
    return [sibling for _, _, sibling in _descent(index, size)][::-1]


def consistency_coordinates(old_size: int, size: int) -> list[tuple[Coordinate, ...]]:
    """Returns the subtrees that fold into each hash of a consistency proof (RFC 9162 section 2.1.4.1).

    From the empty tree, which the RFC leaves out, the proof is empty: every tree extends it.

    Raises:
        ValueError: `old_size` is negative or above `size`.
    """
    if not 0 <= old_size <= size:
        raise ValueError(f"old_size must be from 0 to the size of {size}, got {old_size}")
    if old_size == 0:
        return []
    begin, end, path = 0, size, []
    descent = _descent(old_size - 1, size)
    while end != old_size:
        begin, end, sibling = next(descent)
        path.append(sibling)
    if begin > 0:  # else what remains is the whole old tree, whose root the verifier has
        path.append(_perfect_subtrees(begin, end))
    return path[::-1]


def perfect_subtrees(size: int) -> tuple[Coordinate, ...]:
    """Returns the perfect subtrees of a tree of `size` leaves, largest first; they `fold` into its root."""
    return _perfect_subtrees(0, size)


def assemble_proof(path: Iterable[Sequence[Coordinate]], hashes: Mapping[Coordinate, bytes]) -> list[bytes]:
    """Returns the proof along `path`, the coordinates from one of the above, given the hashes that it names.

    Raises:
        KeyError: `hashes` lacks one that `path` names.
    """
    return [fold([hashes[subtree] for subtree in subtrees]) for subtrees in path]


def inclusion_proof(index: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """Proves that the leaf at `index` is in the tree over `leaf_hashes` (RFC 9162 section 2.1.3.1).

    Raises:
        ValueError: there is no leaf at `index`, or a hash that it needs is not 32 bytes.
    """
    return _proof(inclusion_coordinates(index, len(leaf_hashes)), leaf_hashes)


def consistency_proof(old_size: int, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """Proves that the tree over `leaf_hashes` extends its first `old_size` (RFC 9162 section 2.1.4.1).

    Raises:
        ValueError: `old_size` is negative or above their number, or a hash that it needs is not 32 bytes.
    """
    return _proof(consistency_coordinates(old_size, len(leaf_hashes)), leaf_hashes)


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Checks that the tree of `size` leaves has this leaf at `index` (RFC 9162 section 2.1.3.2).

    Raises:
        ProofError: the proof is invalid, has too few or too many hashes, or one that is not 32 bytes;
            or the index is not in the tree.
    """
    # 1. The leaf is in the tree, and every hash has the length of a hash.
    if not 0 <= index < size:
        raise ProofError(f"a tree of size {size} has no leaf {index}")
    if not _are_hashes([leaf_hash, root, *proof]):
        raise ProofError(f"a hash is not {HASH_BYTES} bytes")

    # 2. Climb from the leaf to the top.
    computed = leaf_hash
    for sibling, on_left in _climb(index, size - 1, proof):
        computed = node_hash(sibling, computed) if on_left else node_hash(computed, sibling)

    # 3. Compare the result with the root.
    if computed != root:
        raise ProofError("the path does not lead to the root")


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the tree of `new_size` leaves extends that of `old_size` (RFC 9162 section 2.1.4.2).

    The RFC leaves two cases out. Trees of one size are consistent if their roots are equal, and every tree
    extends the empty one, whose root must be `EMPTY_ROOT`; the proof is empty in both.

    Raises:
        ProofError: the proof is invalid, has too few or too many hashes, or one that is not 32 bytes;
            or the old size is negative or above the new one.
    """
    # 1. The tree has not shrunk, and every hash has the length of a hash.
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a tree of size {new_size} does not extend one of size {old_size}")
    if not _are_hashes([old_root, new_root, *proof]):
        raise ProofError(f"a hash is not {HASH_BYTES} bytes")

    # 2. Without a climb, compare the roots.
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise ProofError("the old root is not that of an empty tree")
    if old_size == new_size and old_root != new_root:
        raise ProofError("the sizes are equal and the roots are not")
    if old_size in (0, new_size):
        if proof:
            raise ProofError("the path is too long")
        return

    # 3. Start from the largest perfect subtree that ends the old tree: the old root, if that is all of it.
    path = [old_root, *proof] if old_size.bit_count() == 1 else list(proof)

    # 4. Climb to the top of both trees.
    old_computed, new_computed = consistency_roots(old_size, new_size, path)

    # 5. Compare the results with the roots.
    if old_computed != old_root:
        raise ProofError("the path does not lead to the old root")
    if new_computed != new_root:
        raise ProofError("the path does not lead to the new root")


def consistency_roots(old_size: int, new_size: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Returns the roots of both trees that a consistency path leads to, for 0 < old_size < new_size.

    `path` is the proof; if the old tree is one perfect subtree, which a proof leaves out, its hash comes first.
    A path that leads to a known new root shows what the root of its first `old_size` leaves must have been: by the
    collision resistance of SHA-256 no other path leads there.

    Raises:
        ProofError: the path has too few or too many hashes.
    """
    if not path:
        raise ProofError("the path is too short")
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    # Hashes on the left are in both trees, those on the right only in the new one.
    old_computed = new_computed = path[0]
    for sibling, on_left in _climb(place, last, path[1:]):
        old_computed = node_hash(sibling, old_computed) if on_left else old_computed
        new_computed = node_hash(sibling, new_computed) if on_left else node_hash(new_computed, sibling)
    return old_computed, new_computed


def _climb(place: int, last: int, path: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Returns each sibling on the way up from `place`, in a row that ends at `last`, and if it is on the left.

    Raises:
        ProofError: `path` continues above the top or ends below it.
    """
    for sibling in path:
        if last == 0:
            raise ProofError("the path is too long")
        on_left = place & 1 == 1 or place == last
        while on_left and not place & 1:  # the last of an odd row has no sibling and moves up as it is
            place, last = place >> 1, last >> 1
        yield sibling, on_left
        place, last = place >> 1, last >> 1
    if last != 0:
        raise ProofError("the path is too short")


def _descent(index: int, size: int) -> Iterator[tuple[int, int, tuple[Coordinate, ...]]]:
    """Returns each step from the top to the leaf at `index`: the leaves that remain, and what was split off."""
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + (1 << (end - begin - 1).bit_length() - 1)  # at the largest power of two inside
        if index < middle:
            sibling, end = _perfect_subtrees(middle, end), middle
        else:
            sibling, begin = _perfect_subtrees(begin, middle), middle
        yield begin, end, sibling


def _perfect_subtrees(begin: int, end: int) -> tuple[Coordinate, ...]:
    """Returns the perfect subtrees that the leaves from `begin` to below `end` consist of, largest first."""
    subtrees = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        subtrees.append(Coordinate(level, begin >> level))
        begin += 1 << level
    return tuple(subtrees)


def _proof(path: Sequence[Sequence[Coordinate]], leaf_hashes: Sequence[bytes]) -> list[bytes]:
    hashes = {
        subtree: root(leaf_hashes[subtree.index << subtree.level : subtree.index + 1 << subtree.level])
        for subtrees in path
        for subtree in subtrees
    }
    return assemble_proof(path, hashes)


def _are_hashes(values: Iterable[object]) -> bool:
    return all(map(_is_hash, values))


def _is_hash(value: object) -> bool:
    return isinstance(value, bytes) and len(value) == HASH_BYTES
