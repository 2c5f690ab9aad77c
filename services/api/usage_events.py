"""Between usage events as messages and as an Arrow batch."""

import re
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import pyarrow as pa

from ledger.errors import InvalidInputError, Violation
from ledger.usage import MAX_OCCURRED_AT, MAX_VIOLATIONS, USAGE_TYPES, UsageBatch
from moiety.v1 import usage_pb2 as pb

MAX_ROW_EVENTS: Final = 1_000
"""Events in one SubmitUsage; larger batches are better sent as Arrow."""

_SCHEMA: Final = pa.schema(list(USAGE_TYPES.items()))
_MODE_MAX: Final = 255
_UUID: Final = re.compile("-".join(f"[0-9a-fA-F]{{{digits}}}" for digits in (8, 4, 4, 4, 12)))
_IPC: Final = pa.ipc.IpcWriteOptions(compression=None)


def parse_event_id(text: str, field: str) -> UUID:
    """The UUID in its usual text form, or InvalidInputError."""
    if not _UUID.fullmatch(text):
        raise _not_a_uuid(text, field)
    return UUID(text)


def _not_a_uuid(text: str, field: str) -> InvalidInputError:
    return InvalidInputError.of(field, f"must be a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057, is {text[:80]!r}")


def encode_events(events: Sequence[pb.UsageEvent]) -> bytes:
    """The events as the Arrow stream that AppendUsage would take: the same events always give the same bytes.

    InvalidInputError where an event cannot be put into the columns at all; every other rule is `parse_batch`'s.
    """
    violations: list[Violation] = []
    event_ids = [_event_id(event, place, violations) for place, event in enumerate(events)]
    for place, event in enumerate(events):
        if not event.HasField("occurred_at"):
            violations.append(Violation(f"events[{place}].occurred_at", "is required"))
        elif not _fits_microseconds(event):
            violations.append(Violation(f"events[{place}].occurred_at", "must be in the years 1970 to 9999"))
        if not 0 <= event.mode <= _MODE_MAX:
            violations.append(Violation(f"events[{place}].mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)"))
    if violations:
        raise InvalidInputError(violations[:MAX_VIOLATIONS], total=len(violations))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA, options=_IPC) as writer:
        writer.write_batch(pa.record_batch(_columns(events, event_ids), schema=_SCHEMA))
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _event_id(event: pb.UsageEvent, place: int, violations: list[Violation]) -> bytes:
    text = event.event_id
    if _UUID.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    violations.extend(_not_a_uuid(text, f"events[{place}].event_id").violations)
    return bytes(16)


def _columns(events: Sequence[pb.UsageEvent], event_ids: list[bytes]) -> list[Any]:
    shares = [share for event in events for share in event.shares]
    names = sorted({share.collective_id for share in shares})
    number = {name: place for place, name in enumerate(names)}
    offsets = [0]
    for event in events:
        offsets.append(offsets[-1] + len(event.shares))
    indices = pa.array([number[share.collective_id] for share in shares], pa.int32())
    encoded = pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.utf8()))
    bounds = pa.array(offsets, pa.int32())
    return [
        pa.array(event_ids, pa.binary(16)),
        pa.array([event.work_id if event.HasField("work_id") else None for event in events], pa.utf8()),
        pa.array([_microseconds(event) for event in events], pa.int64()).cast(USAGE_TYPES["occurred_at"]),
        pa.array([event.units for event in events], pa.int64()),
        pa.array([event.mode for event in events], pa.uint8()),
        pa.ListArray.from_arrays(bounds, encoded),
        pa.ListArray.from_arrays(bounds, pa.array([share.share_nano for share in shares], pa.int32())),
    ]


def _fits_microseconds(event: pb.UsageEvent) -> bool:
    return 0 <= event.occurred_at.nanos < 10**9 and 0 <= _microseconds(event) <= MAX_OCCURRED_AT


def _microseconds(event: pb.UsageEvent) -> int:
    return event.occurred_at.seconds * 1_000_000 + event.occurred_at.nanos // 1_000


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
