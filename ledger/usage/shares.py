"""Usage batches: what a platform may send, and the one function that decides whether it may.

A batch is one Arrow record batch in the IPC stream format (docs/concepts.md has its columns). It is refused as a whole
or accepted as a whole. Everything from outside is untrusted until `parse_batch` has returned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import pyarrow as pa

from ledger.registry import MAX_RESOURCE_ID, NANO
from ledger.usage.batch import Batch, BoolArray, Int64Array
from ledger.usage.decoding import read_columns
from ledger.usage.format import (
    EVENT_TYPES,
    NAMES_TYPE,
    EventViolation,
    event_violations,
    raise_violations,
    repeated_names,
    require_known_names,
    where,
    where_amount,
)
from ledger.usage.pages import order_of
from ledger.usage.schema import Kind
from ledger.usage.sizes import require_sizes

MAX_COLLECTIVES: Final = 65_536
"""Ids in a batch's dictionary, used or not: each becomes a Python string, and each used one is looked up too."""

USAGE_TYPES: Final[dict[str, pa.DataType]] = {
    **EVENT_TYPES,
    "collectives": NAMES_TYPE,
    "shares": pa.list_(pa.int32()),
}
"""The columns as we write them; others may use other types for the same values."""

SHARES: Final = Kind("collectives", "shares", "share", pa.int32(), MAX_COLLECTIVES, MAX_RESOURCE_ID)


def parse_batch(body: bytes, written: Batch | None = None) -> Batch:
    """Returns the batch in an Arrow stream.

    `written` are the columns that the body was written from, if it was written here; they are not read again from it.

    Raises:
        InvalidInputError: the batch is refused; the error has the first 100 positions and reasons.
    """
    if written is None:
        batch = read_columns(body, SHARES).only_named()
    else:
        batch = written
        require_sizes(body, batch, SHARES)
    return checked(batch)


def parse_any_names(body: bytes) -> Batch:
    """Returns what `parse_batch` does, but for the names, of which events may not have all."""
    return checked(read_columns(body, SHARES))


def checked(batch: Batch) -> Batch:
    """Returns the batch, after its check against the rules on single events. Raises as `parse_batch` does."""
    raise_violations(violations(batch))
    return batch


def require_known(batch: Batch, known: BoolArray) -> None:
    """Refuse the batch, with the positions, if an event names a collective that is not registered.

    `known` is (c,): whether each of `batch.names` is registered. One that no event names may be unknown.
    """
    require_known_names(batch, known, column="collectives")


def first_occurrences(batch: Batch) -> tuple[BoolArray, Int64Array]:
    """Returns which events are the first with their id in the batch, and their positions in ascending order of id."""
    order = order_of(batch.event_ids)
    ordered = batch.event_ids[order]
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = ordered[1:] != ordered[:-1]
    first = np.zeros(len(order), dtype=np.bool_)
    first[order[fresh]] = True
    return first, order[fresh]


def violations(batch: Batch) -> Iterator[EventViolation]:
    """Yields (position, column, reason) for each violation of the rules on single events."""
    yield from event_violations(batch)
    if len(batch.amounts):
        least, most = int(batch.amounts.min()), int(batch.amounts.max())
        if least < 1:
            yield from where_amount(batch.amounts < 1, batch.offsets, "shares", "must each be at least 1")
        # Shares that are too small to sum to more need no sums; those below 1 make no sum larger.
        if most * int(np.diff(batch.offsets).max()) > NANO:
            yield from where(batch.share_sums() > NANO, "shares", f"must sum to at most {NANO:,}")
    yield from where_amount(repeated_names(batch), batch.offsets, "collectives", "must not repeat in one event")
