"""Usage events as Python objects, for those who do not have a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from operator import index
from uuid import UUID

import pyarrow as pa

from moiety.batches import USAGE_SCHEMA
from moiety.errors import InvalidUsageError
from moiety.v1 import usage_pb2


class Mode(IntEnum):
    """How a work came about."""

    AI_ONLY = usage_pb2.MODE_AI_ONLY
    HUMAN_AI = usage_pb2.MODE_HUMAN_AI


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
        InvalidUsageError: a value does not fit its column, or a time has no zone.
    """
    events = list(events)
    for position, event in enumerate(events):
        if event.occurred_at.tzinfo is None:
            raise InvalidUsageError("occurred_at", position, "has no time zone")
    values: dict[str, list[object]] = {
        "event_id": [event.event_id.bytes for event in events],
        "work_id": [event.work_id for event in events],
        "occurred_at": [event.occurred_at for event in events],
        "units": [_whole("units", place, event.units) for place, event in enumerate(events)],
        "mode": [int(event.mode) for event in events],
        "collectives": [list(event.shares) for event in events],
        "shares": [
            [_whole("shares", place, nano) for nano in event.shares.values()] for place, event in enumerate(events)
        ],
    }
    return pa.RecordBatch.from_arrays(
        [_column(field, values[field.name]) for field in USAGE_SCHEMA], schema=USAGE_SCHEMA
    )


def event_to_message(event: UsageEvent) -> usage_pb2.UsageEvent:
    """Return an event as the contract's message.

    Raises:
        ValueError: `occurred_at` has no time zone, or a number does not fit its field.
    """
    if event.occurred_at.tzinfo is None:
        raise ValueError("occurred_at has no time zone")
    message = usage_pb2.UsageEvent(
        event_id=str(event.event_id),
        work_id=event.work_id,
        units=event.units,
        mode=usage_pb2.Mode.ValueType(event.mode),
        shares=[usage_pb2.Share(collective_id=key, share_nano=nano) for key, nano in event.shares.items()],
    )
    message.occurred_at.FromDatetime(event.occurred_at)
    return message


def _whole(field: str, position: int, value: object) -> int:
    """A whole number. Arrow would cut the fraction of any other off."""
    try:
        return index(value)  # type: ignore[arg-type]  # that is what is found out
    except TypeError:
        unit = " of billionths" if field == "shares" else ""
        raise InvalidUsageError(field, position, f"must be a whole number{unit}, got {value!r}") from None


def _column(field: pa.Field, values: list[object]) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError) as error:
        for position, value in enumerate(values):
            try:
                pa.array([value], field.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError) as reason:
                raise InvalidUsageError(field.name, position, str(reason)) from None
        raise InvalidUsageError(field.name, None, str(error)) from None
