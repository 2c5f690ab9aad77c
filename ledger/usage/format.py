"""What all batches of events have in common: their first columns, their limits, and the rules on them.

A batch is one Arrow record batch in the IPC stream format. After the columns of the event itself come two lists of
equal length in each event: names, over one dictionary, and an amount for each name. `ledger.usage.shares` and
`ledger.usage.scores` say what the names and amounts are, and add the rules for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ledger.errors import InvalidInputError, Violation
from ledger.usage.batch import Batch, BoolArray, Int64Array, events_at

MAX_EVENTS: Final = 65_536
"""Events in a batch: keeps a leaf's duplicate bitmap within an entry, and a batch within memory."""

MAX_SHARES: Final = 4_194_304
"""Amounts in a batch: 64 an event for the largest batch; bounds what one request makes the service compute."""

MAX_BODY_BYTES: Final = 32 * 2**20
"""Bytes of a batch as sent."""

MAX_DECODED_BYTES: Final = 128 * 2**20
"""Bytes of a batch once its buffers are decompressed."""

MAX_MONTHS: Final = 36
"""Months of UTC in a batch: each has rows of weights of its own."""

MAX_UNITS: Final = 10**9
MAX_WORK_ID_BYTES: Final = 256
MAX_VIOLATIONS: Final = 100
"""The number of violations listed in an answer."""

AI_ONLY: Final = 1
HUMAN_AI: Final = 2
MODES: Final = (AI_ONLY, HUMAN_AI)

MAX_OCCURRED_AT: Final = 253_402_300_799_999_999
"""The last microsecond of the year 9999: the range of google.protobuf.Timestamp, from 1970 on."""

EVENT_TYPES: Final[dict[str, pa.DataType]] = {
    "event_id": pa.binary(16),
    "work_id": pa.utf8(),
    "occurred_at": pa.timestamp("us", tz="UTC"),
    "units": pa.int64(),
    "mode": pa.uint8(),
}
NAMES_TYPE: Final = pa.list_(pa.dictionary(pa.int32(), pa.utf8()))

EventViolation = tuple[int, str, str]
"""An event's position, the column and the reason."""


def event_violations(columns: Batch) -> Iterator[EventViolation]:
    """Yields violations of the rules on an event's own columns."""
    yield from where_outside(columns.units, 1, MAX_UNITS, "units", f"must be 1 to {MAX_UNITS:,}")
    yield from where_outside(columns.modes, AI_ONLY, HUMAN_AI, "mode", "must be 1 (AI_ONLY) or 2 (HUMAN_AI)")
    too_far = list(
        where_outside(columns.occurred_at, 0, MAX_OCCURRED_AT, "occurred_at", "must be in the years 1970 to 9999")
    )
    yield from too_far or _too_many_months(columns.occurred_at)
    offsets = _work_id_offsets(columns.work_ids)
    if offsets[-1] - offsets[0] > MAX_WORK_ID_BYTES:
        too_long = _work_id_bytes(columns.work_ids, offsets) > MAX_WORK_ID_BYTES
        yield from where(too_long, "work_id", f"must be at most {MAX_WORK_ID_BYTES} bytes")


def months_of(occurred_at: Int64Array) -> Int64Array:
    """Returns the months of UTC, counted from year 0, of (n,) microseconds since 1970."""
    months: Int64Array = occurred_at.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64) + 12 * 1970
    return months


def _too_many_months(occurred_at: Int64Array) -> Iterator[EventViolation]:
    """Yields the events of a batch that are in none of its first months."""
    if not len(occurred_at):
        return
    first, last = months_of(np.array([occurred_at.min(), occurred_at.max()])).tolist()
    if last - first < MAX_MONTHS:
        return
    months = months_of(occurred_at)
    later = np.unique(months)[MAX_MONTHS:]
    if len(later):
        reason = f"must be in one of the batch's first {MAX_MONTHS} months (UTC); send later ones in another batch"
        yield from where(months >= later[0], "occurred_at", reason)


def repeated_names(columns: Batch) -> BoolArray:
    """Returns (k,) which names occur earlier in the same event."""
    repeated = np.zeros(len(columns.name_index), dtype=np.bool_)
    ascending = np.ones(len(repeated) + 1, dtype=np.bool_)
    ascending[1:-1] = columns.name_index[1:] > columns.name_index[:-1]
    ascending[columns.offsets] = True
    if ascending.all():
        return repeated
    key = columns.event_of_amount() * len(columns.names) + columns.name_index
    order = np.argsort(key, kind="stable")
    repeated[order[1:]] = key[order[1:]] == key[order[:-1]]
    return repeated


def require_known_names(batch: Batch, known: BoolArray, *, column: str) -> None:
    """Check that everything an event names is registered.

    `known` is (c,): whether each of `batch.names` is a registered collective. A name that no event uses may be unknown.

    Raises:
        InvalidInputError: events name something that is not registered; the error has their positions.
    """
    if known.all():
        return
    unknown = np.flatnonzero(~known[batch.name_index])
    events = batch.event_of_amount()
    listed = [
        Violation(
            f"events[{events[place]}].{column}", f"{batch.names[batch.name_index[place]][:80]!r} is not registered"
        )
        for place in unknown[:MAX_VIOLATIONS].tolist()
    ]
    if listed:
        raise InvalidInputError(listed, total=len(unknown))


def where(breach: BoolArray, column: str, reason: str) -> Iterator[EventViolation]:
    """A violation for each event of (n,) breaches."""
    if breach.any():
        yield from ((position, column, reason) for position in np.flatnonzero(breach).tolist())


def where_outside(
    values: npt.NDArray[Any], least: int, most: int, column: str, reason: str
) -> Iterator[EventViolation]:
    """A violation for each event whose value, of (n,), is not within bounds, both included."""
    if len(values) and not least <= values.min() <= values.max() <= most:
        yield from where((values < least) | (values > most), column, reason)


def where_amount(breach: BoolArray, offsets: Int64Array, column: str, reason: str) -> Iterator[EventViolation]:
    """A violation for each event with any of (k,) breaches."""
    if breach.any():
        yield from ((position, column, reason) for position in events_at(np.flatnonzero(breach), offsets).tolist())


def raise_violations(found: Iterable[EventViolation]) -> None:
    """Raise if there are violations.

    Raises:
        InvalidInputError: there are some; it has the first 100 by position.
    """
    ordered = sorted(found, key=lambda violation: violation[0])
    if ordered:
        listed = [Violation(f"events[{at}].{column}", reason) for at, column, reason in ordered[:MAX_VIOLATIONS]]
        raise InvalidInputError(listed, total=len(ordered))


def _null_places(column: pa.Array) -> Int64Array:
    """The positions of the nulls of a column that has any."""
    bits = np.unpackbits(np.frombuffer(column.buffers()[0], dtype=np.uint8), bitorder="little")
    return np.flatnonzero(bits[column.offset : column.offset + len(column)] == 0)


def _work_id_offsets(work_ids: Any) -> npt.NDArray[np.int32]:
    """Where each work id begins, and where the last one ends."""
    if not len(work_ids):
        return np.zeros(1, dtype=np.int32)
    start = 4 * work_ids.offset
    return np.frombuffer(work_ids.buffers()[1], dtype=np.int32, count=len(work_ids) + 1, offset=start)


def _work_id_bytes(work_ids: Any, offsets: npt.NDArray[np.int32]) -> Int64Array:
    """Bytes of each work id; none for a null, whatever lies under it."""
    lengths: Int64Array = np.diff(offsets).astype(np.int64)
    if work_ids.null_count:
        lengths[_null_places(work_ids)] = 0
    return lengths
