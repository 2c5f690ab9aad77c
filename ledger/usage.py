"""Usage batches: what a platform may send, and the one function that decides whether it may.

A batch is one Arrow record batch in the IPC stream format (docs/concepts.md gives its columns). It is refused whole or
taken whole. Everything from outside is hostile until `parse_batch` has returned.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.arrow_stream import DICTIONARY_BATCH, RECORD_BATCH, SCHEMA, FramingError, messages
from ledger.errors import InvalidInputError, Violation

NANO: Final = 10**9
"""One whole share."""

MAX_EVENTS: Final = 65_536
"""Events in a batch: a leaf's duplicate bitmap stays in an entry, and a batch in memory."""

MAX_SHARES: Final = 4_194_304
"""Shares in a batch: 64 an event at the largest batch; bounds what one request may make the service compute."""

MAX_COLLECTIVES: Final = 65_536
"""Ids in a batch's dictionary, used or not: each becomes a Python string and a question to the registry."""

MAX_BODY_BYTES: Final = 32 * 2**20
"""Bytes of a batch as sent."""

MAX_DECODED_BYTES: Final = 128 * 2**20
"""Bytes of a batch once its buffers are decompressed."""

MAX_UNITS: Final = 10**9
MAX_WORK_ID_BYTES: Final = 256
MAX_VIOLATIONS: Final = 100
"""How many violations an answer lists."""

AI_ONLY: Final = 1
HUMAN_AI: Final = 2
MODES: Final = (AI_ONLY, HUMAN_AI)

MAX_OCCURRED_AT: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999: the range of google.protobuf.Timestamp, from 1970 on."""

USAGE_TYPES: Final[dict[str, pa.DataType]] = {
    "event_id": pa.binary(16),
    "work_id": pa.utf8(),
    "occurred_at": pa.timestamp("us", tz="UTC"),
    "units": pa.int64(),
    "mode": pa.uint8(),
    "collectives": pa.list_(pa.dictionary(pa.int32(), pa.utf8())),
    "shares": pa.list_(pa.int32()),
}

Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class UsageBatch:
    """A validated batch of n events with k shares in all. The arrays are views of the body.

    event_ids: (n,) of 16 bytes each (`V16`); work_ids: the nullable Arrow column; occurred_at: (n,) microseconds since
    1970; units: (n,) 1 to 10^9; modes: (n,) 1 or 2; offsets: (n + 1,) into the next two; collective_index: (k,) into
    `collectives`; shares: (k,) nano.
    """

    event_ids: npt.NDArray[np.void]
    work_ids: Any
    occurred_at: Int64Array
    units: Int64Array
    modes: npt.NDArray[np.uint8]
    offsets: Int64Array
    collective_index: npt.NDArray[np.int32]
    shares: npt.NDArray[np.int32]
    collectives: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.units)

    def event_of_share(self) -> Int64Array:
        """(k,) the position of the event that each share belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.offsets))

    def share_sums(self) -> Int64Array:
        """(n,) the sum of each event's shares."""
        # At most 2^22 shares below 2^31 each: the running sum stays below 2^53.
        running = np.zeros(len(self.shares) + 1, dtype=np.int64)
        np.cumsum(self.shares, out=running[1:])
        sums: Int64Array = running[self.offsets[1:]] - running[self.offsets[:-1]]
        return sums


def parse_batch(body: bytes) -> UsageBatch:
    """The batch in an Arrow stream, or InvalidInputError with the first 100 positions and reasons."""
    batch = _columns(_decode(body))
    _raise_violations(_event_violations(batch))
    return batch


def require_known(batch: UsageBatch, known: BoolArray) -> None:
    """Refuse the batch, with the positions, where an event names a collective that is not registered.

    known: (c,) whether each of `batch.collectives` is registered. One that no event names may be unknown.
    """
    if known.all():
        return
    unknown = np.flatnonzero(~known[batch.collective_index])
    event_of_share = batch.event_of_share()
    listed = [
        Violation(
            f"events[{event_of_share[share]}].collectives",
            f"{batch.collectives[batch.collective_index[share]][:80]!r} is not registered",
        )
        for share in unknown[:MAX_VIOLATIONS].tolist()
    ]
    if listed:
        raise InvalidInputError(listed, total=len(unknown))


def _raise_violations(found: Iterable[tuple[int, str, str]]) -> None:
    ordered = sorted(found, key=lambda violation: violation[0])
    if ordered:
        listed = [Violation(f"events[{at}].{column}", reason) for at, column, reason in ordered[:MAX_VIOLATIONS]]
        raise InvalidInputError(listed, total=len(ordered))


def first_occurrences(batch: UsageBatch) -> tuple[BoolArray, Int64Array]:
    """Which events are the first with their id in the batch, and the positions of these in ascending order of id."""
    halves = batch.event_ids.view(">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    ordered = batch.event_ids[order]
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = ordered[1:] != ordered[:-1]
    first = np.zeros(len(order), dtype=np.bool_)
    first[order[fresh]] = True
    return first, order[fresh]


def _refuse(field: str, reason: str) -> InvalidInputError:
    return InvalidInputError.of(field, reason)


def _decode(body: bytes) -> pa.RecordBatch:
    """Steps from hostile bytes to a fully validated record batch of the exact schema."""
    # 1. Size as sent.
    if len(body) > MAX_BODY_BYTES:
        raise _refuse("arrow_stream", f"has {len(body)} bytes, more than {MAX_BODY_BYTES}")
    # 2. Framing: a schema, at most one dictionary, one record batch; and the size that decoding would take.
    try:
        found = list(messages(body))
    except FramingError as error:
        raise _refuse("arrow_stream", f"is not an Arrow IPC stream: {error}") from None
    if [message.kind for message in found] not in ([SCHEMA, RECORD_BATCH], [SCHEMA, DICTIONARY_BATCH, RECORD_BATCH]):
        raise _refuse("arrow_stream", "must hold one schema, one dictionary and one record batch")
    decoded_bytes = sum(message.decoded_bytes for message in found)
    if decoded_bytes > MAX_DECODED_BYTES:
        raise _refuse("arrow_stream", f"decodes to {decoded_bytes} bytes, more than {MAX_DECODED_BYTES}")
    # 3. Decoding, and every offset, index and UTF-8 sequence.
    try:
        with pa.ipc.open_stream(pa.py_buffer(body)) as reader:
            _require_schema(reader.schema)
            record_batch = reader.read_next_batch()
            record_batch.validate(full=True)
    except (pa.ArrowException, StopIteration, OSError, UnicodeDecodeError) as error:
        raise _refuse("arrow_stream", f"is not valid Arrow: {_one_line(error)}") from None
    # 4. Size in events.
    if not 1 <= record_batch.num_rows <= MAX_EVENTS:
        raise _refuse("events", f"must be 1 to {MAX_EVENTS}, are {record_batch.num_rows}")
    return record_batch


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _require_schema(schema: pa.Schema) -> None:
    if schema.names != list(USAGE_TYPES):
        raise _refuse(
            "arrow_stream", f"must have the columns {', '.join(USAGE_TYPES)}; has {', '.join(schema.names)[:500]}"
        )
    for name, wanted in USAGE_TYPES.items():
        # Arrow compares list types by value type alone, so the child may be called `item` or `element`.
        if schema.field(name).type != wanted:
            raise _refuse(name, f"must be {wanted}, is {schema.field(name).type}")


def _columns(record_batch: pa.RecordBatch) -> UsageBatch:
    """The columns as numpy views, once it is clear that nothing is null and lists and dictionary are sound."""
    for name in USAGE_TYPES:
        if name != "work_id" and record_batch.column(name).null_count:
            positions = np.flatnonzero(record_batch.column(name).is_null().to_numpy(zero_copy_only=False))
            raise _violations_at(positions, name, "must not be null")
    collectives, shares = record_batch.column("collectives"), record_batch.column("shares")
    offsets = _offsets(collectives)
    unequal = np.flatnonzero(np.diff(offsets) != np.diff(_offsets(shares)))
    if len(unequal):
        raise _violations_at(unequal, "shares", "must be as many as collectives")
    encoded, amounts = _flat(collectives), _flat(shares)
    if len(amounts) > MAX_SHARES:
        raise _refuse("shares", f"must be at most {MAX_SHARES} in a batch, are {len(amounts)}")
    for name, values in (("collectives", encoded.indices), ("shares", amounts)):
        if values.null_count:
            nulls = np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)) + offsets[0]
            positions = np.unique(np.searchsorted(offsets, nulls, side="right") - 1)
            raise _violations_at(positions, name, "must not hold nulls")
    names = _ids(encoded.dictionary)
    return UsageBatch(
        event_ids=_fixed_bytes(record_batch.column("event_id")),
        work_ids=record_batch.column("work_id"),
        occurred_at=record_batch.column("occurred_at").view(pa.int64()).to_numpy(),
        units=record_batch.column("units").to_numpy(),
        modes=record_batch.column("mode").to_numpy(),
        offsets=offsets - offsets[0],
        collective_index=encoded.indices.to_numpy(),
        shares=amounts.to_numpy(),
        collectives=names,
    )


def _ids(dictionary: pa.StringArray) -> tuple[str, ...]:
    if len(dictionary) > MAX_COLLECTIVES:
        raise _refuse("collectives", f"the dictionary must hold at most {MAX_COLLECTIVES} ids, holds {len(dictionary)}")
    if dictionary.null_count:
        raise _refuse("collectives", "the dictionary must not hold nulls")
    names = tuple(dictionary.to_pylist())
    if len(set(names)) != len(names):
        raise _refuse("collectives", "the dictionary must not repeat an id")
    return names


def _offsets(column: pa.ListArray) -> Int64Array:
    offsets: Int64Array = column.offsets.to_numpy().astype(np.int64)
    return offsets


def _flat(column: pa.ListArray) -> Any:
    first, last = column.offsets[0].as_py(), column.offsets[-1].as_py()
    return column.values.slice(first, last - first)


def _fixed_bytes(column: pa.FixedSizeBinaryArray) -> npt.NDArray[np.void]:
    data = column.buffers()[1]
    return np.frombuffer(data, dtype="V16", count=len(column), offset=16 * column.offset)


def _violations_at(positions: Int64Array, column: str, reason: str) -> InvalidInputError:
    listed = [Violation(f"events[{position}].{column}", reason) for position in positions[:MAX_VIOLATIONS].tolist()]
    return InvalidInputError(listed, total=len(positions))


def _event_violations(batch: UsageBatch) -> Iterator[tuple[int, str, str]]:
    """Every rule on single events: (position, column, reason) of each breach."""
    event_of_share = batch.event_of_share()
    work_id_bytes = _work_id_bytes(batch.work_ids)
    yield from _where((batch.units < 1) | (batch.units > MAX_UNITS), "units", f"must be 1 to {MAX_UNITS}")
    yield from _where(~np.isin(batch.modes, MODES), "mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)")
    too_far = (batch.occurred_at < 0) | (batch.occurred_at > MAX_OCCURRED_AT)
    yield from _where(too_far, "occurred_at", "must be in the years 1970 to 9999")
    yield from _where(work_id_bytes > MAX_WORK_ID_BYTES, "work_id", f"must be at most {MAX_WORK_ID_BYTES} bytes")
    yield from _where_share(batch.shares < 1, event_of_share, "shares", "must each be at least 1")
    yield from _where(batch.share_sums() > NANO, "shares", f"must sum to at most {NANO}")
    yield from _where_share(
        _repeated(batch, event_of_share), event_of_share, "collectives", "must not repeat in one event"
    )


def _where(breach: BoolArray, column: str, reason: str) -> Iterator[tuple[int, str, str]]:
    for position in np.flatnonzero(breach).tolist():
        yield position, column, reason


def _where_share(
    breach: BoolArray, event_of_share: Int64Array, column: str, reason: str
) -> Iterator[tuple[int, str, str]]:
    for position in np.unique(event_of_share[breach]).tolist():
        yield position, column, reason


def _work_id_bytes(work_ids: Any) -> Int64Array:
    """Bytes of each work id; what lies under a null is at most as long, and counts as it is."""
    start = 4 * work_ids.offset
    offsets = np.frombuffer(work_ids.buffers()[1], dtype=np.int32, count=len(work_ids) + 1, offset=start)
    lengths: Int64Array = np.diff(offsets).astype(np.int64)
    if work_ids.null_count:
        lengths[work_ids.is_null().to_numpy(zero_copy_only=False)] = 0
    return lengths


def _repeated(batch: UsageBatch, event_of_share: Int64Array) -> BoolArray:
    """Which shares name a collective that stands earlier in the same event."""
    key = event_of_share * len(batch.collectives) + batch.collective_index
    repeated = np.zeros(len(key), dtype=np.bool_)
    if (key[1:] > key[:-1]).all():
        return repeated
    order = np.argsort(key, kind="stable")
    repeated[order[1:]] = key[order[1:]] == key[order[:-1]]
    return repeated
