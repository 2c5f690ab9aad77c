"""API keys, made where they are used: only their owner ever sees a secret."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. Only its `hash` may leave the place where it was made."""

    key_id: str
    secret: str

    @property
    def text(self) -> str:
        """What authenticates its owner: the value of MOIETY_API_KEY."""
        return f"moiety_{self.key_id}_{self.secret}"

    @property
    def hash(self) -> str:
        """What is registered: the key's id and the SHA-256 of its secret, `{id}:{64 hexadecimal digits}`."""
        return f"{self.key_id}:{sha256(self.secret.encode()).hexdigest()}"


def identity_hash(issuer: str, subject: str) -> str:
    """The hash of an account at an OpenID provider, by which it is registered: 64 hexadecimal digits.

    Args:
        issuer: the provider, as its `iss` says: `https://accounts.example`.
        subject: the account, as its `sub` says. No log holds it.
    """
    return sha256(f"moiety identity v1\n{issuer}\n{subject}".encode()).hexdigest()


def make_key() -> NewKey:
    """A new key. Its secret has 256 random bits, so a plain hash of it is as good as any slow one."""
    return NewKey(secrets.token_hex(8), secrets.token_urlsafe(32))
