"""Event ids: 128 bits that a platform makes new, or of an id of its own.

The layouts are those of RFC 9562 sections 5.7 (version 7) and 5.8 (version 8), and of ULID (github.com/ulid/spec).
"""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final
from uuid import UUID

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_END: Final = 1 << 48
_UUID: Final = re.compile(r"[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UUID_LENGTH: Final = 36
# Letters of both cases are another text than a ULID: ids in base 62 or 64 may be as long, and differ in case alone.
_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}|[0-7][0-9a-hjkmnp-tv-z]{25}")
_ULID_LENGTH: Final = 26
_BASE32: Final = str.maketrans("0123456789ABCDEFGHJKMNPQRSTVWXYZ", "0123456789ABCDEFGHIJKLMNOPQRSTUV")
"""From Crockford's digits, which a ULID has, to Python's."""


class IdScheme(StrEnum):
    """What the ids of a platform's events in a pool are made of. It is fixed once: to switch counts events twice."""

    OWN = "OWN"
    """The platform's own id alone (`event_id_of`): an id with another time is the same event."""
    ORDERED = "ORDERED"
    """Its own id and the time (`ordered_event_id_of`), for those who promise that an id always comes with the same
    time. Such ids lie in a row, which is cheaper to keep."""


def uuid7() -> UUID:
    """Return a new time-ordered id: UUIDv7 from the clock, its sub-millisecond part and 62 random bits.

    Ids of one machine are ordered to about 250 nanoseconds (RFC 9562 section 6.2, method 3).
    """
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    fraction = (rest << 12) // 1_000_000
    random = int.from_bytes(os.urandom(8), "big") >> 2
    return UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random)


def event_id_of(own_id: str) -> UUID:
    """Return the event id for a platform's own id: always the same one, whatever else is said of the event.

    A UUID or a ULID in its usual text form, all in capitals or all in small letters, is the same 128 bits. Any other
    text is a UUIDv8 of the first 122 usable bits of SHA-256 of the text in UTF-8; texts that differ in a byte are
    different.

    Raises:
        ValueError: `own_id` is empty, or contains half of a surrogate pair.
    """
    return UUID(bytes=event_id_bytes(own_id))


def ordered_event_id_of(own_id: str, occurred_at: datetime) -> UUID:
    """Return the event id for a platform's own id and time, under `IdScheme.ORDERED`.

    It is a UUIDv8 in the layout of version 7: the time in milliseconds, then the first 74 usable bits of SHA-256 of the
    id in UTF-8. The time is part of it, so a resubmission must give the same time, to the millisecond.

    Raises:
        ValueError: `own_id` is empty, or `occurred_at` has no time zone, or is before 1970 or after 10889.
    """
    if occurred_at.tzinfo is None:
        raise ValueError("occurred_at has no time zone")
    milliseconds = (occurred_at - _EPOCH) // timedelta(milliseconds=1)
    return UUID(bytes=ordered_event_id_bytes(own_id, milliseconds))


def event_id_bytes(own_id: str) -> bytes:
    """Return `event_id_of` as 16 bytes. Raises as that does."""
    if len(own_id) == _UUID_LENGTH and _UUID.fullmatch(own_id):
        return bytes.fromhex(own_id.replace("-", ""))
    if len(own_id) == _ULID_LENGTH and _ULID.fullmatch(own_id):
        return int(own_id.upper().translate(_BASE32), 32).to_bytes(16, "big")
    digest = _digest(own_id)
    return digest[:6] + bytes((0x80 | digest[6] & 0x0F, digest[7], 0x80 | digest[8] & 0x3F)) + digest[9:16]


def ordered_event_id_bytes(own_id: str, milliseconds: int) -> bytes:
    """Return `ordered_event_id_of` as 16 bytes, from a time in milliseconds since 1970.

    Raises:
        ValueError: `own_id` is empty, or `milliseconds` is negative or does not fit 48 bits.
    """
    digest = _digest(own_id)
    if not 0 <= milliseconds < _MILLISECONDS_END:
        raise ValueError("cannot be derived from a time before 1970")
    head = bytes((0x80 | digest[0] & 0x0F, digest[1], 0x80 | digest[2] & 0x3F))
    return milliseconds.to_bytes(6, "big") + head + digest[3:10]


def _digest(own_id: str) -> bytes:
    if not own_id:
        raise ValueError("is empty")
    try:
        return sha256(own_id.encode()).digest()
    except UnicodeEncodeError:
        raise ValueError("is not Unicode: it contains half of a surrogate pair") from None
