"""Checkpoints: a log's signed statement of its size and root (C2SP tlog-checkpoint)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ledger.errors import FormatError, SignatureError
from ledger.log.merkle import HASH_BYTES
from ledger.log.note_keys import SigningKey, VerifierKey
from ledger.log.notes import Note, OpenedNote, parse_note, sign_note, verify_signatures
from ledger.log.text import MAX_SIZE, decode_decimal, decode_hash, encode_base64, is_printable

_LINES: Final = 3
"""Origin, size and root; the lines after them are extensions."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's statement about itself. `origin` names the log; `extensions` are opaque lines.

    Raises:
        FormatError: the origin or an extension is empty or has a control character, the size is out of range, or the
            root is not 32 bytes.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for subject, line in [("origin", self.origin), *(("extension", line) for line in self.extensions)]:
            if not line or not is_printable(line):
                raise FormatError(f"checkpoint.{subject}", "must not be empty or contain control characters")
        if not 0 <= self.size <= MAX_SIZE:
            raise FormatError("checkpoint.size", f"must be 0 to {MAX_SIZE}, got {self.size}")
        if len(self.root) != HASH_BYTES:
            raise FormatError("checkpoint.root", f"must have {HASH_BYTES} bytes, got {len(self.root)}")

    def text(self) -> str:
        """Returns the text of the checkpoint's note."""
        return "".join(
            f"{line}\n" for line in (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        )

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Reads the text of a note; `text` returns it again.

        Raises:
            FormatError: it is not a checkpoint's.
        """
        if not text.endswith("\n"):
            raise FormatError("checkpoint", "must end in a newline")
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < _LINES:
            raise FormatError("checkpoint", f"must have at least {_LINES} lines, got {len(lines)}")
        origin, size, root, *extensions = lines
        return cls(
            origin,
            decode_decimal(size, "checkpoint.size"),
            decode_hash(root, "checkpoint.root"),
            tuple(extensions),
        )


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint signed by its log's key, with every other signature on it that was verified."""

    checkpoint: Checkpoint
    note: OpenedNote


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> Note:
    """Signs a checkpoint with the log's key."""
    return sign_note(checkpoint.text(), [key])


def read_checkpoint(data: bytes) -> tuple[Checkpoint, Note]:
    """Reads a checkpoint note without verifying it.

    Raises:
        FormatError: the bytes are not a checkpoint.
    """
    note = parse_note(data)
    return Checkpoint.parse(note.text), note


def open_checkpoint(
    data: bytes, key: VerifierKey, *, origin: str | None = None, witnesses: Iterable[VerifierKey] = ()
) -> SignedCheckpoint:
    """Reads a checkpoint signed by the log's key, and verifies the signatures of these witnesses on it.

    `origin` is the log's; by default it is the name of its key.

    Raises:
        FormatError: the bytes are not a checkpoint.
        SignatureError: the log's key has not signed, a known key's signature is invalid, or it is another log's.
    """
    checkpoint, note = read_checkpoint(data)
    opened = verify_signatures(note, [key, *witnesses])
    if not opened.signed_by(key):
        raise SignatureError([key.name], "did not sign this checkpoint")
    if checkpoint.origin != (origin or key.name):
        raise SignatureError([key.name], f"is not the key of {checkpoint.origin[:200]!r}")
    return SignedCheckpoint(checkpoint, opened)
