"""The part of a webhook that no log has: its address and the secrets that sign what is sent there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from ledger.errors import LedgerCorruptError
from ledger.log.canonical import canonical


@dataclass(frozen=True, slots=True)
class WebhookDetails:
    """An address and its secrets.

    Attributes:
        url: the address.
        secret: signs; `whsec_` and base64, as Standard Webhooks has it.
        former: the secret before it, empty if there is none.
        former_until: until when that signs too, in seconds since 1970; 0 if there is none.
    """

    url: str
    secret: str
    former: str = ""
    former_until: int = 0

    def secrets(self, now: float) -> list[str]:
        """Returns the secrets that sign at a time in seconds since 1970, the newest first."""
        return [self.secret, *([self.former] if self.former and now < self.former_until else [])]

    def hash(self) -> bytes:
        """The hash that a log has: SHA-256 of this in canonical JSON. The secret keeps anyone from guessing it."""
        return sha256(canonical(asdict(self))).digest()

    def to_bytes(self) -> bytes:
        """What is encrypted."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, document: bytes) -> WebhookDetails:
        """Returns what `to_bytes` made these bytes of.

        Raises:
            LedgerCorruptError: they are not from there.
        """
        try:
            found: dict[str, Any] = json.loads(document)
            return cls(**found)
        except (ValueError, TypeError):
            raise LedgerCorruptError("details of a webhook", "are not what was put there") from None
