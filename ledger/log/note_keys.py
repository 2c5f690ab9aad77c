"""Keys of signed notes: their text forms, their ids, signing and verifying (C2SP signed-note).

Two signature types are known: Ed25519 over the text (0x01), with which a log signs its checkpoints, and Ed25519
cosignatures with a time (0x04), with which witnesses do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ledger.errors import FormatError
from ledger.log.cosignature import cosigned_message, join_timestamped, split_timestamped
from ledger.log.text import decode_base64, encode_base64, is_printable

KEY_BYTES: Final = 32
"""The length of an Ed25519 public key, and of the seed of a private one (RFC 8032)."""

KEY_ID_BYTES: Final = 4

_PRIVATE: Final = "PRIVATE+KEY+"
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")


class SignatureType(IntEnum):
    """The signature types that are known here, by their identifier bytes."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True)
class Signature:
    """A line of a note's signatures: who claims to have signed, and the bytes after the key id."""

    name: str
    key_id: bytes
    data: bytes

    def line(self) -> str:
        """Returns the line, without its newline."""
        return f"— {self.name} {encode_base64(self.key_id + self.data)}"

    @classmethod
    def parse(cls, line: str) -> Signature:
        """Reads a line, without its newline.

        Raises:
            FormatError: the line has another form, a name that no key may have, or non-canonical base64.
        """
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        if dash != "—":
            raise FormatError("signature", f"must be an em dash, a key name and base64, got {line[:80]!r}")
        require_key_name(name)
        data = decode_base64(encoded, "signature")
        if len(data) <= KEY_ID_BYTES:
            raise FormatError("signature", "is too short to hold a key id and a signature")
        return cls(name, data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key with its name and type. As text it is a *vkey*: `name+id+base64`.

    Raises:
        FormatError: the name is not allowed for a key, or the public key is not 32 bytes.
    """

    name: str
    public_key: bytes
    type: SignatureType = SignatureType.ED25519

    def __post_init__(self) -> None:
        require_key_name(self.name)
        if len(self.public_key) != KEY_BYTES:
            raise FormatError("vkey", f"must contain {KEY_BYTES} bytes of key, got {len(self.public_key)}")

    @property
    def key_id(self) -> bytes:
        """The four bytes that name the key beside its name."""
        return _key_id(self.name, self.type, self.public_key)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.type]) + self.public_key)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Reads a vkey.

        Raises:
            FormatError: the text is not one, is of a type that is not known here, or its id is not that of its key.
        """
        name, key_id, found_type, public_key = _parse_key(text, "vkey")
        key = cls(name, public_key, found_type)
        if key.key_id != key_id:
            raise FormatError("vkey", f"has the id {key_id.hex()}, and its key has {key.key_id.hex()}")
        return key

    def of_log(self, origin: str) -> VerifierKey:
        """Returns the key of the log with this origin: if this is its deployment's, the same key under the log's name.

        Any other key, and the log's own, is returned unchanged. A deployment's logs are `<its origin>/registry` and
        `<its origin>/pools/<pool>`.
        """
        deployment, _, pool = origin.rpartition("/pools/")
        if origin == f"{self.name}/registry" or (deployment == self.name and "/" not in pool):
            return VerifierKey(origin, self.public_key, self.type)
        return self

    def verify(self, text: str, data: bytes) -> int | None:
        """Checks a signature over a note's text; returns the POSIX time in seconds that a cosignature states.

        Raises:
            FormatError: the signature does not have the form of its type.
            InvalidSignature: it is invalid.
        """
        public_key = Ed25519PublicKey.from_public_bytes(self.public_key)
        if self.type is SignatureType.ED25519:
            public_key.verify(data, text.encode())
            return None
        time_seconds, signature = split_timestamped(data)
        public_key.verify(signature, cosigned_message(text, time_seconds))
        return time_seconds

    def holds(self, text: str, data: bytes) -> bool:
        """Returns whether a signature over a note's text is valid."""
        try:
            self.verify(text, data)
        except (InvalidSignature, FormatError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with its name and type, made from a seed of 32 random bytes. It does not print its seed.

    Raises:
        FormatError: the name is not allowed for a key, or the seed is not 32 bytes.
    """

    name: str
    seed: bytes = field(repr=False)
    type: SignatureType = SignatureType.ED25519

    def __post_init__(self) -> None:
        require_key_name(self.name)
        if len(self.seed) != KEY_BYTES:
            raise FormatError("signing key", f"must contain {KEY_BYTES} bytes of seed, got {len(self.seed)}")

    @property
    def verifier_key(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self._private_key.public_key().public_bytes_raw(), self.type)

    def to_text(self) -> str:
        """Returns the secret text form, `PRIVATE+KEY+name+id+base64`."""
        encoded = encode_base64(bytes([self.type]) + self.seed)
        return f"{_PRIVATE}{self.name}+{self.verifier_key.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> SigningKey:
        """Reads the secret text form.

        Raises:
            FormatError: the text is not one, is of a type that is not known here, or its id is not that of its key.
                The text itself is not in the error.
        """
        if not text.startswith(_PRIVATE):
            raise FormatError("signing key", f"must begin with {_PRIVATE}")
        name, key_id, found_type, seed = _parse_key(text.removeprefix(_PRIVATE), "signing key")
        key = cls(name, seed, found_type)
        if key.verifier_key.key_id != key_id:
            raise FormatError("signing key", "has an id that is not that of its key")
        return key

    def named(self, name: str) -> SigningKey:
        """Returns the same key under another name, and so with another id."""
        return SigningKey(name, self.seed, self.type)

    def sign(self, text: str, time_seconds: int = 0) -> Signature:
        """Signs a note's text; a cosignature states the POSIX time in seconds too."""
        if self.type is SignatureType.ED25519:
            data = self._private_key.sign(text.encode())
        else:
            data = join_timestamped(time_seconds, self._private_key.sign(cosigned_message(text, time_seconds)))
        return Signature(self.name, self.verifier_key.key_id, data)

    @property
    def _private_key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)


def require_key_name(name: str) -> str:
    """Returns the name, if it is allowed for a key: not empty, no Unicode spaces, no plus, no control characters.

    Raises:
        FormatError: it is not allowed.
    """
    if not name or "+" in name or any(map(str.isspace, name)) or not is_printable(name):
        raise FormatError("key name", f"must not be empty or contain spaces, plus or control characters: {name[:80]!r}")
    return name


def _key_id(name: str, found_type: SignatureType, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([found_type]) + public_key).digest()[:KEY_ID_BYTES]


def _parse_key(text: str, subject: str) -> tuple[str, bytes, SignatureType, bytes]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    require_key_name(name)
    if not _KEY_ID.fullmatch(key_id):
        raise FormatError(subject, "must have a key id of 8 lower-case hexadecimal digits")
    data = decode_base64(encoded, subject)
    if data[:1] not in (b"\x01", b"\x04"):
        raise FormatError(subject, "must be of type 0x01 (Ed25519) or 0x04 (Ed25519 cosignature)")
    return name, bytes.fromhex(key_id), SignatureType(data[0]), data[1:]
