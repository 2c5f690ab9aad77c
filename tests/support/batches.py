"""Usage batches for tests: sound unless a test makes them otherwise, and wrong in just the place that it chooses."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from ledger.usage.batch import Batch
from ledger.usage.format import AI_ONLY
from ledger.usage.shares import USAGE_TYPES

SCHEMA: Final = pa.schema(list(USAGE_TYPES.items()))

Shares = Sequence[tuple[str | None, int | None]]


@dataclass(frozen=True)
class Event:
    """A usage event as a platform means it; None is a null wherever one can stand."""

    event_id: bytes | None
    work_id: str | None = None
    occurred_at: int | None = 0
    units: int | None = 1
    mode: int | None = AI_ONLY
    shares: Shares | None = ()


def event_id(number: int) -> bytes:
    return number.to_bytes(16)


def some_events(count: int, **same: Any) -> list[Event]:
    """Sound events with ids 0, 1, 2, ..., alike in everything else."""
    return [Event(event_id(number), **same) for number in range(count)]


def record_batch(events: Sequence[Event], *, dictionary: Sequence[str | None] | None = None) -> pa.RecordBatch:
    """The events in the columns of a batch. The dictionary of collectives is what occurs, in order, unless given."""
    named = [collective for event in events for collective, _ in event.shares or ()]
    names = list(dict.fromkeys(name for name in named if name is not None)) if dictionary is None else dictionary
    number = {name: place for place, name in enumerate(names)}
    indices = pa.array([None if name is None else number[name] for name in named], pa.int32())
    encoded = pa.DictionaryArray.from_arrays(indices, pa.array(names, pa.utf8()))
    amounts = pa.array([amount for event in events for _, amount in event.shares or ()], pa.int32())
    return pa.record_batch(
        [
            pa.array([event.event_id for event in events], pa.binary(16)),
            pa.array([event.work_id for event in events], pa.utf8()),
            pa.array([event.occurred_at for event in events], pa.int64()).cast(USAGE_TYPES["occurred_at"]),
            pa.array([event.units for event in events], pa.int64()),
            pa.array([event.mode for event in events], pa.uint8()),
            list_array(events, encoded),
            list_array(events, amounts),
        ],
        schema=SCHEMA,
    )


def list_array(events: Sequence[Event], values: Any) -> pa.ListArray:
    """The values as lists, as many in each as its event has shares; null where it has none of either."""
    offsets: list[int | None] = [0]
    place = 0
    for position, event in enumerate(events):
        place += len(event.shares or ())
        offsets.append(place)
        if event.shares is None:
            offsets[position] = None
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def replaced(batch: pa.RecordBatch, column: str, values: Any, *, field: pa.Field | None = None) -> pa.RecordBatch:
    """The record batch with another column in the place of one, of whatever type."""
    place = batch.schema.get_field_index(column)
    return batch.set_column(place, field or column, values)


def stream(*batches: pa.RecordBatch, custom_metadata: dict[str, str] | None = None, **options: Any) -> bytes:
    """Record batches as one Arrow IPC stream; options are those of `pyarrow.ipc.IpcWriteOptions`."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batches[0].schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in batches:
            writer.write_batch(batch, custom_metadata=custom_metadata)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def body_of(events: Sequence[Event]) -> bytes:
    """The events as the bytes that a platform sends."""
    return stream(record_batch(events))


def framed(body: bytes) -> list[tuple[bytes, bytes]]:
    """The (metadata with its frame, body) of each message in a sound stream, without the end mark.

    As pyarrow itself reads them, so that a test does not lean on what it tests.
    """
    found: list[tuple[bytes, bytes]] = []
    source = pa.BufferReader(body)
    place = 0
    while True:
        _, metadata_bytes = struct.unpack_from("<Ii", body, place)
        if not metadata_bytes:
            return found
        message = pa.ipc.read_message(source)
        size = message.body.size if message.body is not None else 0
        middle = place + 8 + metadata_bytes
        found.append((body[place:middle], body[middle : middle + size]))
        place = middle + size


def joined(messages: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The messages as a stream with its end mark."""
    return b"".join(metadata + content for metadata, content in messages) + struct.pack("<Ii", 0xFFFFFFFF, 0)


def events_in(batch: Batch) -> list[Event]:
    """The events of a batch that was read."""
    return [
        Event(
            event_id=batch.event_ids[position].tobytes(),
            work_id=batch.work_ids[position].as_py(),
            occurred_at=int(batch.occurred_at[position]),
            units=int(batch.units[position]),
            mode=int(batch.modes[position]),
            shares=tuple(
                (batch.names[batch.name_index[share]], int(batch.amounts[share]))
                for share in range(batch.offsets[position], batch.offsets[position + 1])
            ),
        )
        for position in range(len(batch))
    ]
