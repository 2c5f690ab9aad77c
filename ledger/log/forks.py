"""Fork evidence: two checkpoints of one log that contradict each other, in a file that anyone can check offline.

Two signed trees of the same size with different roots prove the fork by themselves. For two sizes a path is needed
too: hashes of the newer tree that lead to the newer root, and that show which root its older part has. If that is not
the older checkpoint's root, no consistency proof between the two can exist, because no other path leads to the newer
root. Whoever has the newer tree can make the path. Two notes of different sizes without a path are a question to the
log, not evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ledger.errors import FormatError, ProofError
from ledger.log.checkpoint import Checkpoint, open_checkpoint, read_checkpoint
from ledger.log.merkle import (
    EMPTY_ROOT,
    Coordinate,
    assemble_proof,
    consistency_coordinates,
    consistency_roots,
    perfect_subtrees,
)
from ledger.log.note_keys import VerifierKey
from ledger.log.text import decode_decimal, decode_hash, decode_utf8, encode_base64

HEADER: Final = "moiety.dev/fork-evidence@v1"
FILE_EXTENSION: Final = ".fork-evidence"
MAX_HASHES: Final = 64
"""The longest path between two trees of at most 2^63 - 1 leaves, with the hash that a proof may leave out."""

_LENGTH_LINES: Final = 2


@dataclass(frozen=True, slots=True)
class Fork:
    """What evidence shows: the two checkpoints, and the root of the newer tree at the older's size."""

    older: Checkpoint
    newer: Checkpoint
    older_root_in_newer: bytes


@dataclass(frozen=True, slots=True)
class ForkEvidence:
    """Two checkpoint notes, byte for byte, and the path between them; `verify` checks them.

    `path` is empty for checkpoints of one size, and if the older one has size 0.
    """

    older: bytes
    newer: bytes
    path: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, one: bytes, other: bytes, path: tuple[bytes, ...] = ()) -> ForkEvidence:
        """Puts two notes in the order of their sizes.

        Raises:
            FormatError: one is not a checkpoint.
        """
        older, newer = sorted((one, other), key=lambda note: read_checkpoint(note)[0].size)
        return cls(older, newer, path)

    def to_bytes(self) -> bytes:
        """Returns the file's bytes."""
        lines = [HEADER, f"older {len(self.older)}", f"newer {len(self.newer)}", *map(encode_base64, self.path), "", ""]
        return "\n".join(lines).encode() + self.older + self.newer

    @classmethod
    def parse(cls, data: bytes) -> ForkEvidence:
        """Reads a file without verifying it; `to_bytes` returns the same bytes.

        Raises:
            FormatError: the bytes are not such a file.
        """
        head, blank, notes = data.partition(b"\n\n")
        if not blank:
            raise FormatError("fork evidence", "has no blank line before its checkpoints")
        header, *lines = decode_utf8(head, "fork evidence").split("\n")
        if header != HEADER:
            raise FormatError("fork evidence", f"must begin with {HEADER}")
        if len(lines) < _LENGTH_LINES or not (lines[0].startswith("older ") and lines[1].startswith("newer ")):
            raise FormatError("fork evidence", "must state the lengths of the older and the newer checkpoint")
        older_bytes = decode_decimal(lines[0].removeprefix("older "), "fork evidence.older")
        newer_bytes = decode_decimal(lines[1].removeprefix("newer "), "fork evidence.newer")
        if older_bytes + newer_bytes != len(notes):
            raise FormatError("fork evidence", "has checkpoints of other lengths than it states")
        if len(lines) - _LENGTH_LINES > MAX_HASHES:
            raise FormatError("fork evidence", f"must have at most {MAX_HASHES} hashes")
        path = tuple(decode_hash(line, "fork evidence.path") for line in lines[_LENGTH_LINES:])
        evidence = cls(notes[:older_bytes], notes[older_bytes:], path)
        older, newer = (read_checkpoint(note)[0] for note in (evidence.older, evidence.newer))
        if older.size > newer.size:
            raise FormatError("fork evidence", "has the newer checkpoint first")
        return evidence

    def verify(self, key: VerifierKey, *, origin: str | None = None) -> Fork:
        """Checks that the key signed two checkpoints of its log that contradict each other, and returns them.

        Raises:
            FormatError: a checkpoint is malformed.
            SignatureError: the key has not signed one of them, or it is another log's.
            ProofError: they do not contradict each other, or the path does not show that they do.
        """
        # 1. Both are signed by the log's key, for the same origin.
        older = open_checkpoint(self.older, key, origin=origin).checkpoint
        newer = open_checkpoint(self.newer, key, origin=origin).checkpoint

        # 2. The root that the newer tree has at the older's size.
        if self.path and older.size in (0, newer.size):
            raise ProofError("there is a path although none is needed")
        if older.size == newer.size:
            shown = newer.root
        elif older.size == 0:
            shown = EMPTY_ROOT
        else:
            shown, reached = consistency_roots(older.size, newer.size, self.path)
            if reached != newer.root:
                raise ProofError("the path does not lead to the newer root")

        # 3. It differs from the root that the older checkpoint states.
        if shown == older.root:
            raise ProofError("the checkpoints do not contradict each other")
        return Fork(older, newer, shown)


def contradiction_path(old_size: int, proof: tuple[bytes, ...], old_root: bytes) -> tuple[bytes, ...]:
    """Returns the path of evidence from the newer tree's consistency proof and its root at `old_size`."""
    return (old_root, *proof) if old_size.bit_count() == 1 else proof


def gather_path(old_size: int, size: int, hash_of: Callable[[Coordinate], bytes]) -> tuple[bytes, ...]:
    """Returns the path of evidence from the newer tree, given the hashes of its perfect subtrees."""
    if old_size in (0, size):
        return ()
    path = consistency_coordinates(old_size, size)
    if old_size.bit_count() == 1:
        path = [perfect_subtrees(old_size), *path]
    return tuple(assemble_proof(path, {place: hash_of(place) for subtrees in path for place in subtrees}))
