"""Signed notes: a text, a blank line, and a line for each signature (C2SP signed-note).

Nothing in a note counts before `open_note` has verified a signature of a key that the reader trusts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature

from ledger.errors import FormatError, SignatureError
from ledger.log.note_keys import Signature, SigningKey, VerifierKey
from ledger.log.text import decode_utf8, is_printable

MAX_NOTE_BYTES: Final = 2**20
"""The largest note that is read. A post-quantum signature has 5 kB, and a note may have a hundred."""

MAX_SIGNATURES: Final = 100
"""The most signatures that are read, as in Go's implementation; the specification asks for at least 16."""


@dataclass(frozen=True, slots=True)
class Note:
    """A note whose signatures nobody has verified. `text` ends in a newline."""

    text: str
    signatures: tuple[Signature, ...]

    def to_bytes(self) -> bytes:
        """Returns the note's bytes."""
        return "".join([self.text, "\n", *(signature.line() + "\n" for signature in self.signatures)]).encode()

    def with_signatures(self, more: Iterable[Signature]) -> Note:
        """Returns the note with more signatures after its own, without repeating any."""
        return Note(self.text, tuple(dict.fromkeys([*self.signatures, *more])))


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A valid signature. `time_seconds` is the POSIX time that a cosignature states, None for other types."""

    key: VerifierKey
    signature: Signature
    time_seconds: int | None


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note with at least one verified signature. `unknown` are those of keys that the reader does not know."""

    text: str
    verified: tuple[VerifiedSignature, ...]
    unknown: tuple[Signature, ...]

    def signed_by(self, key: VerifierKey) -> bool:
        """Whether this key has signed."""
        return any(found.key == key for found in self.verified)


def sign_note(text: str, keys: Sequence[SigningKey]) -> Note:
    """Signs a text with each key.

    Raises:
        FormatError: the text does not end in a newline, or contains control characters.
    """
    require_note_text(text)
    return Note(text, tuple(key.sign(text) for key in keys))


def require_note_text(text: str) -> None:
    """Checks that a note may have this text.

    Raises:
        FormatError: it does not end in a newline, or contains control characters.
    """
    if not text.endswith("\n"):
        raise FormatError("note", "its text must end in a newline")
    if not is_printable(text.replace("\n", "")):
        raise FormatError("note", "contains a control character")


def parse_note(data: bytes) -> Note:
    """Reads a note without verifying it; its bytes are again those of `to_bytes`.

    Raises:
        FormatError: the bytes are not a signed note, or it is larger than a note may be here.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise FormatError("note", f"must have at most {MAX_NOTE_BYTES} bytes, got {len(data)}")
    text, blank, signed = decode_utf8(data, "note").rpartition("\n\n")
    if not blank:
        raise FormatError("note", "has no blank line before its signatures")
    return Note(text + "\n", parse_signatures(signed))


def parse_signatures(lines: str) -> tuple[Signature, ...]:
    """Reads signature lines, each with its newline.

    Raises:
        FormatError: there is no line, there are too many, one is malformed, or the last lacks its newline.
    """
    if not lines.endswith("\n"):
        raise FormatError("signatures", "must be lines, each ending in a newline")
    found = lines.removesuffix("\n").split("\n")
    if len(found) > MAX_SIGNATURES:
        raise FormatError("signatures", f"must be at most {MAX_SIGNATURES}, got {len(found)}")
    return tuple(Signature.parse(line) for line in found)


def open_note(data: bytes, keys: Iterable[VerifierKey]) -> OpenedNote:
    """Reads a note and verifies the signatures of these keys; signatures of other keys are set aside.

    Raises:
        FormatError: the bytes are not a signed note.
        SignatureError: a signature of one of these keys is invalid, or none of them has signed.
    """
    return verify_signatures(parse_note(data), keys)


def verify_signatures(note: Note, keys: Iterable[VerifierKey]) -> OpenedNote:
    """Verifies the signatures of these keys on a note; signatures of other keys are set aside.

    Raises:
        SignatureError: a signature of one of these keys is invalid, or none of them has signed.
    """
    # 1. Identify a key by its name and id together.
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if known.setdefault((key.name, key.key_id), key) != key:
            raise SignatureError([key.name], "is the name of two keys with one id")

    # 2. Every signature of a known key must be valid.
    verified, unknown = [], []
    for signature in note.signatures:
        signer = known.get((signature.name, signature.key_id))
        if signer is None:
            unknown.append(signature)
            continue
        try:
            time_seconds = signer.verify(note.text, signature.data)
        except (InvalidSignature, FormatError):
            raise SignatureError([signer.name], "is known, and this is not its signature") from None
        verified.append(VerifiedSignature(signer, signature, time_seconds))

    # 3. At least one has signed.
    if not verified:
        raise SignatureError([key.name for key in known.values()] or ["nobody"], "did not sign this note")
    return OpenedNote(note.text, tuple(verified), tuple(unknown))
