"""The body of a usage leaf checked against its entry: which of its events were accepted, and their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from audit.findings import at
from audit.reader import require_hash
from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.usage.batch import Batch, BoolArray
from ledger.usage.entries import UsageContent, decode_positions
from ledger.usage.reading import Reading
from ledger.usage.shares import are_distinct, first_occurrences
from ledger.usage.weights import BatchWeights, weigh_by_month


class WeighedBatch(NamedTuple):
    """A usage leaf's batch: its events, which of them were accepted, and the weights of those."""

    batch: Batch
    accepted: BoolArray
    weights: BatchWeights


def weighed_batch(read: Callable[[], bytes], leaf_index: int, content: UsageContent, reading: Reading) -> WeighedBatch:
    """Returns the batch in a usage leaf's body, which `read` gives, with its weights. It can run in a thread."""
    batch, accepted = accepted_batch(read(), leaf_index, content, reading)
    return WeighedBatch(batch, accepted, weigh_by_month(batch, accepted))


def accepted_batch(body: bytes, leaf_index: int, content: UsageContent, reading: Reading) -> tuple[Batch, BoolArray]:
    """Returns the batch in a usage leaf's body, and which of its events were accepted."""
    require_hash(leaf_index, "body_sha256", content.body_sha256, body)
    at(leaf_index).same("body_bytes", content.body_bytes, len(body))
    try:
        batch = reading.usage(body)
    except InvalidInputError as error:
        raise at(leaf_index).error("body", error, "a valid batch") from None
    accepted = ~mask_of(leaf_index, "duplicates", content.duplicates, len(batch))
    if not are_distinct(batch):
        first, _ = first_occurrences(batch)
        repeated = np.flatnonzero(accepted & ~first)
        at(leaf_index).same("duplicates", [], repeated.tolist())
    return batch, accepted


def positions_of(leaf_index: int, figure: str, logged: str) -> list[int]:
    """Returns the positions that a leaf names.

    Raises:
        FoundError: they are not in canonical form.
    """
    try:
        return decode_positions(logged)
    except LedgerCorruptError as error:
        raise at(leaf_index).error(figure, logged, f"positions in canonical form: {error}") from None


def mask_of(leaf_index: int, figure: str, logged: str, events: int) -> BoolArray:
    """Returns (events,) whether a leaf names each position.

    Raises:
        FoundError: it names a position that the batch does not have.
    """
    positions = positions_of(leaf_index, figure, logged)
    if positions and positions[-1] >= events:
        raise at(leaf_index).error(figure, positions[-1], f"positions below {events}")
    mask = np.zeros(events, dtype=np.bool_)
    mask[positions] = True
    return mask
