"""What counts of a batch: the first event with each id, and the weights of these.

Of small batches all is computed together: for a hundred events numpy takes longer to begin than to compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa

from ledger.usage.batch import Batch, BoolArray, Int64Array
from ledger.usage.format import months_of
from ledger.usage.pages import are_ascending
from ledger.usage.shares import first_occurrences, violations
from ledger.usage.weights import BatchWeights, weigh_by_month, weigh_each


@dataclass(frozen=True, slots=True)
class Counted:
    """A batch that has passed every rule on single events.

    Attributes:
        first: (n,) which events are the first with their id in the batch.
        ascending: their positions in ascending order of id.
        weights: theirs.
    """

    batch: Batch
    first: BoolArray
    ascending: Int64Array
    weights: BatchWeights


def counted(batch: Batch) -> Counted:
    """Returns what counts of a batch that was checked."""
    first, ascending = first_occurrences(batch)
    return Counted(batch, first, ascending, weigh_by_month(batch, first))


def counted_together(batches: Sequence[Batch]) -> list[Counted] | None:
    """Returns what counts of each of several batches of shares, after checking the rules on single events.

    None if that is to be looked at one by one: a rule is broken, a batch has events of several months, or its ids do
    not ascend.
    """
    if not batches or not all(batches):
        return None
    joined, bounds = _joined(batches)
    starts = bounds[:-1]
    earliest, latest = (each.reduceat(joined.occurred_at, starts) for each in (np.minimum, np.maximum))
    months = months_of(earliest)
    if (months != months_of(latest)).any() or not are_ascending(joined.event_ids, starts):
        return None
    if next(violations(joined), None) is not None:
        return None
    everything = np.ones(len(joined), dtype=np.bool_)
    places = np.arange(len(joined))
    weights = weigh_each(joined, bounds, [len(each.names) for each in batches])
    return [
        Counted(batch, everything[begin:end], places[: end - begin], BatchWeights({month: by_mode}))
        for batch, (begin, end), month, by_mode in zip(
            batches, pairwise(bounds.tolist()), months.tolist(), weights, strict=True
        )
    ]


def _joined(batches: Sequence[Batch]) -> tuple[Batch, Int64Array]:
    """Returns batches one after the other as one, and (b + 1,) where the events of each begin and the last one's end.

    Each has names of its own, even where others have the same.
    """
    lengths = np.cumsum([0, *(len(each) for each in batches)])
    names = np.cumsum([0, *(len(each.names) for each in batches)], dtype=np.int32)
    amounts = np.cumsum([0, *(len(each.amounts) for each in batches)])
    offsets = [each.offsets[:-1] + begin for each, begin in zip(batches, amounts, strict=False)]
    name_index = [each.name_index + begin for each, begin in zip(batches, names, strict=False)]
    joined = Batch(
        event_ids=np.concatenate([each.event_ids for each in batches]),
        work_ids=pa.concat_arrays([each.work_ids for each in batches]),
        occurred_at=np.concatenate([each.occurred_at for each in batches]),
        units=np.concatenate([each.units for each in batches]),
        modes=np.concatenate([each.modes for each in batches]),
        offsets=np.concatenate([*offsets, amounts[-1:]]),
        name_index=np.concatenate(name_index),
        amounts=np.concatenate([each.amounts for each in batches]),
        names=tuple(chain.from_iterable(each.names for each in batches)),
    )
    return joined, lengths
