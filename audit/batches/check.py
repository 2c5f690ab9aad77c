"""The body of a usage leaf checked against its entry: which of its events were accepted, and their weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from audit.findings import at
from audit.reader import require_hash
from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.usage.batch import Batch, BoolArray, EventIds, Int64Array
from ledger.usage.entries import UsageContent, decode_positions
from ledger.usage.pages import are_distinct
from ledger.usage.reading import Reading
from ledger.usage.shares import first_occurrences
from ledger.usage.weights import BatchWeights, weigh_by_month
from ledger.work import Submit, at_once


@dataclass(frozen=True, slots=True)
class WeighedBatch:
    """What a check needs of a usage leaf's batch of n events.

    Attributes:
        event_ids: (n,) of 16 bytes each.
        accepted: (n,) which of them were accepted.
        share_count: the shares of all events.
        names: collectives. Several batches may have the same sequence, and each may add to its end.
        named: (c,) the places in `names` of those that events have.
        weights: those of the accepted events; `index` is into `names`.
        batch: all of it, if it was weighed in this process.
    """

    event_ids: EventIds
    accepted: BoolArray
    share_count: int
    names: Sequence[str]
    named: Int64Array
    weights: BatchWeights
    batch: Batch | None = None

    @classmethod
    def of(cls, batch: Batch, accepted: BoolArray, weights: BatchWeights) -> WeighedBatch:
        """Returns a batch that was weighed here, as it was read: its events name all of its names."""
        named = np.arange(len(batch.names))
        return cls(batch.event_ids, accepted, len(batch.amounts), batch.names, named, weights, batch)

    def __len__(self) -> int:
        return len(self.event_ids)

    def whole(self) -> Batch:
        """Returns all of the batch, which must have been weighed in this process."""
        if self.batch is None:
            raise ValueError("the batch was weighed by another process")
        return self.batch


class BodyClaims(Protocol):
    """What a usage leaf says of its body."""

    @property
    def body_sha256(self) -> str: ...
    @property
    def body_bytes(self) -> int: ...
    @property
    def duplicates(self) -> str: ...


class Weigh(Protocol):
    """Starts weighing the batch in a usage leaf's body, which `read` gives, and returns what waits for it.

    What is found to be wrong is raised by either.
    """

    def __call__(
        self, read: Callable[[], bytes], leaf_index: int, content: UsageContent, reading: Reading, /
    ) -> Callable[[], WeighedBatch]: ...


def weigh_by(submit: Submit, *, reads_first: bool = False) -> Weigh:
    """Weighs batches by work that `submit` starts.

    With `reads_first` a body is read before the work on it starts, and not by it: a connection is one thread's.
    """

    def weigh(
        read: Callable[[], bytes], leaf_index: int, content: UsageContent, reading: Reading, /
    ) -> Callable[[], WeighedBatch]:
        reads = at_once(read) if reads_first else read
        return submit(partial(weighed_batch, reads, leaf_index, content, reading))

    return weigh


def weighed_batch(read: Callable[[], bytes], leaf_index: int, claims: BodyClaims, reading: Reading) -> WeighedBatch:
    """Returns the batch in a usage leaf's body, which `read` gives, with its weights. It can run in a thread."""
    batch, accepted = accepted_batch(read(), leaf_index, claims, reading.usage)
    return WeighedBatch.of(batch, accepted, weigh_by_month(batch, accepted))


def accepted_batch(
    body: bytes, leaf_index: int, claims: BodyClaims, parse: Callable[[bytes], Batch]
) -> tuple[Batch, BoolArray]:
    """Returns the batch in a usage leaf's body, which `parse` reads as `Reading.usage` does, and which of its events
    were accepted.
    """
    require_hash(leaf_index, "body_sha256", claims.body_sha256, body)
    at(leaf_index).same("body_bytes", claims.body_bytes, len(body))
    try:
        batch = parse(body)
    except InvalidInputError as error:
        raise at(leaf_index).error("body", error, "a valid batch") from None
    accepted = ~mask_of(leaf_index, "duplicates", claims.duplicates, len(batch))
    if not are_distinct(batch.event_ids):
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
