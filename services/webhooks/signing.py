"""Secrets and signatures by Standard Webhooks (https://www.standardwebhooks.com), version 1, symmetric."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

from ledger.errors import InvalidInputError

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
SECRET_BYTES_LEAST: Final = 24
SECRET_BYTES_MOST: Final = 64
"""The specification's bounds."""


def make_secret() -> str:
    """Returns a new secret."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def require_secret(secret: str, field: str) -> str:
    """Returns a secret, if it has the right form; the error does not quote it.

    Raises:
        InvalidInputError: it is not `whsec_` and base64 of 24 to 64 bytes.
    """
    try:
        key = key_of(secret)
    except (ValueError, binascii.Error):
        key = b""
    is_canonical = secret == PREFIX + base64.b64encode(key).decode()
    if not is_canonical or not SECRET_BYTES_LEAST <= len(key) <= SECRET_BYTES_MOST:
        raise InvalidInputError.of(field, "must be whsec_ and base64 of 24 to 64 bytes")
    return secret


def key_of(secret: str) -> bytes:
    """Returns the bytes that a secret stands for."""
    return base64.b64decode(secret.removeprefix(PREFIX), validate=True)


def signed(keys: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Returns the headers that sign a body: a signature by each secret, so that receivers can change theirs in time.

    Args:
        keys: the secrets.
        message_id: the same for each attempt to send the same event.
        timestamp: of this attempt, in seconds since 1970.
        body: what is sent.
    """
    content = f"{message_id}.{timestamp}.".encode() + body
    digests = [hmac.digest(key_of(secret), content, "sha256") for secret in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }
