"""Proofs as files: that an entry is in a log, to be verified offline (C2SP tlog-proof)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger.errors import FormatError
from ledger.log.checkpoint import SignedCheckpoint, open_checkpoint, read_checkpoint
from ledger.log.merkle import verify_inclusion
from ledger.log.note_keys import VerifierKey
from ledger.log.text import decode_base64, decode_decimal, decode_hash, decode_utf8, encode_base64

HEADER: Final = "c2sp.org/tlog-proof@v1"
FILE_EXTENSION: Final = ".tlog-proof"

MAX_HASHES: Final = 63
"""The longest path in a tree of at most 2^63 - 1 leaves."""

MAX_EXTRA_BYTES: Final = 2**16
"""The longest extra data that are read."""


@dataclass(frozen=True, slots=True)
class LogProof:
    """Shows that a log has an entry: its index, the path to the root, and the checkpoint's note, byte for byte.

    `extra` is not authenticated. Nothing here is verified before `verify`.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def to_bytes(self) -> bytes:
        """Returns the file's bytes."""
        lines = [HEADER]
        if self.extra:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines += [f"index {self.index}", *map(encode_base64, self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> LogProof:
        """Reads a file without verifying it; `to_bytes` returns the same bytes.

        Raises:
            FormatError: the bytes are not such a file, or the index is not below the checkpoint's size.
        """
        head, blank, checkpoint = data.partition(b"\n\n")
        if not blank:
            raise FormatError("proof", "has no blank line before its checkpoint")
        header, *lines = decode_utf8(head, "proof").split("\n")
        if header != HEADER:
            raise FormatError("proof", f"must begin with {HEADER}")
        extra = b""
        if lines and lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0).removeprefix("extra "), "proof.extra")
            if not 1 <= len(extra) <= MAX_EXTRA_BYTES:
                raise FormatError("proof.extra", f"must have 1 to {MAX_EXTRA_BYTES} bytes, got {len(extra)}")
        if not lines or not lines[0].startswith("index "):
            raise FormatError("proof.index", "is missing")
        index = decode_decimal(lines[0].removeprefix("index "), "proof.index")
        if len(lines) - 1 > MAX_HASHES:
            raise FormatError("proof", f"must have at most {MAX_HASHES} hashes, got {len(lines) - 1}")
        hashes = tuple(decode_hash(line, "proof.hash") for line in lines[1:])
        stated, _ = read_checkpoint(checkpoint)
        if index >= stated.size:
            raise FormatError("proof.index", f"must be below the checkpoint's size of {stated.size}, got {index}")
        return cls(index, hashes, checkpoint, extra)

    def verify(
        self, leaf_hash: bytes, key: VerifierKey, *, origin: str | None = None, witnesses: Iterable[VerifierKey] = ()
    ) -> SignedCheckpoint:
        """Checks that the log with this key has a leaf with this hash at the index, and returns the checkpoint.

        Raises:
            FormatError: the checkpoint is malformed.
            SignatureError: the log's key has not signed it, a known key's signature is invalid, or it is another
                log's.
            ProofError: the path does not lead from the leaf to the checkpoint's root.
        """
        # 1. The checkpoint is the log's.
        signed = open_checkpoint(self.checkpoint, key, origin=origin, witnesses=witnesses)

        # 2. The leaf is in the tree that it states.
        verify_inclusion(leaf_hash, self.index, signed.checkpoint.size, self.hashes, signed.checkpoint.root)
        return signed
