"""How people are reached: an address of theirs and the language that they read."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Final

from ledger.errors import InvalidInputError
from ledger.log.canonical import canonical

MAX_ADDRESS: Final = 254
"""The longest address that SMTP takes (RFC 5321, section 4.5.3.1)."""

_MAX_LOCAL: Final = 64
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@{_LABEL}(?:\.{_LABEL})+")
"""What mailboxes look like (RFC 5321) without quoted ones, in ASCII: it can be part of no other header or command."""
_LANGUAGE: Final = re.compile(r"[a-z]{2}")


@dataclass(frozen=True, slots=True)
class Contact:
    """An e-mail address, empty for somebody who wants no mail, and a language by its two letters of ISO 639."""

    email: str
    language: str = "en"

    def __post_init__(self) -> None:
        found = _ADDRESS.fullmatch(self.email)
        sound = found is not None and len(self.email) <= MAX_ADDRESS and len(found[1]) <= _MAX_LOCAL
        if self.email and not sound:
            raise InvalidInputError.of("contact.email", "must be an address such as office@irish.example, in ASCII")
        if not _LANGUAGE.fullmatch(self.language):
            raise InvalidInputError.of("contact.language", "must be a language by two letters, such as en or de")

    def hash(self, salt: bytes) -> bytes:
        """The hash that a log has: SHA-256 of the salt and the contact in canonical JSON."""
        return sha256(salt + canonical(asdict(self))).digest()
