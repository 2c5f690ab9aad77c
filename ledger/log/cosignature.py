"""Cosignatures: what a witness signs after checking that a log only grew (C2SP tlog-cosignature, Ed25519).

A witness signs a checkpoint's text together with the time, which is sent in front of the signature.
"""

from __future__ import annotations

from typing import Final

from ledger.errors import FormatError
from ledger.log.text import MAX_SIZE

TIMESTAMP_BYTES: Final = 8
SIGNATURE_BYTES: Final = 64
"""The length of an Ed25519 signature (RFC 8032)."""


def cosigned_message(text: str, time_seconds: int) -> bytes:
    """Returns the bytes that a cosignature signs: a header, the POSIX time in seconds, and the checkpoint's text."""
    return f"cosignature/v1\ntime {time_seconds}\n{text}".encode()


def join_timestamped(time_seconds: int, signature: bytes) -> bytes:
    """Returns the `timestamped_signature` structure: a big-endian u64, then the signature.

    Raises:
        ValueError: the time is negative or above 2^63 - 1.
    """
    if not 0 <= time_seconds <= MAX_SIZE:
        raise ValueError(f"time_seconds must be 0 to {MAX_SIZE}, got {time_seconds}")
    return time_seconds.to_bytes(TIMESTAMP_BYTES, "big") + signature


def split_timestamped(data: bytes) -> tuple[int, bytes]:
    """Reads back the POSIX time in seconds and the Ed25519 signature.

    Raises:
        FormatError: the length is not that of a time and a signature, or the time is above 2^63 - 1.
    """
    if len(data) != TIMESTAMP_BYTES + SIGNATURE_BYTES:
        raise FormatError("cosignature", f"must have {TIMESTAMP_BYTES + SIGNATURE_BYTES} bytes, got {len(data)}")
    time_seconds = int.from_bytes(data[:TIMESTAMP_BYTES], "big")
    if time_seconds > MAX_SIZE:
        raise FormatError("cosignature.timestamp", "is above 2^63 - 1")
    return time_seconds, data[TIMESTAMP_BYTES:]
