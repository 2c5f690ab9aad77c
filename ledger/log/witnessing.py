"""The request to a witness to cosign a checkpoint that extends the last one it saw (C2SP tlog-witness)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ledger.errors import FormatError
from ledger.log.checkpoint import read_checkpoint
from ledger.log.text import decode_decimal, decode_hash, decode_utf8, encode_base64

MAX_PROOF_LINES: Final = 63
"""The most lines that a request may have, according to the specification."""

SIZE_CONTENT_TYPE: Final = "text/x.tlog.size"
"""The type of an answer that states the size the witness last saw."""


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request: the size that the witness saw last, the consistency proof from there, and the checkpoint's note."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def to_bytes(self) -> bytes:
        """Returns the body of the request."""
        lines = [f"old {self.old_size}", *map(encode_base64, self.proof), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> AddCheckpoint:
        """Reads the body of a request without verifying it; `to_bytes` returns the same bytes.

        Raises:
            FormatError: it is not a request, or the old size is above the checkpoint's.
        """
        head, blank, checkpoint = data.partition(b"\n\n")
        if not blank:
            raise FormatError("request", "has no blank line before its checkpoint")
        old, *lines = decode_utf8(head, "request").split("\n")
        if not old.startswith("old "):
            raise FormatError("request.old", "is missing")
        old_size = decode_decimal(old.removeprefix("old "), "request.old")
        if len(lines) > MAX_PROOF_LINES:
            raise FormatError("request", f"must have at most {MAX_PROOF_LINES} hashes, got {len(lines)}")
        proof = tuple(decode_hash(line, "request.proof") for line in lines)
        stated, _ = read_checkpoint(checkpoint)
        if old_size > stated.size:
            raise FormatError("request.old", f"must be at most the checkpoint's size of {stated.size}, got {old_size}")
        return cls(old_size, proof, checkpoint)


def parse_size(data: bytes) -> int:
    """Reads the answer that states the size the witness last saw: a decimal and a newline.

    Raises:
        FormatError: it is anything else.
    """
    text = decode_utf8(data, "size")
    if not text.endswith("\n"):
        raise FormatError("size", "must end in a newline")
    return decode_decimal(text.removesuffix("\n"), "size")
