"""Between usage events as messages and as an Arrow batch."""

import re
from collections.abc import Sequence
from itertools import accumulate
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
_NANOS_END: Final = 10**9
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
    columns = _columns(events, violations)
    if violations:
        raise InvalidInputError(violations[:MAX_VIOLATIONS], total=len(violations))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, _SCHEMA, options=_IPC) as writer:
        writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
    body: bytes = sink.getvalue().to_pybytes()
    return body


def _columns(events: Sequence[pb.UsageEvent], violations: list[Violation]) -> list[Any]:
    # A message's fields are read once each: that is most of the time that this takes.
    shares = [share for event in events for share in event.shares]
    collectives = [share.collective_id for share in shares]
    names = sorted(set(collectives))
    number = {name: place for place, name in enumerate(names)}
    indices = pa.array([number[name] for name in collectives], pa.int32())
    bounds = pa.array([0, *accumulate(len(event.shares) for event in events)], pa.int32())
    return [
        pa.array([_event_id(event, place, violations) for place, event in enumerate(events)], pa.binary(16)),
        pa.array([event.work_id if event.HasField("work_id") else None for event in events], pa.utf8()),
        pa.array([_microseconds(event, place, violations) for place, event in enumerate(events)], pa.int64()).cast(
            USAGE_TYPES["occurred_at"]
        ),
        pa.array([event.units for event in events], pa.int64()),
        pa.array([_mode(event, place, violations) for place, event in enumerate(events)], pa.uint8()),
        pa.ListArray.from_arrays(bounds, pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.utf8()))),
        pa.ListArray.from_arrays(bounds, pa.array([share.share_nano for share in shares], pa.int32())),
    ]


def _event_id(event: pb.UsageEvent, place: int, violations: list[Violation]) -> bytes:
    text = event.event_id
    if _UUID.fullmatch(text):
        return bytes.fromhex(text.replace("-", ""))
    violations.extend(_not_a_uuid(text, f"events[{place}].event_id").violations)
    return bytes(16)


def _microseconds(event: pb.UsageEvent, place: int, violations: list[Violation]) -> int:
    if not event.HasField("occurred_at"):
        violations.append(Violation(f"events[{place}].occurred_at", "is required"))
        return 0
    seconds, nanos = event.occurred_at.seconds, event.occurred_at.nanos
    microseconds = seconds * 1_000_000 + nanos // 1_000
    if 0 <= nanos < _NANOS_END and 0 <= microseconds <= MAX_OCCURRED_AT:
        return microseconds
    violations.append(Violation(f"events[{place}].occurred_at", "must be in the years 1970 to 9999"))
    return 0


def _mode(event: pb.UsageEvent, place: int, violations: list[Violation]) -> int:
    mode = event.mode
    if 0 <= mode <= _MODE_MAX:
        return mode
    violations.append(Violation(f"events[{place}].mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)"))
    return 0


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
