"""Usage events as Python objects, for those who do not have a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from enum import IntEnum
from operator import index
from typing import Any, Final
from uuid import UUID

import pyarrow as pa

from moiety.batches import USAGE_SCHEMA
from moiety.errors import InvalidUsageError
from moiety.v1 import usage_pb2


class Mode(IntEnum):
    """How a work came about."""

    AI_ONLY = usage_pb2.MODE_AI_ONLY
    HUMAN_AI = usage_pb2.MODE_HUMAN_AI


_MODES: Final = frozenset(Mode)
_ENDS: Final = (MINYEAR, MAXYEAR)
"""Years in which a time may be one of another year in UTC, which Python has no time for."""


@dataclass(frozen=True, slots=True)
class UsageEvent:
    """One use of a generated work.

    Attributes:
        event_id: unique per platform and pool, for ever. `uuid7()` makes a new one, `event_id_of()` the one that
            belongs to an id of your own (`ordered_event_id_of()` where the platform's ids are ordered). Keep it with
            the event: who sends the event again must send the same id.
        occurred_at: when it was used, with a time zone; kept to the microsecond.
        units: how much it was used, 1 to 10^9.
        mode: how the work came about.
        shares: billionths by collective id, each at least 1; their sum is at most 10^9, and the rest is unattributed.
        work_id: the generated work: C2PA instance id, ISCC or URI, at most 256 bytes; None if there is none.
    """

    event_id: UUID
    occurred_at: datetime
    units: int
    mode: Mode
    shares: Mapping[str, int]
    work_id: str | None = None


def batch_of(events: Iterable[UsageEvent]) -> pa.RecordBatch:
    """Return the events as one record batch of `USAGE_SCHEMA`, to be submitted like any table.

    Raises:
        InvalidUsageError: a value is not of its type, does not fit its column, or a time has no zone.
    """
    events = list(events)
    for position, event in enumerate(events):
        require_types(event, position)
    values: dict[str, list[object]] = {
        "event_id": [event.event_id.bytes for event in events],
        "work_id": [event.work_id for event in events],
        "occurred_at": [event.occurred_at for event in events],
        "units": [index(event.units) for event in events],
        "mode": [int(event.mode) for event in events],
        "collectives": [list(event.shares) for event in events],
        "shares": [[index(nano) for nano in event.shares.values()] for event in events],
    }
    return pa.RecordBatch.from_arrays(
        [pa.array(values[field.name], field.type) for field in USAGE_SCHEMA], schema=USAGE_SCHEMA
    )


def event_to_message(event: UsageEvent, position: int = 0) -> usage_pb2.UsageEvent:
    """Return an event, the one at a position of several, as the contract's message.

    Raises:
        InvalidUsageError: as `batch_of`.
    """
    require_types(event, position)
    message = usage_pb2.UsageEvent(
        event_id=str(event.event_id),
        work_id=event.work_id,
        units=event.units,
        mode=usage_pb2.Mode.ValueType(event.mode),
        shares=[usage_pb2.Share(collective_id=key, share_nano=nano) for key, nano in event.shares.items()],
    )
    message.occurred_at.FromDatetime(event.occurred_at)
    return message


def require_types(event: UsageEvent, position: int) -> None:
    """Check that an event's values are of their types, and so can be sent: whether they are allowed, the service says.

    Raises:
        InvalidUsageError: one is not.
    """
    for field, reason in _faults(event):
        raise InvalidUsageError(field, position, reason)


def _has_utc(moment: datetime) -> bool:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return False
    return True


def _faults(event: Any) -> Iterator[tuple[str, str]]:
    """The fields whose values are not of their types, and what they must be."""
    if not isinstance(event.event_id, UUID):
        yield "event_id", f"must be a UUID, got {event.event_id!r}"
    if event.work_id is not None and not _is_text(event.work_id):
        yield "work_id", f"must be text, got {event.work_id!r}"
    if not isinstance(event.occurred_at, datetime):
        yield "occurred_at", f"must be a datetime, got {event.occurred_at!r}"
    elif event.occurred_at.tzinfo is None or event.occurred_at.utcoffset() is None:  # pandas' NaT is a datetime too
        yield "occurred_at", "has no time zone"
    elif event.occurred_at.year in _ENDS and not _has_utc(event.occurred_at):
        yield "occurred_at", f"is out of range: {event.occurred_at}"
    if not _is_whole(event.units, 2**63):
        yield "units", f"must be a whole number of 64 bits, got {event.units!r}"
    if not _is_whole(event.mode, 2**7) or event.mode not in _MODES:
        yield "mode", f"must be Mode.AI_ONLY or Mode.HUMAN_AI, got {event.mode!r}"
    if not isinstance(event.shares, Mapping):
        yield "shares", f"must be a mapping, got {event.shares!r}"
        return
    for collective, nano in event.shares.items():
        if not _is_text(collective):
            yield "collectives", f"must be text, got {collective!r}"
        if not _is_whole(nano, 2**31):
            yield "shares", f"must be whole numbers of billionths, of 32 bits, got {nano!r}"


def _is_text(value: object) -> bool:
    """Whether a value is text that has a form in UTF-8: halves of surrogate pairs have none."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def _is_whole(value: Any, end: int) -> bool:
    """Whether a value is a whole number from `-end` to below `end`; a float is none, nor is a boolean."""
    try:
        return not isinstance(value, bool) and -end <= index(value) < end
    except TypeError:
        return False
