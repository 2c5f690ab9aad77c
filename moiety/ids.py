"""Event ids: 128-bit UUIDs that begin with a time in milliseconds, so that ids made together are stored
together.

The layouts are those of RFC 9562 sections 5.7 (version 7) and 5.8 (version 8).
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_END: Final = 1 << 48


def uuid7() -> UUID:
    """Give a new time-ordered id: UUIDv7 from the clock, its sub-millisecond part and 62 random bits.

    Ids of one machine are ordered to about 250 nanoseconds (RFC 9562 section 6.2, method 3).
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random)


def event_id_of(platform_id: str, occurred_at: datetime) -> UUID:
    """Give the event id for a platform's own text id: always the same one for the same id and time.

    It is a UUIDv8 in the layout of version 7: the time in milliseconds, then the first 74 usable bits of
    SHA-256 of the id in UTF-8. The time is part of it, so a resubmission must give the same time, to the
    millisecond.

    Raises:
        ValueError: `platform_id` is empty, or `occurred_at` has no time zone, or is before 1970 or after 10889.
    """
    if occurred_at.tzinfo is None:
        raise ValueError("occurred_at has no time zone")
    milliseconds = (occurred_at - _EPOCH) // timedelta(milliseconds=1)
    return UUID(bytes=event_id_bytes(platform_id, milliseconds))


def event_id_bytes(platform_id: str, milliseconds: int) -> bytes:
    """Give `event_id_of` as 16 bytes, from a time in milliseconds since 1970.

    Raises:
        ValueError: `platform_id` is empty, or `milliseconds` is negative or does not fit 48 bits.
    """
    if not platform_id:
        raise ValueError("is empty")
    if not 0 <= milliseconds < _MILLISECONDS_END:
        raise ValueError("cannot be derived from a time before 1970")
    digest = sha256(platform_id.encode()).digest()
    head = bytes((0x80 | digest[0] & 0x0F, digest[1], 0x80 | digest[2] & 0x3F))
    return milliseconds.to_bytes(6, "big") + head + digest[3:10]
