"""Between usage events as messages and as an Arrow batch."""

import re
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final
from uuid import UUID

import numpy as np
import pyarrow as pa

from ledger.batch_format import EventViolation, raise_violations, where
from ledger.errors import InvalidInputError
from ledger.usage import MAX_OCCURRED_AT, USAGE_TYPES, Int64Array, UsageBatch
from moiety.v1 import usage_pb2 as pb

MAX_ROW_EVENTS: Final = 1_000
"""Events in one SubmitUsage; larger batches are better sent as Arrow."""

_SCHEMA: Final = pa.schema(list(USAGE_TYPES.items()))
_MODE_MAX: Final = 255
_NANOS_END: Final = 10**9
_UUID_TEXT: Final = "-".join(f"[0-9a-fA-F]{{{digits}}}" for digits in (8, 4, 4, 4, 12))
_UUID: Final = re.compile(_UUID_TEXT)
_UUIDS: Final = re.compile(f"(?:{_UUID_TEXT})*")
_UUID_LENGTH: Final = 36
_IPC: Final = pa.ipc.IpcWriteOptions(compression=None)


def parse_event_id(text: str, field: str) -> UUID:
    """The UUID in its usual text form, or InvalidInputError."""
    if not _UUID.fullmatch(text):
        raise InvalidInputError.of(field, _not_a_uuid(text))
    return UUID(text)


def _not_a_uuid(text: str) -> str:
    return f"must be a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057, is {text[:80]!r}"


def encode_events(events: Sequence[pb.UsageEvent]) -> bytes:
    """The events as the Arrow stream that AppendUsage would take: the same events always give the same bytes.

    InvalidInputError where an event cannot be put into the columns at all; every other rule is `parse_batch`'s.
    """
    columns = _columns(list(events))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA, options=_IPC) as writer:
        writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _columns(events: list[pb.UsageEvent]) -> list[Any]:
    # A field of a message is read once, and all that is made of it is made of a column: reading is most of the time.
    violations: list[EventViolation] = []
    event_ids = _event_ids([event.event_id for event in events], violations)
    occurred_at = _microseconds(events, violations)
    modes = np.array([event.mode for event in events], dtype=np.int64)
    violations += where((modes < 0) | (modes > _MODE_MAX), "mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)")
    raise_violations(violations)
    shares = [share for event in events for share in event.shares]
    collectives = [share.collective_id for share in shares]
    names = sorted(set(collectives))
    number = {name: place for place, name in enumerate(names)}
    indices = pa.array([number[name] for name in collectives], pa.int32())
    bounds = pa.array([0, *accumulate([len(event.shares) for event in events])], pa.int32())
    return [
        event_ids,
        pa.array([event.work_id if event.HasField("work_id") else None for event in events], pa.utf8()),
        pa.Array.from_buffers(USAGE_TYPES["occurred_at"], len(events), [None, pa.py_buffer(occurred_at)]),
        pa.array([event.units for event in events], pa.int64()),
        pa.array(modes.astype(np.uint8)),
        pa.ListArray.from_arrays(bounds, pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.utf8()))),
        pa.ListArray.from_arrays(bounds, pa.array([share.share_nano for share in shares], pa.int32())),
    ]


def _event_ids(texts: list[str], violations: list[EventViolation]) -> Any:
    if not _UUIDS.fullmatch("".join(texts)) or any(len(text) != _UUID_LENGTH for text in texts):
        violations += [
            (place, "event_id", _not_a_uuid(text)) for place, text in enumerate(texts) if not _UUID.fullmatch(text)
        ]
        return None
    data = pa.py_buffer(bytes.fromhex("".join(texts).replace("-", "")))
    return pa.FixedSizeBinaryArray.from_buffers(USAGE_TYPES["event_id"], len(texts), [None, data])


def _microseconds(events: list[pb.UsageEvent], violations: list[EventViolation]) -> Int64Array:
    """(n,) since 1970; anything where there is a violation."""
    missing = np.array([not event.HasField("occurred_at") for event in events], dtype=np.bool_)
    violations += where(missing, "occurred_at", "is required")
    times = [event.occurred_at for event in events]
    seconds = np.array([time.seconds for time in times], dtype=np.int64)
    nanos = np.array([time.nanos for time in times], dtype=np.int64)
    outside = (seconds < 0) | (seconds > MAX_OCCURRED_AT // 1_000_000) | (nanos < 0) | (nanos >= _NANOS_END)
    violations += where(outside, "occurred_at", "must be in the years 1970 to 9999")
    microseconds: Int64Array = np.where(outside, 0, seconds) * 1_000_000 + nanos // 1_000
    return microseconds


def event_at(batch: UsageBatch, position: int) -> pb.UsageEvent:
    """The event at a position of a batch."""
    first, last = (int(batch.offsets[position + step]) for step in (0, 1))
    seconds, microseconds = divmod(int(batch.occurred_at[position]), 1_000_000)
    event = pb.UsageEvent(
        event_id=str(UUID(bytes=batch.event_ids[position].tobytes())),
        work_id=batch.work_ids[position].as_py(),
        units=int(batch.units[position]),
        mode=pb.Mode.ValueType(int(batch.modes[position])),
        shares=[
            pb.Share(collective_id=batch.collectives[index], share_nano=nano)
            for index, nano in zip(
                batch.collective_index[first:last].tolist(), batch.shares[first:last].tolist(), strict=True
            )
        ],
    )
    event.occurred_at.seconds, event.occurred_at.nanos = seconds, microseconds * 1_000
    return event
