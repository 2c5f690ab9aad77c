"""Conversions between usage events as messages and an Arrow batch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.errors import InvalidInputError
from ledger.usage.batch import Batch, Int64Array
from ledger.usage.format import MAX_OCCURRED_AT, EventViolation, raise_violations, where
from moiety.v1 import usage_pb2 as pb

MAX_ROW_EVENTS: Final = 1_000
"""Events in one SubmitUsage; Arrow is better for larger batches."""

_MODE_MAX: Final = 255
_NANOS_END: Final = 10**9
_UUID_TEXT: Final = "-".join(f"[0-9a-fA-F]{{{digits}}}" for digits in (8, 4, 4, 4, 12))
_UUID: Final = re.compile(_UUID_TEXT)
_UUIDS: Final = re.compile(f"(?:{_UUID_TEXT})*")
_UUID_LENGTH: Final = 36


def parse_event_id(text: str, field: str) -> UUID:
    """Returns the UUID in its usual text form.

    Raises:
        InvalidInputError: the text is not a UUID in that form.
    """
    if not _UUID.fullmatch(text):
        raise InvalidInputError.of(field, _not_a_uuid(text))
    return UUID(text)


def _not_a_uuid(text: str) -> str:
    return f"must be a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057, got {text[:80]!r}"


def columns_of(events: Sequence[pb.UsageEvent]) -> Batch:
    """Returns the events as the columns of a batch, not checked yet.

    Raises:
        InvalidInputError: an event cannot be put in the columns at all; `parse_batch` checks every other rule.
    """
    # Each field of a message is read once, and everything is computed from columns: reading takes most of the time.
    events = list(events)
    violations: list[EventViolation] = []
    event_ids = _event_ids([event.event_id for event in events], violations)
    occurred_at = _microseconds(events, violations)
    modes = np.array([event.mode for event in events], dtype=np.int64)
    violations += where((modes < 0) | (modes > _MODE_MAX), "mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)")
    raise_violations(violations)
    work_ids = [event.work_id if event.HasField("work_id") else None for event in events]
    share_lists = [event.shares[:] for event in events]  # a slice reads faster than an iterator
    shares = list(chain.from_iterable(share_lists))
    collectives = [share.collective_id for share in shares]
    names = sorted(set(collectives))
    number = {name: place for place, name in enumerate(names)}
    return Batch(
        event_ids=event_ids,
        work_ids=pa.array(work_ids, pa.utf8()),
        occurred_at=occurred_at,
        units=np.array([event.units for event in events], dtype=np.int64),
        modes=modes.astype(np.uint8),
        offsets=np.array([0, *accumulate(map(len, share_lists))], dtype=np.int64),
        name_index=np.fromiter(map(number.__getitem__, collectives), np.int32, len(shares)),
        amounts=np.array([share.share_nano for share in shares], dtype=np.int32),
        names=tuple(names),
    )


def _event_ids(spelled: list[str], violations: list[EventViolation]) -> npt.NDArray[np.void]:
    """Returns (n,) of 16 bytes; nothing if there is a violation."""
    if not _UUIDS.fullmatch("".join(spelled)) or any(len(text) != _UUID_LENGTH for text in spelled):
        violations += [
            (place, "event_id", _not_a_uuid(text)) for place, text in enumerate(spelled) if not _UUID.fullmatch(text)
        ]
        return np.empty(0, dtype="V16")
    return np.frombuffer(bytes.fromhex("".join(spelled).replace("-", "")), dtype="V16")


def _microseconds(events: Sequence[pb.UsageEvent], violations: list[EventViolation]) -> Int64Array:
    """Returns (n,) since 1970; arbitrary values if there is a violation."""
    missing = np.array([not event.HasField("occurred_at") for event in events], dtype=np.bool_)
    violations += where(missing, "occurred_at", "is required")
    times = [event.occurred_at for event in events]
    seconds = np.array([time.seconds for time in times], dtype=np.int64)
    nanos = np.array([time.nanos for time in times], dtype=np.int64)
    outside = (seconds < 0) | (seconds > MAX_OCCURRED_AT // 1_000_000) | (nanos < 0) | (nanos >= _NANOS_END)
    violations += where(outside, "occurred_at", "must be in the years 1970 to 9999")
    microseconds: Int64Array = np.where(outside, 0, seconds) * 1_000_000 + nanos // 1_000
    return microseconds


def event_at(batch: Batch, position: int) -> pb.UsageEvent:
    """The event at a position of a batch."""
    first, last = (int(batch.offsets[position + step]) for step in (0, 1))
    seconds, microseconds = divmod(int(batch.occurred_at[position]), 1_000_000)
    event = pb.UsageEvent(
        event_id=str(UUID(bytes=batch.event_ids[position].tobytes())),
        work_id=batch.work_ids[position].as_py(),
        units=int(batch.units[position]),
        mode=pb.Mode.ValueType(int(batch.modes[position])),
        shares=[
            pb.Share(collective_id=batch.names[index], share_nano=nano)
            for index, nano in zip(
                batch.name_index[first:last].tolist(), batch.amounts[first:last].tolist(), strict=True
            )
        ],
    )
    event.occurred_at.seconds, event.occurred_at.nanos = seconds, microseconds * 1_000
    return event
